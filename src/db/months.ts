import { sql } from 'kysely';
import type { Store } from './store.ts';

/** The first day of a moment's month in UTC, `YYYY-MM-01`: the partition that a row of this moment lies in. */
export function monthOf(at: Date): string {
  return `${at.toISOString().slice(0, 7)}-01`;
}

/** The first day of the month after a moment's, likewise. */
export function nextMonthOf(at: Date): string {
  return monthOf(new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1)));
}

/**
 * Makes the partitions of this month and the next; call it at the start and daily. A month without partitions isn't lost: its rows
 * go to the default ones, where they stay.
 */
export async function ensureMonths(store: Pick<Store, 'asSystem'>, now: Date): Promise<void> {
  await store.asSystem(async (tx) => {
    for (const month of [monthOf(now), nextMonthOf(now)]) {
      await sql`select create_month_partitions(${month}::date)`.execute(tx);
    }
  });
}
