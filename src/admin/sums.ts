import { type RawBuilder, sql } from 'kysely';

/** Sums of WIRE.md. Counts of tokens leave out what nobody knows; `unknownUsageCalls` says how many calls that were. */
export interface Sums {
  readonly calls: number;
  readonly attempts: number;
  readonly failed: number;
  readonly inputTokens: number;
  readonly cachedInputTokens: number;
  readonly cacheWriteInputTokens: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
  readonly unknownUsageCalls: number;
  /** Nano-dollars; null where no price was known. Calls without a price beside priced ones are left out and counted. */
  readonly costNanoUsd: string | null;
  readonly unknownCostCalls: number;
}

export interface SumRow {
  readonly calls: bigint;
  readonly attempts: bigint;
  readonly failed: bigint;
  readonly input: bigint;
  readonly cached: bigint;
  readonly written: bigint;
  readonly output: bigint;
  readonly reasoning: bigint;
  readonly unknown_usage: bigint;
  readonly cost: bigint;
  readonly unknown_cost: bigint;
}

/** The same columns from either projection: "calls" are final attempts, tokens and costs those of all attempts. */
const eventColumns = (cost: RawBuilder<unknown>): RawBuilder<unknown> => sql`
    count(*) filter (where final) as calls,
    count(*) as attempts,
    count(*) filter (where final and outcome <> 'ok') as failed,
    coalesce(sum(input_tokens), 0) as input,
    coalesce(sum(cached_input_tokens), 0) as cached,
    coalesce(sum(cache_write_input_tokens), 0) as written,
    coalesce(sum(output_tokens), 0) as output,
    coalesce(sum(reasoning_tokens), 0) as reasoning,
    count(*) filter (where final and usage_source = 'unknown') as unknown_usage,
    coalesce(sum(${cost}), 0) as cost,
    count(*) filter (where final and ${cost} is null) as unknown_cost`;

export const sumColumns: Readonly<Record<'usage_hourly' | 'usage_events' | 'latest', RawBuilder<unknown>>> = {
  usage_hourly: sql`
    coalesce(sum(calls), 0) as calls,
    coalesce(sum(attempts), 0) as attempts,
    coalesce(sum(failed), 0) as failed,
    coalesce(sum(input_tokens), 0) as input,
    coalesce(sum(cached_input_tokens), 0) as cached,
    coalesce(sum(cache_write_input_tokens), 0) as written,
    coalesce(sum(output_tokens), 0) as output,
    coalesce(sum(reasoning_tokens), 0) as reasoning,
    coalesce(sum(unknown_usage_calls), 0) as unknown_usage,
    coalesce(sum(cost_nano_usd), 0) as cost,
    coalesce(sum(unknown_cost_calls), 0) as unknown_cost`,
  usage_events: eventColumns(sql`cost_nano_usd`),
  latest: eventColumns(sql`coalesce(latest_cost, cost_nano_usd)`),
};

export const noSums: SumRow = {
  calls: 0n,
  attempts: 0n,
  failed: 0n,
  input: 0n,
  cached: 0n,
  written: 0n,
  output: 0n,
  reasoning: 0n,
  unknown_usage: 0n,
  cost: 0n,
  unknown_cost: 0n,
};

/** Sums of int8 are numeric, which arrives as decimal text: they fit whatever the rows say. */
export function readSums(row: Readonly<Record<keyof SumRow, string | bigint>>): SumRow {
  const names = Object.keys(noSums) as (keyof SumRow)[];
  return Object.fromEntries(names.map((name) => [name, BigInt(row[name])])) as unknown as SumRow;
}

export function viewSums(row: SumRow): Sums {
  return {
    calls: Number(row.calls),
    attempts: Number(row.attempts),
    failed: Number(row.failed),
    inputTokens: Number(row.input),
    cachedInputTokens: Number(row.cached),
    cacheWriteInputTokens: Number(row.written),
    outputTokens: Number(row.output),
    reasoningTokens: Number(row.reasoning),
    unknownUsageCalls: Number(row.unknown_usage),
    costNanoUsd: row.cost === 0n && row.unknown_cost > 0n ? null : String(row.cost),
    unknownCostCalls: Number(row.unknown_cost),
  };
}

export function addSums(a: SumRow, b: SumRow): SumRow {
  return Object.fromEntries(
    (Object.keys(noSums) as (keyof SumRow)[]).map((name) => [name, a[name] + b[name]]),
  ) as unknown as SumRow;
}
