import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { erasePerson, findErasure, forgetRequests } from './erasure.ts';
import { found, notFound } from './found.ts';
import { createOnce, onceOf } from './idempotency.ts';
import type { KeyShred } from './key-shred.ts';
import { demandOtherOwner, demandOwnerFor } from './members.ts';
import { iso } from './moment.ts';
import type { IsOperator, NewUserId } from './operator.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { can, demand } from './permissions.ts';
import { checkConfirm, demandConfirm, type StoringChange } from './storing.ts';
import { violates } from './violation.ts';

export interface UserView {
  readonly id: string;
  readonly name: string;
  readonly externalId: string | null;
  readonly email: string | null;
  /** His preference; where it or the workspace's is off, no key of his is stored. */
  readonly storeKeys: boolean;
  readonly createdAt: string;
}

export interface NewUser {
  readonly name: string;
  readonly externalId?: string | null | undefined;
  readonly email?: string | null | undefined;
}

export interface UserChange extends StoringChange {
  readonly name?: string | undefined;
  readonly externalId?: string | null | undefined;
  readonly email?: string | null | undefined;
}

export interface ChangedUser extends UserView {
  /** Ids of the keys that went, or would go. */
  readonly shredded: readonly string[];
  /** Null where nothing was done. */
  readonly receipt: string | null;
}

export interface UsersDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly shredder: KeyShred;
  readonly isOperator: IsOperator;
  readonly newUserId: NewUserId;
  readonly clock: () => number;
}

export type Users = ReturnType<typeof createUsers>;

