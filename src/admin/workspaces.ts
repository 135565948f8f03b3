import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { newId } from '../ids.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found } from './found.ts';
import type { KeyShred } from './key-shred.ts';
import { iso } from './moment.ts';
import type { NewUserId } from './operator.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demand, demandOperator } from './permissions.ts';
import { checkConfirm, demandConfirm, type StoringChange } from './storing.ts';
import { type Grant, insertToken, mint, tokenDefaults } from './token-mint.ts';

export interface WorkspaceView {
  readonly id: string;
  readonly name: string;
  /** Other users than the operator may use the managed keys. */
  readonly managedKeys: boolean;
  readonly storeKeys: boolean;
  readonly createdAt: string;
}

export interface WorkspaceChange extends StoringChange {
  readonly name?: string | undefined;
  readonly managedKeys?: boolean | undefined;
}

export interface ChangedWorkspace extends WorkspaceView {
  /** Ids of the keys that went, or would go. */
  readonly shredded: readonly string[];
  /** Null where nothing was done. */
  readonly receipt: string | null;
}

const everyKey = { userId: null, withManaged: true };

/** What `init` and `workspaces create` print, once. */
export interface NewWorkspace {
  readonly workspaceId: string;
  readonly adminToken: string;
  readonly token: string;
}

export interface WorkspacesDeps {
  readonly store: Pick<Store, 'asWorkspace' | 'asSystem'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'makeWorkspaceKey' | 'createWorkspaceKey' | 'verifierOf' | 'rowMac' | 'forget'>;
  readonly shredder: KeyShred;
  readonly newUserId: NewUserId;
  readonly clock: () => number;
}

export type Workspaces = ReturnType<typeof createWorkspaces>;

export function createWorkspaces({ store, act, vault, shredder, newUserId, clock }: WorkspacesDeps) {
  return Object.freeze({
    /**
     * A workspace with its key, its owner `operator`, an admin and a gateway token: all of it, or nothing.
     *
     * @param by who asks; what is made has ids of its own.
     * @throws {SallyportError} FORBIDDEN: not the operator.
     */
    async createWorkspace(
      by: Pick<Caller, 'type' | 'id' | 'ip' | 'isOperator'>,
      { name }: { readonly name: string },
    ): Promise<NewWorkspace> {
      demandOperator(by, 'Only the operator makes workspaces.');
      const now = clock();
      const workspaceId = newId('ws', now);
      const userId = await newUserId();
      const caller: Caller = { ...by, workspaceId, userId, role: 'owner' };
      try {
        await vault.makeWorkspaceKey(workspaceId);
        const { value } = await act(caller, 'workspace.create', { userId }, async (tx) => {
          const created_at = new Date(now);
          await tx.insertInto('workspaces').values({ id: workspaceId, name, created_at }).execute();
          await vault.createWorkspaceKey(tx, workspaceId);
          await tx
            .insertInto('users')
            .values({ id: userId, workspace_id: workspaceId, name: 'operator', created_at })
            .execute();
          await tx
            .insertInto('memberships')
            .values({ workspace_id: workspaceId, user_id: userId, role: 'owner', created_at })
            .execute();
          const admin = await mint(vault, firstGrant(workspaceId, userId, 'admin'), now);
          const gateway = await mint(vault, firstGrant(workspaceId, userId, 'gateway'), now);
          await insertToken(tx, admin);
          await insertToken(tx, gateway);
          return { adminToken: admin.text, token: gateway.text };
        });
        return { workspaceId, ...value };
      } catch (error) {
        // Its key was made ready before COMMIT; with the workspace rolled back it is a key of nothing.
        vault.forget(workspaceId);
        throw error;
      }
    },

    /** To the operator all that he has made, to everybody else his own: of others nobody is told. */
    async list(caller: Caller, page: Page): Promise<List<WorkspaceView>> {
      demand(caller, 'workspace:read');
      const after = placeOf(page, [/^ws_[0-9a-f]{32}$/]);
      const read = (tx: Tx) => {
        let query = tx.selectFrom('workspaces').selectAll().orderBy('id', 'desc').limit(rowsToRead(page));
        if (after !== null) query = query.where('id', '<', after[0]);
        if (!caller.isOperator) query = query.where('id', '=', caller.workspaceId);
        return query.execute();
      };
      const rows = caller.isOperator
        ? await store.asSystem(read)
        : await store.asWorkspace(caller.workspaceId, read);
      return toList(rows, page, (row) => [row.id], view);
    },

    current,

    /**
     * @param isDryRun says what would be shredded, and changes nothing.
     * @throws {SallyportError} CONFLICT: storeKeys goes off, keys are stored, and nobody said that they shall be shredded.
     */
    async update(
      caller: Caller,
      { confirm, ...change }: WorkspaceChange,
      isDryRun = false,
    ): Promise<ChangedWorkspace> {
      demand(caller, 'workspace:write');
      checkConfirm(change, confirm);
      const changed = Object.keys(change);
      const isShredding = change.storeKeys === false;
      if (isDryRun || changed.length === 0) {
        const shredded = isShredding ? await shredder.list(caller, everyKey) : [];
        return { ...(await current(caller)), shredded, receipt: null };
      }
      const fields = {
        changed,
        ...(change.managedKeys === undefined ? {} : { managedKeys: change.managedKeys }),
        ...(change.storeKeys === undefined ? {} : { storeKeys: change.storeKeys }),
      };
      const work = async (tx: Tx): Promise<void> => {
        if (isShredding) await lockWorkspace(tx, caller.workspaceId);
        await tx
          .updateTable('workspaces')
          .set({
            ...(change.name === undefined ? {} : { name: change.name }),
            ...(change.managedKeys === undefined ? {} : { managed_keys: change.managedKeys }),
            ...(change.storeKeys === undefined ? {} : { store_keys: change.storeKeys }),
          })
          .where('id', '=', caller.workspaceId)
          .execute();
      };
      if (!isShredding) {
        const { receipt } = await act(caller, 'workspace.update', fields, work);
        return { ...(await current(caller)), shredded: [], receipt };
      }
      const { keyIds, receipt } = await shredder.during(caller, 'workspace.update', fields, everyKey, {
        work,
        confirm: (count) => demandConfirm(count, confirm, 'this workspace'),
      });
      return { ...(await current(caller)), shredded: keyIds, receipt };
    },
  });

  async function current(caller: Caller): Promise<WorkspaceView> {
    demand(caller, 'workspace:read');
    const row = await store.asWorkspace(caller.workspaceId, (tx) =>
      tx.selectFrom('workspaces').selectAll().where('id', '=', caller.workspaceId).executeTakeFirst(),
    );
    return view(found(row, 'workspace'));
  }
}

/** Whoever stores a key has the row locked too, until it is stored: afterwards it is found, and nothing new comes. */
async function lockWorkspace(tx: Tx, id: string): Promise<void> {
  await tx.selectFrom('workspaces').select('id').where('id', '=', id).forUpdate().execute();
}

function view(row: Selectable<Schema['workspaces']>): WorkspaceView {
  return {
    id: row.id,
    name: row.name,
    managedKeys: row.managed_keys,
    storeKeys: row.store_keys,
    createdAt: iso(row.created_at),
  };
}

function firstGrant(workspaceId: string, userId: string, kind: 'gateway' | 'admin'): Grant {
  return {
    workspaceId,
    userId,
    name: 'first',
    kind,
    providers: null,
    models: null,
    keyIds: null,
    ...tokenDefaults,
    expiresAt: null,
  };
}
