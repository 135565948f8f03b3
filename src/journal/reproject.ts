import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { readMonths } from './checkpoint-rows.ts';
import { mendGhosts, mendRows, type RowDifference } from './reproject-rows.ts';
import { mendLastUse, mendSums, type SumsDifference, type UseDifference } from './reproject-sums.ts';

export type Difference = RowDifference | SumsDifference | UseDifference;

/** Where a run is; each phase goes on behind what it names. */
export type ReprojectPlace =
  | { readonly phase: 'records'; readonly month: string; readonly stream: string; readonly seq: number }
  | { readonly phase: 'rows'; readonly month: string; readonly callId: string; readonly attempt: number }
  | { readonly phase: 'sums'; readonly from: string }
  | { readonly phase: 'uses' };

export const firstPlace: ReprojectPlace = Object.freeze({
  phase: 'records',
  month: '0001-01-01',
  stream: '',
  seq: 0,
});

export interface ReprojectStep {
  /** Null: all is done. */
  readonly next: ReprojectPlace | null;
  /** Ends, rows or days that were looked at. */
  readonly looked: number;
  readonly differences: readonly Difference[];
}

const pageRows = 1_000;
const dayMs = 86_400_000;

/**
 * One bounded step of making `usage_events`, `usage_hourly` and the last use of keys and tokens anew from the journal's records. What is
 * as it should be is left alone and locks nothing; the rest is mended in a transaction that ships nothing meanwhile (`lockProjections`), so
 * that nothing is counted twice. Months before the first that has records stay as they are: retention has dropped what would be needed.
 */
export async function reprojectStep(
  store: Pick<Store, 'asSystem'>,
  place: ReprojectPlace,
  now: Date,
  isDry: boolean,
): Promise<ReprojectStep> {
  const since = await firstMonth(store);
  if (since === null) return { next: null, looked: 0, differences: [] };
  const start = new Date(`${since}T00:00:00.000Z`);
  switch (place.phase) {
    case 'records': {
      const { month, stream, seq } = place;
      const { rows } = await store.asSystem((tx) =>
        sql<{
          month: string;
          stream: string;
          seq: bigint;
          line: string;
        }>`select month, stream, seq, line from journal
          where event = 'use.end' and (month, stream, seq) > (${month}::date, ${stream}, ${BigInt(seq)})
          order by month, stream, seq limit ${pageRows}`.execute(tx),
      );
      const last = rows.at(-1);
      const differences = await mendRows(
        store,
        rows.map(({ line }) => line),
        since,
        isDry,
      );
      const next: ReprojectPlace =
        last === undefined || rows.length < pageRows
          ? { phase: 'rows', month: since, callId: '', attempt: 0 }
          : { phase: 'records', month: last.month, stream: last.stream, seq: Number(last.seq) };
      return { next, looked: rows.length, differences };
    }
    case 'rows': {
      const { month, callId, attempt } = place;
      const { rows } = await store.asSystem((tx) =>
        sql<{
          month: string;
          call_id: string;
          attempt: number;
        }>`select month, call_id, attempt from usage_events
          where (month, call_id, attempt) > (${month < since ? since : month}::date, ${callId}, ${attempt}::integer)
          order by month, call_id, attempt limit ${pageRows}`.execute(tx),
      );
      const last = rows.at(-1);
      const next: ReprojectPlace =
        last === undefined || rows.length < pageRows
          ? { phase: 'sums', from: start.toISOString() }
          : { phase: 'rows', month: last.month, callId: last.call_id, attempt: last.attempt };
      return { next, looked: rows.length, differences: await mendGhosts(store, rows, isDry) };
    }
    case 'sums': {
      const from = new Date(Math.max(start.getTime(), Date.parse(place.from)));
      const end = new Date(from.getTime() + dayMs);
      const isLast = end.getTime() > now.getTime() + dayMs;
      const differences = await mendSums(store, from, isLast ? null : end, isDry);
      return {
        next: isLast ? { phase: 'uses' } : { phase: 'sums', from: end.toISOString() },
        looked: 1,
        differences,
      };
    }
    default:
      return { next: null, looked: 0, differences: await mendLastUse(store, since, now, isDry) };
  }
}

/** From this month on everything that was shipped is there. */
async function firstMonth(store: Pick<Store, 'asSystem'>): Promise<string | null> {
  return store.asSystem(async (tx) => {
    const retired = await tx
      .selectFrom('retired_months')
      .select(({ fn }) => fn.max<string | null>('month').as('last'))
      .executeTakeFirst();
    const last = retired?.last ?? '';
    return (await readMonths(tx)).find((month) => month > last) ?? null;
  });
}
