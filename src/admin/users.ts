import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId, newId } from '../ids.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { createOnce, onceOf } from './idempotency.ts';
import { shred } from './key-row.ts';
import { demandOtherOwner } from './members.ts';
import { iso } from './moment.ts';
import type { IsOperator } from './operator.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { can, demand } from './permissions.ts';
import { violates } from './violation.ts';

export interface UserView {
  readonly id: string;
  readonly name: string;
  readonly externalId: string | null;
  readonly email: string | null;
  readonly createdAt: string;
}

export interface NewUser {
  readonly name: string;
  readonly externalId?: string | null | undefined;
  readonly email?: string | null | undefined;
}

export interface UsersDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly isOperator: IsOperator;
  readonly clock: () => number;
}

export type Users = ReturnType<typeof createUsers>;

/** A workspace's people; most of them a product's customers, who never sign in. Names and addresses never go to the journal. */
export function createUsers({ store, act, isOperator, clock }: UsersDeps) {
  return Object.freeze({
    /** A new user is a member. @throws {SallyportError} CONFLICT: the externalId is taken. */
    async create(caller: Caller, input: NewUser, idempotencyKey: string | null = null): Promise<UserView> {
      demand(caller, 'users:write');
      const row = {
        id: newId('usr', clock()),
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
     * Shreds his keys, revokes his tokens and forgets his name, in one transaction. Uses and acts stay on record under his id.
     *
     * @throws {SallyportError} CONFLICT: the operator, or the last owner.
     */
    async remove(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'users:write');
      await get(caller, id);
      if (await isOperator(id)) throw new SallyportError('CONFLICT', 'The operator cannot be deleted.');
      const { receipt } = await act(caller, 'user.delete', { userId: id }, async (tx) => {
        found(await visible(tx, caller).where('id', '=', id).forUpdate().executeTakeFirst(), 'user');
        await demandOtherOwner(tx, caller, id);
        const keys = await tx
          .selectFrom('provider_keys')
          .select('id')
          .where('workspace_id', '=', caller.workspaceId)
          .where('user_id', '=', id)
          .execute();
        await shred(
          tx,
          caller.workspaceId,
          keys.map((key) => key.id),
        );
        // Memberships and tokens go with the row: a token without a row is refused everywhere.
        await tx
          .deleteFrom('users')
          .where('workspace_id', '=', caller.workspaceId)
          .where('id', '=', id)
          .execute();
      });
      return { id, deleted: true, receipt };
    },
  });

  async function get(caller: Caller, id: string): Promise<UserView> {
    demand(caller, 'users:read');
    if (!isId('usr', id)) throw notFound('user');
    const row = await store.asWorkspace(caller.workspaceId, (tx) =>
      visible(tx, caller).where('id', '=', id).executeTakeFirst(),
    );
    return view(found(row, 'user'));
  }
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
    createdAt: iso(row.created_at),
  };
}

function refuseDouble(error: unknown): never {
  if (violates(error, 'users')) throw new SallyportError('CONFLICT', 'A user with this externalId exists.');
  throw error;
}
