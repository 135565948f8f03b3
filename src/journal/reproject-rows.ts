import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { parseRecordText } from './chain.ts';
import { type UsageRow, usageRow } from './projection.ts';
import { createColumns, names, unnest, usageTypes } from './usage-columns.ts';

/** A row that was not what the records say. */
export interface RowDifference {
  readonly table: 'usage_events';
  readonly callId: string;
  readonly attempt: number;
  readonly what: 'missing' | 'changed' | 'without a record';
}

const all = Object.keys(usageTypes);

/** Those that ship wait for as long as this transaction lasts, and the other way round; readers do not. */
export async function lockProjections(tx: Tx): Promise<void> {
  await sql`set local lock_timeout = '10s'`.execute(tx);
  // In the order in which shipping takes them.
  await sql`lock table usage_events in share row exclusive mode`.execute(tx);
  await sql`lock table usage_hourly in share row exclusive mode`.execute(tx);
}

const keyOf = ({ month, call_id, attempt }: Pick<UsageRow, 'month' | 'call_id' | 'attempt'>): string =>
  `${month} ${call_id} ${attempt}`;

/** Rows of these ends by their primary key; an attempt with two ends has two, in the order of the journal. */
function expectedOf(lines: readonly string[], since: string): Map<string, UsageRow[]> {
  const expected = new Map<string, UsageRow[]>();
  for (const line of lines) {
    const record = parseRecordText(line);
    const row = record === null ? null : usageRow(record);
    if (row === null || row.month < since) continue;
    expected.getOrInsertComputed(keyOf(row), () => []).push(row);
  }
  return expected;
}

/** Rows of which the table has no equal, column by column. */
async function unequal(tx: Tx, rows: readonly UsageRow[]): Promise<Map<string, 'missing' | 'changed'>> {
  if (rows.length === 0) return new Map();
  const columns = createColumns(usageTypes);
  for (const row of rows) columns.add(row);
  const side = (name: string) => sql.join(all.map((column) => sql.ref(`${name}.${column}`)));
  const { rows: found } = await sql<{ month: string; call_id: string; attempt: number; is_missing: boolean }>`
    select e.month, e.call_id, e.attempt, u.call_id is null as is_missing
    from ${unnest(usageTypes, columns.bytes())} as e (${names(usageTypes)})
    left join usage_events as u on u.month = e.month and u.call_id = e.call_id and u.attempt = e.attempt
    where (${side('e')}) is distinct from (${side('u')})`.execute(tx);
  return new Map(found.map((row) => [keyOf(row), row.is_missing ? 'missing' : 'changed']));
}

/**
 * Mends the rows that these ends stand behind. Nothing is locked while all is well.
 *
 * @param since YYYY-MM-01: rows of earlier months stay as they are.
 */
export async function mendRows(
  store: Pick<Store, 'asSystem'>,
  lines: readonly string[],
  since: string,
  isDry: boolean,
): Promise<readonly RowDifference[]> {
  const expected = expectedOf(lines, since);
  const firsts = [...expected.values()].flatMap(([first]) => first ?? []);
  const suspected = await store.asSystem((tx) => unequal(tx, firsts));
  if (suspected.size === 0) return [];
  const callIds = firsts.filter((row) => suspected.has(keyOf(row))).map(({ call_id }) => call_id);
  return store.asSystem(async (tx) => {
    if (!isDry) await lockProjections(tx);
    const whole = expectedOf(await endsOf(tx, callIds), since);
    const wrong: UsageRow[] = [];
    const differences: RowDifference[] = [];
    const isWrong = await unequal(
      tx,
      [...whole.values()].flatMap(([first]) => first ?? []),
    );
    for (const [key, [first, ...others]] of whole) {
      const what = isWrong.get(key);
      if (first === undefined || what === undefined || !suspected.has(key)) continue;
      // Which of an attempt's two ends came first into the table the table itself says.
      let hasEqual = false;
      for (const other of others) hasEqual ||= (await unequal(tx, [other])).size === 0;
      if (hasEqual) continue;
      wrong.push(first);
      differences.push({ table: 'usage_events', callId: first.call_id, attempt: first.attempt, what });
    }
    if (!isDry && wrong.length > 0) await replace(tx, wrong);
    return differences;
  });
}

async function replace(tx: Tx, rows: readonly UsageRow[]): Promise<void> {
  const columns = createColumns(usageTypes);
  for (const row of rows) columns.add(row);
  const bytes = columns.bytes();
  const keys = { month: usageTypes.month, call_id: usageTypes.call_id, attempt: usageTypes.attempt };
  await sql`delete from usage_events as u using ${unnest(keys, bytes)} as e (month, call_id, attempt)
    where u.month = e.month and u.call_id = e.call_id and u.attempt = e.attempt`.execute(tx);
  await sql`insert into usage_events (${names(usageTypes)}) select * from ${unnest(usageTypes, bytes)}`.execute(
    tx,
  );
}

/** Takes away those of these rows that no record stands behind. */
export async function mendGhosts(
  store: Pick<Store, 'asSystem'>,
  rows: readonly Pick<UsageRow, 'month' | 'call_id' | 'attempt'>[],
  isDry: boolean,
): Promise<readonly RowDifference[]> {
  const look = async (tx: Tx, among: typeof rows) => {
    const ends = expectedOf(await endsOf(tx, [...new Set(among.map(({ call_id }) => call_id))]), '');
    return among.filter((row) => !ends.has(keyOf(row)));
  };
  const suspected = await store.asSystem((tx) => look(tx, rows));
  if (suspected.length === 0) return [];
  return store.asSystem(async (tx) => {
    if (!isDry) await lockProjections(tx);
    const ghosts = await look(tx, suspected);
    for (const { month, call_id, attempt } of isDry ? [] : ghosts)
      await sql`delete from usage_events where month = ${month}::date and call_id = ${call_id} and attempt = ${attempt}`.execute(
        tx,
      );
    return ghosts.map(({ call_id, attempt }) => ({
      table: 'usage_events' as const,
      callId: call_id,
      attempt,
      what: 'without a record' as const,
    }));
  });
}

/** Lines of all ends of these calls, in the order of the journal. */
async function endsOf(tx: Tx, callIds: readonly string[]): Promise<readonly string[]> {
  const { rows } = await sql<{ line: string }>`select line from journal
    where call_id = any(${[...callIds]}::text[]) and event = 'use.end' order by month, stream, seq`.execute(
    tx,
  );
  return rows.map(({ line }) => line);
}
