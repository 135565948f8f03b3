import type { Role } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import type { Vault } from '../vault/vault.ts';
import { type Act, mostNamed } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { iso } from './moment.ts';
import type { IsOperator } from './operator.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { can, demand } from './permissions.ts';
import { revokeRow } from './token-row.ts';

export interface MemberView {
  readonly userId: string;
  readonly name: string;
  readonly role: Role;
  readonly createdAt: string;
}

export interface MembersDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly isOperator: IsOperator;
  readonly vault: Pick<Vault, 'rowMac' | 'checkRowMac'>;
  readonly clock: () => number;
}

export type Members = ReturnType<typeof createMembers>;

/** Who may do what in a workspace. Every change is one of an owner's where an owner is made or unmade. */
export function createMembers({ store, act, isOperator, vault, clock }: MembersDeps) {
  return Object.freeze({
    async list(caller: Caller, page: Page): Promise<List<MemberView>> {
      demand(caller, 'users:read');
      const after = placeOf(page, [/^usr_[0-9a-f]{32}$/]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        const query = visible(tx, caller).orderBy('m.user_id', 'desc').limit(rowsToRead(page));
        return (after === null ? query : query.where('m.user_id', '<', after[0])).execute();
      });
      return toList(rows, page, (row) => [row.user_id], view);
    },

    get,

    /**
     * Gives a user of the workspace a role, also one who had none. Who becomes an owner loses the admin tokens that he has: an admin may have
     * made one for him, and would act as an owner with it.
     *
     * @throws {SallyportError} NOT_FOUND, FORBIDDEN, CONFLICT.
     */
    async setRole(caller: Caller, userId: string, role: Role): Promise<MemberView> {
      demand(caller, 'users:write');
      if (!isId('usr', userId)) throw notFound('user');
      if (role !== 'owner') await refuseOperator(userId);
      const tokenIds = role === 'owner' ? await tokensToRevoke(caller, userId) : [];
      const fields = { userId, role, ...(tokenIds.length === 0 ? {} : { tokenIds }) };
      await act(caller, 'member.update', fields, async (tx) => {
        await lockUser(tx, caller, userId);
        if (role === 'owner') {
          demand(caller, 'owners:write');
          for (const row of await adminTokens(tx, caller, userId).forUpdate().execute())
            await revokeRow(tx, vault, row, new Date(clock()));
        } else await demandOtherOwner(tx, caller, userId);
        await tx
          .insertInto('memberships')
          .values({ workspace_id: caller.workspaceId, user_id: userId, role, created_at: new Date(clock()) })
          .onConflict((conflict) => conflict.columns(['workspace_id', 'user_id']).doUpdateSet({ role }))
          .execute();
      });
      return get(caller, userId);
    },

    /** Takes the role away: his admin tokens are refused from now on; keys, gateway tokens and uses stay. */
    async remove(
      caller: Caller,
      userId: string,
    ): Promise<{ readonly userId: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'users:write');
      await get(caller, userId);
      await refuseOperator(userId);
      const { receipt } = await act(caller, 'member.delete', { userId }, async (tx) => {
        await lockUser(tx, caller, userId);
        await demandOtherOwner(tx, caller, userId);
        await tx
          .deleteFrom('memberships')
          .where('workspace_id', '=', caller.workspaceId)
          .where('user_id', '=', userId)
          .execute();
      });
      return { userId, deleted: true, receipt };
    },
  });

  async function get(caller: Caller, userId: string): Promise<MemberView> {
    demand(caller, 'users:read');
    if (!isId('usr', userId)) throw notFound('member');
    const row = await store.asWorkspace(caller.workspaceId, (tx) =>
      visible(tx, caller).where('m.user_id', '=', userId).executeTakeFirst(),
    );
    return view(found(row, 'member'));
  }

  /** For the record; what is made until his row is locked is revoked too. */
  async function tokensToRevoke(caller: Caller, userId: string): Promise<string[]> {
    const rows = await store.asWorkspace(caller.workspaceId, (tx) =>
      adminTokens(tx, caller, userId).limit(mostNamed).execute(),
    );
    return rows.map(({ id }) => id);
  }

  async function refuseOperator(userId: string): Promise<void> {
    if (await isOperator(userId)) throw new SallyportError('CONFLICT', 'The operator stays an owner.');
  }
}

/**
 * Before an owner is deleted or made less: only an owner may, and never the last one. All owners' rows are locked, so that two at
 * once can't each take the other for the one who stays.
 */
export async function demandOtherOwner(tx: Tx, caller: Caller, userId: string): Promise<void> {
  const owners = await tx
    .selectFrom('memberships')
    .select('user_id')
    .where('workspace_id', '=', caller.workspaceId)
    .where('role', '=', 'owner')
    .orderBy('user_id')
    .forUpdate()
    .execute();
  if (!owners.some((owner) => owner.user_id === userId)) return;
  demand(caller, 'owners:write');
  if (owners.length === 1) throw new SallyportError('CONFLICT', 'He is the last owner of the workspace.');
}

/** To change an owner takes an owner. @throws {SallyportError} FORBIDDEN */
export async function demandOwnerFor(tx: Tx, caller: Caller, userId: string): Promise<void> {
  const membership = await tx
    .selectFrom('memberships')
    .select('role')
    .where('workspace_id', '=', caller.workspaceId)
    .where('user_id', '=', userId)
    .executeTakeFirst();
  if (membership?.role === 'owner') demand(caller, 'owners:write');
}

async function lockUser(tx: Tx, caller: Caller, userId: string): Promise<void> {
  const row = await tx
    .selectFrom('users')
    .select('id')
    .where('workspace_id', '=', caller.workspaceId)
    .where('id', '=', userId)
    .forUpdate()
    .executeTakeFirst();
  found(row, 'user');
}

/** Those of somebody who is no owner yet; of an owner, who keeps his, none. */
function adminTokens(tx: Tx, { workspaceId }: Caller, userId: string) {
  return tx
    .selectFrom('tokens')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .where('user_id', '=', userId)
    .where('kind', '=', 'admin')
    .where('revoked_at', 'is', null)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('memberships')
            .select('memberships.user_id')
            .whereRef('memberships.workspace_id', '=', 'tokens.workspace_id')
            .whereRef('memberships.user_id', '=', 'tokens.user_id')
            .where('memberships.role', '=', 'owner'),
        ),
      ),
    )
    .orderBy('id');
}

function visible(tx: Tx, caller: Caller) {
  const all = tx
    .selectFrom('memberships as m')
    .innerJoin('users as u', 'u.id', 'm.user_id')
    .select(['m.user_id', 'u.name', 'm.role', 'm.created_at'])
    .where('m.workspace_id', '=', caller.workspaceId);
  return can(caller.role, 'users:all') ? all : all.where('m.user_id', '=', caller.userId);
}

function view(row: { user_id: string; name: string; role: Role; created_at: Date }): MemberView {
  return { userId: row.user_id, name: row.name, role: row.role, createdAt: iso(row.created_at) };
}
