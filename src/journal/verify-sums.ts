import { type RawBuilder, sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import type { Fault } from './cursor.ts';
import { hourlyRows } from './hourly-rows.ts';
import { hourlyTypes, names } from './usage-columns.ts';

/** So many rows of either table are compared in one transaction, but for an hour of a workspace that has more: a tenth of a second. */
const pieceRows = 20_000;
/** Told of at most, the earliest ones. */
const mostHours = 100;
const hourMs = 3_600_000;
/** Of all rows. */
const begin = new Date(0);

interface Hour {
  readonly workspace_id: string;
  readonly hour: Date;
}

/** Rows to compare, of whole hours. */
interface Piece {
  /** @param at the column of the time. */
  readonly within: (at: RawBuilder<unknown>) => RawBuilder<unknown>;
  /** Where the next one begins; null: there is none. */
  readonly next: Hour | null;
}

/** Statistics of a table that grows are old, and a planner that guesses by them reads the whole of it for each piece. */
const byIndex = sql`select ${sql.join(
  ['enable_seqscan', 'enable_bitmapscan', 'enable_sort', 'enable_incremental_sort', 'jit'].map(
    (setting) => sql`set_config(${setting}, 'off', true)`,
  ),
)}`;

/**
 * Hours whose sums are not those of their rows. Piece by piece in the order of workspace and time, which both tables have an index for: one
 * statement over all would some day take longer than a statement is given. What is shipped meanwhile is in a piece with its rows and its
 * sums, or with neither, for a piece is compared by one statement.
 *
 * @param since null: all.
 */
export async function checkSums(
  store: Pick<Store, 'asSystem'>,
  since: Date | null,
  retiredMonths: readonly string[],
  report: (fault: Fault) => void,
  most = pieceRows,
): Promise<void> {
  const first = new Date(Math.floor((since ?? begin).getTime() / hourMs) * hourMs);
  let differing: Hour[] = [];
  for (let from: Hour | null = { workspace_id: '', hour: begin }; from !== null;) {
    const place: Hour = from;
    const { found, next } = await store.asSystem(async (tx) => {
      await byIndex.execute(tx);
      const piece = pieceTo(await rowAhead(tx, place, most), place, first);
      const within: Piece['within'] = (at) => sql`${piece.within(at)} and ${at} >= ${first}`;
      return { found: await differingHours(tx, within, retiredMonths), next: piece.next };
    });
    if (found.length > 0) differing = [...differing, ...found].toSorted(byHour).slice(0, mostHours);
    from = next;
  }
  for (const { hour, workspace_id } of differing) {
    report({
      stream: 'usage_hourly',
      seq: 0,
      kind: 'usage',
      message: `The sums of ${hour.toISOString()} in ${workspace_id} are not those of usage_events.`,
    });
  }
}

function byHour(a: Hour, b: Hour): number {
  if (a.hour.getTime() !== b.hour.getTime()) return a.hour.getTime() - b.hour.getTime();
  return a.workspace_id < b.workspace_id ? -1 : 1;
}

/** Where the next row behind this many from there on is, if there is one. */
async function rowAhead(tx: Tx, { hour, workspace_id }: Hour, most: number): Promise<Hour | null> {
  const ahead = (table: string, column: string) => sql`
    (select workspace_id, date_trunc('hour', ${sql.ref(column)}, 'UTC') as hour from ${sql.table(table)}
      where (workspace_id, ${sql.ref(column)}) >= (${workspace_id}, ${hour}::timestamptz)
      order by workspace_id, ${sql.ref(column)} offset ${most} limit 1)`;
  const { rows } = await sql<Hour>`select workspace_id, hour from (
      ${ahead('usage_events', 'started_at')} union all ${ahead('usage_hourly', 'hour')}
    ) as ahead order by workspace_id, hour limit 1`.execute(tx);
  return rows[0] ?? null;
}

function pieceTo(ahead: Hour | null, { hour, workspace_id }: Hour, first: Date): Piece {
  if (ahead?.workspace_id === workspace_id) {
    // An hour is never divided; what is before `first` is passed over at once.
    const until = new Date(Math.max(ahead.hour.getTime(), hour.getTime() + hourMs, first.getTime()));
    return {
      within: (at) => sql`workspace_id = ${workspace_id} and ${at} >= ${hour} and ${at} < ${until}`,
      next: { workspace_id, hour: until },
    };
  }
  if (hour > begin) {
    return {
      within: (at) => sql`workspace_id = ${workspace_id} and ${at} >= ${hour}`,
      // In the order of bytes nothing is between a name and this.
      next: { workspace_id: `${workspace_id}\u0001`, hour: begin },
    };
  }
  // Whole workspaces; of the one that the row ahead is in, nothing.
  const before = ahead === null ? sql`` : sql`and workspace_id < ${ahead.workspace_id}`;
  return {
    within: () => sql`workspace_id >= ${workspace_id} ${before}`,
    next: ahead === null ? null : { ...ahead, hour: begin },
  };
}

async function differingHours(
  tx: Tx,
  within: Piece['within'],
  retiredMonths: readonly string[],
): Promise<readonly Hour[]> {
  const columns = names(hourlyTypes);
  const { rows } = await sql<Hour>`
    with rows as (${hourlyRows(sql`${within(sql.ref('started_at'))} and month <> all(${retiredMonths}::date[])`)}),
    keys as (select ${columns} from rows),
    kept as (select ${columns} from usage_hourly where ${within(sql.ref('hour'))}
      and (date_trunc('month', hour, 'UTC') at time zone 'UTC')::date <> all(${retiredMonths}::date[]))
    select distinct workspace_id, hour from (
      (select * from keys except select * from kept) union all (select * from kept except select * from keys)
    ) as differing order by hour, workspace_id limit ${mostHours}`.execute(tx);
  return rows;
}
