import { sql } from 'kysely';
import type { Store } from '../db/store.ts';

/**
 * Whether the transaction of an administrative act was committed: is its row in `acts`?
 *
 * Rejects while nobody can say: the database is away, or the transaction has not ended.
 */
export type ActLookup = (actId: string, workspaceId: string) => Promise<boolean>;

/** For a transaction that is still at its COMMIT: a start waits so long for each act, and the look is repeated later. */
const patienceMs = 2000;

/**
 * Looks by inserting the row anew, and takes it back whatever comes. To read is not enough: a server goes on with a COMMIT whose sender is
 * gone (a slow standby, a disk that hangs), and until it is through nobody sees the row. The unique index makes an insertion wait for
 * whoever has inserted the same id and has not ended; an act inserts its row before it sends COMMIT, so it cannot come after us.
 *
 * @param waitMs then PostgreSQL ends the wait with an error (`lock_timeout`), which is no answer.
 */
export function createActLookup(
  store: Pick<Store, 'asWorkspace'>,
  { waitMs = patienceMs }: { readonly waitMs?: number } = {},
): ActLookup {
  return async function lookup(actId, workspaceId) {
    const takenBack = new Error('only looked');
    let isThere = false;
    try {
      await store.asWorkspace(workspaceId, async (tx) => {
        await sql`select set_config('lock_timeout', ${String(waitMs)}, true)`.execute(tx);
        const inserted = await tx
          .insertInto('acts')
          .values({ act_id: actId, workspace_id: workspaceId, digest: Buffer.alloc(32) })
          .onConflict((conflict) => conflict.doNothing())
          .returning('act_id')
          .execute();
        isThere = inserted.length === 0;
        throw takenBack;
      });
    } catch (error) {
      if (error !== takenBack) throw error;
    }
    return isThere;
  };
}
