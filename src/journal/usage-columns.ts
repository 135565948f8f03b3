import { type RawBuilder, sql } from 'kysely';
import { type ColumnValue, createColumnText } from './column-text.ts';
import type { HourlyIncrement, UsageRow } from './projection.ts';

/** Rows as one array a column (`ColumnText`). */
export type Columns<Row> = Readonly<Record<keyof Row & string, Buffer>>;

export const usageTypes: Readonly<Record<keyof UsageRow, string>> = {
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

export const hourlyTypes: Readonly<Record<keyof HourlyIncrement, string>> = {
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

export function hourlyColumns(sums: Iterable<HourlyIncrement>): Columns<HourlyIncrement> {
  const columns = createColumns(hourlyTypes);
  for (const sum of sums) columns.add(sum);
  return columns.bytes();
}

/** Rows, one behind another, as columns of these types. */
export function createColumns<Name extends string>(
  types: Readonly<Record<Name, string>>,
): {
  add(row: { readonly [Column in Name]: ColumnValue }): void;
  /** Gone with the next `clear`. */
  bytes(): Readonly<Record<Name, Buffer>>;
  clear(): void;
} {
  const columns = (Object.keys(types) as Name[]).map((name) => [name, createColumnText()] as const);
  return Object.freeze({
    add(row: { readonly [Column in Name]: ColumnValue }) {
      for (const [name, column] of columns) column.add(row[name]);
    },
    bytes: () =>
      Object.fromEntries(columns.map(([name, column]) => [name, column.bytes()])) as Record<Name, Buffer>,
    clear() {
      for (const [, column] of columns) column.clear();
    },
  });
}

export function names(types: Readonly<Record<string, string>>): RawBuilder<unknown> {
  return sql.join(Object.keys(types).map((name) => sql.ref(name)));
}

/** One array parameter a column: COPY is refused on tables with row security, and a row a parameter ends at 65 535. */
export function unnest(
  types: Readonly<Record<string, string>>,
  columns: Readonly<Record<string, Buffer>>,
): RawBuilder<unknown> {
  return sql`unnest(${sql.join(Object.entries(types).map(([name, type]) => sql`${columns[name]}::text::${sql.raw(type)}[]`))})`;
}
