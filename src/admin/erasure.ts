import { sql } from 'kysely';
import type { Tx } from '../db/store.ts';

/** The keys of repeated requests are texts of whoever sent them. To be asked before what they made is gone. */
export async function forgetRequests(tx: Tx, workspaceId: string, userId: string): Promise<void> {
  await sql`with his as (
      select ${userId}::text as id
      union all select id from tokens where workspace_id = ${workspaceId} and user_id = ${userId}
      union all select id from provider_keys where workspace_id = ${workspaceId} and user_id = ${userId}
      union all select id from seals where workspace_id = ${workspaceId} and created_by = ${userId})
    delete from idempotency_keys where workspace_id = ${workspaceId}
      and (caller_id in (select id from his) or resource_id in (select id from his))`.execute(tx);
}

/**
 * What says something of a user and is neither in the journal nor a sum of ids. Memberships, tokens with their labels, the salts of his
 * addresses and what alerts know of his networks go with his row; his keys were shredded before, in the same transaction.
 */
export async function erasePerson(tx: Tx, workspaceId: string, userId: string): Promise<void> {
  // His seals stay, as keys of others may be sealed to them; a seal's name is in no MAC.
  await tx
    .updateTable('seals')
    .set((eb) => ({ name: eb.ref('id') }))
    .where('workspace_id', '=', workspaceId)
    .where('created_by', '=', userId)
    .execute();
  await tx.deleteFrom('users').where('workspace_id', '=', workspaceId).where('id', '=', userId).execute();
}

/**
 * The receipt of an erasure that was done before, so that it can be asked for again.
 *
 * @returns null where the journal's part in the database has none.
 */
export async function findErasure(tx: Tx, workspaceId: string, userId: string): Promise<string | null> {
  const row = await tx
    .selectFrom('journal')
    .select(['stream', 'seq', 'hash'])
    .where('workspace_id', '=', workspaceId)
    .where('user_id', '=', userId)
    .where('event', '=', 'user.erase.done')
    .limit(1)
    .executeTakeFirst();
  return row === undefined ? null : `${row.stream}.${row.seq}.${row.hash.toString('hex').slice(0, 16)}`;
}
