import { type RawBuilder, sql } from 'kysely';
import type { Tx } from '../db/store.ts';
import { genesisHash } from './chain.ts';
import type { StoredRecord } from './cursor.ts';
import {
  type HourlyIncrement,
  hourlyIncrements,
  monthOf,
  text,
  time,
  type UsageRow,
  usageRow,
} from './projection.ts';

/** How far a stream is in the database: the next record wanted and the hash of the one before it. */
export interface Position {
  readonly nextSeq: number;
  readonly headHash: string;
}

const start: Position = Object.freeze({ nextSeq: 0, headHash: genesisHash });

/** Without a lock: where to begin reading. */
export async function readPosition(tx: Tx, stream: string): Promise<Position> {
  const row = await tx
    .selectFrom('journal_streams')
    .select(['next_seq', 'head_hash'])
    .where('stream', '=', stream)
    .executeTakeFirst();
  return row === undefined
    ? start
    : { nextSeq: Number(row.next_seq), headHash: row.head_hash.toString('hex') };
}

/**
 * Inserts a stretch of one stream: lines, usage rows, hourly sums and the stream's new position, in the caller's transaction.
 * The position is locked first and must be `from`, else nothing is inserted: this is what makes shipping exactly once, however
 * many ship and whatever became of an earlier COMMIT.
 *
 * @returns the position now; where it isn't the end of `records`, somebody else was here.
 */
export async function shipBatch(
  tx: Tx,
  stream: string,
  from: Position,
  records: readonly StoredRecord[],
  now: string,
): Promise<Position> {
  await sql`insert into journal_streams (stream, next_seq, head_hash, closed)
    values (${stream}, 0, ${Buffer.alloc(32)}, false) on conflict do nothing`.execute(tx);
  const row = await tx
    .selectFrom('journal_streams')
    .select(['next_seq', 'head_hash'])
    .where('stream', '=', stream)
    .forUpdate()
    .executeTakeFirstOrThrow();
  const found = { nextSeq: Number(row.next_seq), headHash: row.head_hash.toString('hex') };
  const last = records.at(-1)?.record;
  if (last === undefined || found.nextSeq !== from.nextSeq || found.headHash !== from.headHash) return found;
  await insertLines(tx, stream, records, now);
  await insertUsage(tx, records);
  await tx
    .updateTable('journal_streams')
    .set({
      next_seq: BigInt(last.seq + 1),
      head_hash: Buffer.from(last.hash, 'hex'),
      closed: last.event === 'stream.close',
      updated_at: new Date(now),
    })
    .where('stream', '=', stream)
    .execute();
  return { nextSeq: last.seq + 1, headHash: last.hash };
}

async function insertLines(
  tx: Tx,
  stream: string,
  records: readonly StoredRecord[],
  now: string,
): Promise<void> {
  const column = <T>(read: (record: StoredRecord) => T): T[] => records.map(read);
  await sql`insert into journal (month, stream, seq, workspace_id, at, event, call_id, key_id, token_id, user_id, hash, line)
    select ${monthOf(now)}::date, ${stream}, seq, workspace_id, at, event, call_id, key_id, token_id, user_id, decode(hash, 'hex'), line
    from unnest(
      ${column(({ record }) => record.seq)}::bigint[],
      ${column(({ record }) => text(record['workspaceId']))}::text[],
      ${column(({ record }) => time(record.at) ?? now)}::timestamptz[],
      ${column(({ record }) => text(record.event))}::text[],
      ${column(({ record }) => text(record['callId']))}::text[],
      ${column(({ record }) => text(record['keyId']))}::text[],
      ${column(({ record }) => text(record['tokenId']))}::text[],
      ${column(({ record }) => text(record['userId']))}::text[],
      ${column(({ record }) => record.hash)}::text[],
      ${column(({ line }) => line.toString('utf8'))}::text[]
    ) as shipped (seq, workspace_id, at, event, call_id, key_id, token_id, user_id, hash, line)`.execute(tx);
}

