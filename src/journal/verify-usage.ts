import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import type { JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { type UsageRow, usageRow } from './projection.ts';
import type { Pace } from './verify-pace.ts';
import type { Retired } from './verify-retired.ts';
import type { JournalTable } from './verify-table.ts';
import { idText } from './obligations.ts';

/** Columns of `usage_events` as text, but for `provider_usage`, whose members have an order of PostgreSQL's own. */
const compared: Readonly<Record<Exclude<keyof UsageRow, 'month' | 'provider_usage'>, 'text' | 'time'>> = {
  workspace_id: 'text',
  call_id: 'text',
  attempt: 'text',
  final: 'text',
  started_at: 'time',
  ended_at: 'time',
  token_id: 'text',
  user_id: 'text',
  key_id: 'text',
  key_version: 'text',
  key_source: 'text',
  key_fingerprint: 'text',
  provider: 'text',
  model: 'text',
  operation: 'text',
  is_stream: 'text',
  status: 'text',
  outcome: 'text',
  end_reason: 'text',
  input_tokens: 'text',
  cached_input_tokens: 'text',
  cache_write_input_tokens: 'text',
  output_tokens: 'text',
  reasoning_tokens: 'text',
  usage_source: 'text',
  cost_nano_usd: 'text',
  price_version: 'text',
  request_bytes: 'text',
  response_bytes: 'text',
  first_byte_ms: 'text',
  total_ms: 'text',
  upstream_request_id: 'text',
  receipt: 'text',
};
const names = Object.keys(compared) as (keyof typeof compared)[];
const separator = '\u001f';
const absent = '\u0002';

/** One column in place of 33: a driver takes as long over a row's columns as all the rest here takes. */
const comparedText = sql.join(
  names.map((name) =>
    compared[name] === 'time'
      ? sql`(date_part('epoch', ${sql.ref(name)}) * 1000)::bigint`
      : sql`coalesce(${sql.ref(name)}::text, ${absent})`,
  ),
);

function expectedText(row: UsageRow): string {
  let text = '';
  for (const name of names) {
    const value = row[name];
    if (text !== '') text += separator;
    if (value === null) text += absent;
    else text += compared[name] === 'time' ? Date.parse(String(value)) : String(value);
  }
  return text;
}

/**
 * Compares the usage rows of these ends with what the projection says of their lines.
 *
 * @returns how many rows stand behind them.
 */
export async function checkUsage(
  store: Pick<Store, 'asSystem'>,
  ends: readonly JournalRecord[],
  retiredMonths: readonly string[],
  report: (fault: Fault) => void,
): Promise<number> {
  const expected = ends
    .map((record) => ({ record, row: usageRow(record) }))
    .filter(hasRow)
    .filter(({ row }) => !retiredMonths.includes(row.month));
  if (expected.length === 0) return 0;
  const callIds = [...new Set(expected.map(({ row }) => row.call_id))];
  // The primary key begins with it.
  const months = [...new Set(expected.map(({ row }) => row.month))];
  const { rows } = await store.asSystem((tx) =>
    sql<{ call_id: string; attempt: number; text: string; provider_usage: unknown }>`
      select call_id, attempt, concat_ws(${separator}, ${comparedText}) as text, provider_usage
      from usage_events where month = any(${months}::date[]) and call_id = any(${callIds}::text[])`.execute(
      tx,
    ),
  );
  const found = new Map(rows.map((row) => [`${row.call_id}#${row.attempt}`, row]));
  const behind = new Set<string>();
  for (const { record, row } of expected) {
    const { seq, stream } = record;
    const key = `${row.call_id}#${row.attempt}`;
    const other = found.get(key);
    if (other === undefined) {
      const message = `usage_events has no row of ${row.call_id}, attempt ${row.attempt}.`;
      report({ stream, seq, kind: 'usage', message });
      continue;
    }
    behind.add(key);
    const differing = differences(row, other);
    if (differing.length === 0) continue;
    const message = `The row of usage_events differs from the record in ${differing.join(', ')}.`;
    report({ stream, seq, kind: 'usage', message });
  }
  return behind.size;
}

function hasRow(one: { readonly record: JournalRecord; readonly row: UsageRow | null }): one is {
  readonly record: JournalRecord;
  readonly row: UsageRow;
} {
  return one.row !== null;
}

function differences(
  row: UsageRow,
  found: { readonly text: string; readonly provider_usage: unknown },
): string[] {
  const differing: string[] = [];
  const text = expectedText(row);
  if (text !== found.text) {
    const theirs = found.text.split(separator);
    for (const [i, value] of text.split(separator).entries())
      if (value !== theirs[i]) differing.push(names[i] ?? 'its columns');
    if (differing.length === 0) differing.push('its columns');
  }
  const usage: unknown = row.provider_usage === null ? null : JSON.parse(row.provider_usage);
  if (!isSame(usage, found.provider_usage)) differing.push('provider_usage');
  return differing;
}

/** Equal JSON, whatever the order of members. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  const [mine, theirs] = [Object.entries(a), b as Readonly<Record<string, unknown>>];
  return (
    Array.isArray(a) === Array.isArray(b) &&
    mine.length === Object.keys(b).length &&
    mine.every(([name, value]) => Object.hasOwn(theirs, name) && isSame(value, theirs[name]))
  );
}

/** Of the calls of so many rows the lines are read at once, and calls of the gateway wait for that. */
const pageRows = 250;

/** Rows that no record stands behind, named by table: no record is at fault. @param since null: all. */
export async function checkGhosts(
  store: Pick<Store, 'asSystem'>,
  table: Pick<JournalTable, 'ofCalls'>,
  since: Date | null,
  { pace, retired }: { readonly pace: Pace; readonly retired: Pick<Retired, 'at'> },
  report: (fault: Fault) => void,
): Promise<void> {
  let after = { month: '0001-01-01', call_id: '', attempt: 0, receipt: '' };
  for (;;) {
    const { attempt, call_id, month } = after;
    const { rows } = await store.asSystem((tx) =>
      sql<typeof after>`select month, call_id, attempt, receipt from usage_events
        where (month, call_id, attempt) > (${month}::date, ${call_id}, ${attempt}::integer)
          and started_at >= ${since ?? new Date(0)}
        order by month, call_id, attempt limit ${pageRows}`.execute(tx),
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last;
    await pace.turn();
    const ends = new Set<string>();
    // In our own JSON, for PostgreSQL's refuses to read a line with an escaped NUL in it.
    for (const record of await table.ofCalls([...new Set(rows.map((row) => row.call_id))])) {
      if (record.event === 'use.end') ends.add(`${idText(record['callId'])}#${idText(record['attempt'])}`);
    }
    for (const row of rows) {
      if (ends.has(`${row.call_id}#${row.attempt}`) || hasGone(row.receipt, retired)) continue;
      report({
        stream: 'usage_events',
        seq: 0,
        kind: 'usage',
        message: `${row.call_id}, attempt ${row.attempt}: no use.end in the journal.`,
      });
    }
  }
}

/** A clock that was set back lets a call's records go with an earlier month than its row. */
function hasGone(receipt: string, retired: Pick<Retired, 'at'>): boolean {
  const [stream = '', seq = ''] = receipt.split('.');
  return retired.at(stream, Number(seq)) !== null;
}
