import { sql } from 'kysely';
import type { Store } from '../../src/db/store.ts';

/** Resolves once `count` transactions wait for a lock on one of the tables, of this database among those of the server. */
export async function lockWaits(
  store: Pick<Store, 'asSystem'>,
  tables: readonly string[],
  count: number,
): Promise<void> {
  for (let waiting = 0; waiting < count;)
    waiting = await store.asSystem(async (tx) => {
      const { rows } = await sql`select 1 from pg_locks join pg_class on pg_class.oid = relation
        where not granted and relname = any(${[...tables]})
          and database = (select oid from pg_database where datname = current_database())`.execute(tx);
      return rows.length;
    });
}

/** Resolves once somebody in this database waits for another transaction to end. */
export async function transactionWait(store: Pick<Store, 'asSystem'>): Promise<void> {
  for (let isWaiting = false; !isWaiting;)
    isWaiting = await store.asSystem(async (tx) => {
      const { rows } = await sql`select 1 from pg_locks join pg_stat_activity using (pid)
        where not granted and locktype = 'transactionid' and datname = current_database()`.execute(tx);
      return rows.length > 0;
    });
}
