import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import type { JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { type UsageRow, usageRow } from './projection.ts';
import { summed } from './ship-batch.ts';
import type { JournalTable } from './verify-table.ts';
import { idText } from './obligations.ts';

/** Compares the usage rows of these ends with what the projection says of their lines. */
export async function checkUsage(
  store: Pick<Store, 'asSystem'>,
  ends: readonly JournalRecord[],
  report: (fault: Fault) => void,
): Promise<void> {
  if (ends.length === 0) return;
  const callIds = [...new Set(ends.map((record) => idText(record['callId'])))];
  const rows = await store.asSystem((tx) =>
    tx.selectFrom('usage_events').selectAll().where('call_id', 'in', callIds).execute(),
  );
  const found = new Map(rows.map((row) => [`${row.call_id}#${row.attempt}`, row]));
  for (const record of ends) {
    const expected = usageRow(record);
    if (expected === null) continue;
    const { seq, stream } = record;
    const row = found.get(`${expected.call_id}#${expected.attempt}`);
    if (row === undefined) {
      report({
        stream,
        seq,
        kind: 'usage',
        message: `usage_events has no row of ${expected.call_id}, attempt ${expected.attempt}.`,
      });
      continue;
    }
    const differing = (Object.keys(expected) as (keyof UsageRow)[]).filter(
      (name) => !isEqual(expected[name], row[name] as string | number | boolean | bigint | object | null),
    );
    if (differing.length > 0) {
      report({
        stream,
        seq,
        kind: 'usage',
        message: `The row of usage_events differs from the record in ${differing.join(', ')}.`,
      });
    }
  }
}

function isEqual(
  expected: string | number | boolean | null,
  found: string | number | boolean | bigint | object | null,
): boolean {
  if (expected === null || found === null) return expected === found;
  if (found instanceof Date) return found.toISOString() === expected;
  // jsonb, which has an order of members of its own.
  if (typeof found === 'object') return canonicalText(JSON.parse(String(expected))) === canonicalText(found);
  return String(found) === String(expected);
}

function canonicalText(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

/** Rows that no record stands behind, and hours whose sums are not those of their rows. Named by table: no record is at fault. */
export async function checkSums(
  store: Pick<Store, 'asSystem'>,
  table: Pick<JournalTable, 'ofCalls'>,
  report: (fault: Fault) => void,
): Promise<void> {
  let after = { month: '0001-01-01', call_id: '', attempt: 0 };
  for (;;) {
    const { attempt, call_id, month } = after;
    const { rows } = await store.asSystem((tx) =>
      sql<typeof after>`select month, call_id, attempt from usage_events
        where (month, call_id, attempt) > (${month}::date, ${call_id}, ${attempt}::integer)
        order by month, call_id, attempt limit 1000`.execute(tx),
    );
    const last = rows.at(-1);
    if (last === undefined) break;
    after = last;
    const ends = new Set<string>();
    // In our own JSON, for PostgreSQL's refuses to read a line with an escaped NUL in it.
    for (const record of await table.ofCalls([...new Set(rows.map((row) => row.call_id))])) {
      if (record.event === 'use.end') ends.add(`${idText(record['callId'])}#${idText(record['attempt'])}`);
    }
    for (const row of rows) {
      if (ends.has(`${row.call_id}#${row.attempt}`)) continue;
      report({
        stream: 'usage_events',
        seq: 0,
        kind: 'usage',
        message: `${row.call_id}, attempt ${row.attempt}: no use.end in the journal.`,
      });
    }
  }
  for (const hour of await differingHours(store)) {
    report({
      stream: 'usage_hourly',
      seq: 0,
      kind: 'usage',
      message: `The sums of ${hour} are not those of usage_events.`,
    });
  }
}

async function differingHours(store: Pick<Store, 'asSystem'>): Promise<string[]> {
  const columns = sql.join(summed.map((name) => sql.ref(name)));
  const { rows } = await store.asSystem((tx) =>
    sql<{ hour: Date; workspace_id: string }>`
      with rows as (
        select workspace_id, date_trunc('hour', started_at, 'UTC') as hour, coalesce(token_id, '') as token_id,
          coalesce(user_id, '') as user_id, coalesce(key_id, '') as key_id, provider, coalesce(model, '') as model,
          count(*) filter (where final) as calls, count(*) as attempts,
          count(*) filter (where final and outcome <> 'ok') as failed,
          coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
          coalesce(sum(cache_write_input_tokens), 0) as cache_write_input_tokens,
          coalesce(sum(output_tokens), 0) as output_tokens, coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
          count(*) filter (where final and usage_source = 'unknown') as unknown_usage_calls,
          coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
          count(*) filter (where final and cost_nano_usd is null) as unknown_cost_calls
        from usage_events group by 1, 2, 3, 4, 5, 6, 7),
      keys as (select workspace_id, hour, token_id, user_id, key_id, provider, model, ${columns} from rows),
      kept as (select workspace_id, hour, token_id, user_id, key_id, provider, model, ${columns} from usage_hourly)
      select distinct workspace_id, hour from (
        (select * from keys except select * from kept) union all (select * from kept except select * from keys)
      ) as differing order by hour, workspace_id limit 100`.execute(tx),
  );
  return rows.map(({ hour, workspace_id }) => `${hour.toISOString()} in ${workspace_id}`);
}
