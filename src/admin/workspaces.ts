import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found } from './found.ts';
import { iso } from './moment.ts';
import { demand } from './permissions.ts';
import { type Grant, insertToken, mint, tokenDefaults } from './token-mint.ts';

export interface WorkspaceView {
  readonly id: string;
  readonly name: string;
  /** Other users than the operator may use the managed keys. */
  readonly managedKeys: boolean;
  readonly storeKeys: boolean;
  readonly createdAt: string;
}

/** What `init` and `workspaces create` print, once. */
export interface NewWorkspace {
  readonly workspaceId: string;
  readonly adminToken: string;
  readonly token: string;
}

export interface WorkspacesDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'createWorkspaceKey' | 'verifierOf' | 'rowMac' | 'forget'>;
  readonly clock: () => number;
}

export type Workspaces = ReturnType<typeof createWorkspaces>;

export function createWorkspaces({ store, act, vault, clock }: WorkspacesDeps) {
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
      if (!by.isOperator) throw new SallyportError('FORBIDDEN', 'Only the operator makes workspaces.');
      const now = clock();
      const workspaceId = newId('ws', now);
      const userId = newId('usr', now);
      const caller: Caller = { ...by, workspaceId, userId, role: 'owner' };
      try {
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

    current,

    async update(
      caller: Caller,
      change: { readonly name?: string | undefined; readonly managedKeys?: boolean | undefined },
    ): Promise<WorkspaceView> {
      demand(caller, 'workspace:write');
      const fields = {
        changed: Object.keys(change),
        ...(change.managedKeys === undefined ? {} : { managedKeys: change.managedKeys }),
      };
      if (fields.changed.length > 0) {
        await act(caller, 'workspace.update', fields, async (tx) => {
          await tx
            .updateTable('workspaces')
            .set({
              ...(change.name === undefined ? {} : { name: change.name }),
              ...(change.managedKeys === undefined ? {} : { managed_keys: change.managedKeys }),
            })
            .where('id', '=', caller.workspaceId)
            .execute();
        });
      }
      return current(caller);
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