/** An attempt has one row: a second end of it (`verify` names it) changes neither row nor sums. */
async function insertUsage(tx: Tx, records: readonly StoredRecord[]): Promise<void> {
  const rows = new Map<string, UsageRow>();
  for (const { record } of records) {
    const row = usageRow(record);
    if (row !== null && !rows.has(attemptKey(row))) rows.set(attemptKey(row), row);
  }
  if (rows.size === 0) return;
  const inserted = await sql<{ call_id: string; attempt: number }>`
    insert into usage_events (${names(usageTypes)})
    select * from ${unnest(usageTypes, [...rows.values()])}
    on conflict do nothing returning call_id, attempt`.execute(tx);
  const added = inserted.rows.map((row) => rows.get(attemptKey(row))).filter((row) => row !== undefined);
  if (added.length === 0) return;
  await sql`insert into usage_hourly as sums (${names(hourlyTypes)})
    select * from ${unnest(hourlyTypes, hourlyIncrements(added))}
    on conflict (workspace_id, hour, token_id, user_id, key_id, provider, model)
    do update set ${sql.join(summed.map((name) => sql`${sql.ref(name)} = sums.${sql.ref(name)} + excluded.${sql.ref(name)}`))}`.execute(
    tx,
  );
}

function attemptKey({ call_id, attempt }: { readonly call_id: string; readonly attempt: number }): string {
  return `${call_id}#${attempt}`;
}

const usageTypes: Readonly<Record<keyof UsageRow, string>> = {
  month: 'date',
  workspace_id: 'text',
  call_id: 'text',
  attempt: 'integer',
  final: 'boolean',
  started_at: 'timestamptz',
  ended_at: 'timestamptz',
  token_id: 'text',
  user_id: 'text',
  key_id: 'text',
  key_version: 'integer',
  key_source: 'text',
  key_fingerprint: 'text',
  provider: 'text',
  model: 'text',
  operation: 'text',
  is_stream: 'boolean',
  status: 'integer',
  outcome: 'text',
  end_reason: 'text',
  input_tokens: 'bigint',
  cached_input_tokens: 'bigint',
  cache_write_input_tokens: 'bigint',
  output_tokens: 'bigint',
  reasoning_tokens: 'bigint',
  usage_source: 'text',
  provider_usage: 'jsonb',
  cost_nano_usd: 'bigint',
  price_version: 'text',
  request_bytes: 'bigint',
  response_bytes: 'bigint',
  first_byte_ms: 'integer',
  total_ms: 'integer',
  upstream_request_id: 'text',
  receipt: 'text',
};

/** The columns of `usage_hourly` that are sums. */
export const summed = [
  'calls',
  'attempts',
  'failed',
  'input_tokens',
  'cached_input_tokens',
  'cache_write_input_tokens',
  'output_tokens',
  'reasoning_tokens',
  'unknown_usage_calls',
  'cost_nano_usd',
  'unknown_cost_calls',
] as const satisfies readonly (keyof HourlyIncrement)[];

const hourlyTypes: Readonly<Record<keyof HourlyIncrement, string>> = {
  workspace_id: 'text',
  hour: 'timestamptz',
  token_id: 'text',
  user_id: 'text',
  key_id: 'text',
  provider: 'text',
  model: 'text',
  calls: 'bigint',
  attempts: 'bigint',
  failed: 'bigint',
  input_tokens: 'bigint',
  cached_input_tokens: 'bigint',
  cache_write_input_tokens: 'bigint',
  output_tokens: 'bigint',
  reasoning_tokens: 'bigint',
  unknown_usage_calls: 'bigint',
  cost_nano_usd: 'bigint',
  unknown_cost_calls: 'bigint',
};

function names(types: Readonly<Record<string, string>>): RawBuilder<unknown> {
  return sql.join(Object.keys(types).map((name) => sql.ref(name)));
}

/** One array parameter a column: COPY is refused on tables with row security, and a row a parameter ends at 65 535. */
function unnest<Row extends object>(
  types: Readonly<Record<keyof Row & string, string>>,
  rows: readonly Row[],
): RawBuilder<unknown> {
  const columns = Object.entries<string>(types).map(([name, type]) => {
    const values = rows.map((row) => row[name as keyof Row] as unknown);
    return sql`${values}::${sql.raw(type)}[]`;
  });
  return sql`unnest(${sql.join(columns)})`;
}