/** A workspace's people; most of them a product's customers, who never sign in. Names and addresses never go to the journal. */
export function createUsers({ store, act, shredder, isOperator, newUserId, clock }: UsersDeps) {
  return Object.freeze({
    /** A new user is a member. @throws {SallyportError} CONFLICT: the externalId is taken. */
    async create(caller: Caller, input: NewUser, idempotencyKey: string | null = null): Promise<UserView> {
      demand(caller, 'users:write');
      const row = {
        id: await newUserId(),
        workspace_id: caller.workspaceId,
        name: input.name,
        external_id: input.externalId ?? null,
        email: input.email ?? null,
        store_keys: true,
        created_at: new Date(clock()),
      };
      return createOnce(store, caller, onceOf(idempotencyKey, 'user', input), clock(), {
        create: async (remember) => {
          await act(caller, 'user.create', { userId: row.id }, async (tx) => {
            await tx.insertInto('users').values(row).execute().catch(refuseDouble);
            await tx
              .insertInto('memberships')
              .values({
                workspace_id: row.workspace_id,
                user_id: row.id,
                role: 'member',
                created_at: row.created_at,
              })
              .execute();
            await remember(tx, row.id);
          });
          return view(row);
        },
        replay: (id) => get(caller, id),
      });
    },

    async list(
      caller: Caller,
      page: Page & { readonly externalId?: string | undefined },
    ): Promise<List<UserView>> {
      demand(caller, 'users:read');
      const after = placeOf(page, [/^usr_[0-9a-f]{32}$/]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        let query = visible(tx, caller).orderBy('id', 'desc').limit(rowsToRead(page));
        if (after !== null) query = query.where('id', '<', after[0]);
        if (page.externalId !== undefined) query = query.where('external_id', '=', page.externalId);
        return query.execute();
      });
      return toList(rows, page, (row) => [row.id], view);
    },

    get,

    /**
     * What everybody may change of himself is `storeKeys`; the rest takes the right to write users, and an owner's an owner.
     *
     * @param isDryRun says what would be shredded, and changes nothing.
     * @throws {SallyportError} CONFLICT: the externalId is taken; or storeKeys goes off, and nobody said that his keys shall be shredded.
     */
    async update(
      caller: Caller,
      id: string,
      { confirm, ...change }: UserChange,
      isDryRun = false,
    ): Promise<ChangedUser> {
      const changed = Object.keys(change);
      const isOwnPreference =
        id === caller.userId &&
        can(caller.role, 'keys:write') &&
        changed.every((name) => name === 'storeKeys');
      if (!isOwnPreference) demand(caller, 'users:write');
      checkConfirm(change, confirm);
      const seen = await get(caller, id);
      const isShredding = change.storeKeys === false;
      const scope = { userId: id, withManaged: false };
      if (isDryRun || changed.length === 0) {
        return { ...seen, shredded: isShredding ? await shredder.list(caller, scope) : [], receipt: null };
      }
      const fields = {
        userId: id,
        changed,
        ...(change.storeKeys === undefined ? {} : { storeKeys: change.storeKeys }),
      };
      const work = async (tx: Tx): Promise<void> => {
        await lockUser(tx, caller, id);
        if (id !== caller.userId) await demandOwnerFor(tx, caller, id);
        await tx
          .updateTable('users')
          .set({
            ...(change.name === undefined ? {} : { name: change.name }),
            ...(change.email === undefined ? {} : { email: change.email }),
            ...(change.externalId === undefined ? {} : { external_id: change.externalId }),
            ...(change.storeKeys === undefined ? {} : { store_keys: change.storeKeys }),
          })
          .where('workspace_id', '=', caller.workspaceId)
          .where('id', '=', id)
          .execute()
          .catch(refuseDouble);
      };
      if (!isShredding) {
        const { receipt } = await act(caller, 'user.update', fields, work);
        return { ...(await get(caller, id)), shredded: [], receipt };
      }
      const { keyIds, receipt } = await shredder.during(caller, 'user.update', fields, scope, {
        work,
        confirm: (count) => demandConfirm(count, confirm, 'this user'),
      });
      return { ...(await get(caller, id)), shredded: keyIds, receipt };
    },

    /**
     * Shreds his keys and deletes what is known of him, in one transaction. Uses, acts and sums stay under his id. Asked for again it
     * answers with the receipt of the first time.
     *
     * @throws {SallyportError} CONFLICT: the operator, or the last owner.
     */
    async erase(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'users:write');
      const earlier = await erasureOf(caller, id);
      if (earlier !== null) return { id, deleted: true, receipt: earlier };
      await get(caller, id);
      if (await isOperator(id)) throw operatorStays();
      const scope = { userId: id, withManaged: true };
      const { receipt } = await shredder.during(caller, 'user.erase', { userId: id }, scope, {
        confirm: () => {},
        work: async (tx) => {
          await lockUser(tx, caller, id);
          await demandOtherOwner(tx, caller, id);
          await forgetRequests(tx, caller.workspaceId, id);
        },
        after: (tx) => erasePerson(tx, caller.workspaceId, id),
      });
      return { id, deleted: true, receipt };
    },
  });

  /** Only of one who is gone. */
  async function erasureOf(caller: Caller, id: string): Promise<string | null> {
    if (!isId('usr', id)) return null;
    return store.asWorkspace(caller.workspaceId, async (tx) => {
      const row = await visible(tx, caller).where('id', '=', id).executeTakeFirst();
      return row === undefined ? findErasure(tx, caller.workspaceId, id) : null;
    });
  }

  async function get(caller: Caller, id: string): Promise<UserView> {
    demand(caller, 'users:read');
    if (!isId('usr', id)) throw notFound('user');
    const row = await store.asWorkspace(caller.workspaceId, (tx) =>
      visible(tx, caller).where('id', '=', id).executeTakeFirst(),
    );
    return view(found(row, 'user'));
  }
}

/** Whoever stores a key for him has the row locked too, until it is stored. */
async function lockUser(tx: Tx, caller: Caller, id: string): Promise<void> {
  found(await visible(tx, caller).where('id', '=', id).forUpdate().executeTakeFirst(), 'user');
}

function visible(tx: Tx, caller: Caller) {
  const all = tx.selectFrom('users').selectAll().where('workspace_id', '=', caller.workspaceId);
  return can(caller.role, 'users:all') ? all : all.where('id', '=', caller.userId);
}

function view(row: Selectable<Schema['users']>): UserView {
  return {
    id: row.id,
    name: row.name,
    externalId: row.external_id,
    email: row.email,
    storeKeys: row.store_keys,
    createdAt: iso(row.created_at),
  };
}

function operatorStays(): SallyportError {
  return new SallyportError(
    'CONFLICT',
    'The operator cannot be erased: the next user would take his place.',
    {
      fix: 'Change what is said of him: PATCH /api/users/{id} with another name and no e-mail address.',
    },
  );
}

function refuseDouble(error: unknown): never {
  if (violates(error, 'users')) throw new SallyportError('CONFLICT', 'A user with this externalId exists.');
  throw error;
}
