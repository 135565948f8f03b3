import { receiptText, type JournalRecord } from './chain.ts';
import type { JsonValue } from './canonical.ts';

/** A row of `usage_events`, ready for a parameter. Counts are decimal text, for int8. Absent = null, unknown is never 0. */
export interface UsageRow {
  readonly month: string;
  readonly workspace_id: string;
  readonly call_id: string;
  readonly attempt: number;
  readonly final: boolean;
  readonly started_at: string;
  readonly ended_at: string;
  readonly token_id: string | null;
  readonly user_id: string | null;
  readonly key_id: string | null;
  readonly key_version: number | null;
  readonly key_source: string | null;
  /** Null too in what was recorded before records had it. */
  readonly key_fingerprint: string | null;
  readonly provider: string;
  readonly model: string | null;
  readonly operation: string;
  readonly is_stream: boolean;
  readonly status: number | null;
  readonly outcome: string;
  readonly end_reason: string;
  readonly input_tokens: string | null;
  readonly cached_input_tokens: string | null;
  readonly cache_write_input_tokens: string | null;
  readonly output_tokens: string | null;
  readonly reasoning_tokens: string | null;
  readonly usage_source: 'provider' | 'estimated' | 'unknown';
  readonly provider_usage: string | null;
  readonly cost_nano_usd: string | null;
  readonly price_version: string | null;
  readonly request_bytes: string;
  readonly response_bytes: string;
  readonly first_byte_ms: number | null;
  readonly total_ms: number;
  readonly upstream_request_id: string | null;
  readonly receipt: string;
}

const maxInt4 = 2_147_483_647;
const maxInt8 = 9_223_372_036_854_775_807n;

/**
 * The usage row of a `use.end`, a pure function of the line; null for other records and for an end that names no call.
 *
 * Total on purpose: what a provider or client put into a record (NUL in a model's name, a count of 1e300) and what
 * PostgreSQL refuses would otherwise stop the shipping of the stream for good.
 */
export function usageRow(record: JournalRecord): UsageRow | null {
  if (record.event !== 'use.end') return null;
  const workspaceId = text(record['workspaceId']);
  const callId = text(record['callId']);
  const attempt = int4(record['attempt']);
  if (workspaceId === null || callId === null || attempt === null || attempt < 1) return null;
  const startedAt = time(record['startedAt']) ?? time(record.at) ?? '1970-01-01T00:00:00.000Z';
  const endedAt = time(record['endedAt']) ?? time(record.at) ?? startedAt;
  const usage = object(record['usage']);
  const source = record['usageSource'];
  return {
    month: monthOf(startedAt),
    workspace_id: workspaceId,
    call_id: callId,
    attempt,
    final: record['final'] === true,
    started_at: startedAt,
    ended_at: endedAt,
    token_id: text(record['tokenId']),
    user_id: text(record['userId']),
    key_id: text(record['keyId']),
    key_version: int4(record['keyVersion']),
    key_source: text(record['keySource']),
    key_fingerprint: text(record['keyFingerprint']),
    provider: text(record['provider']) ?? '',
    model: text(record['model']),
    operation: text(record['operation']) ?? '',
    is_stream: record['isStream'] === true,
    status: int4(record['status']),
    outcome: text(record['outcome']) ?? 'INTERNAL',
    end_reason: text(record['endReason']) ?? 'complete',
    input_tokens: count(usage?.['inputTokens']),
    cached_input_tokens: count(usage?.['cachedInputTokens']),
    cache_write_input_tokens: count(usage?.['cacheWriteInputTokens']),
    output_tokens: count(usage?.['outputTokens']),
    reasoning_tokens: count(usage?.['reasoningTokens']),
    usage_source: source === 'provider' || source === 'estimated' ? source : 'unknown',
    provider_usage: jsonb(record['providerUsage']),
    cost_nano_usd: nano(record['costNanoUsd']),
    price_version: text(record['priceVersion']),
    request_bytes: count(record['requestBytes']) ?? '0',
    response_bytes: count(record['responseBytes']) ?? '0',
    first_byte_ms: int4(record['firstByteMs']),
    total_ms:
      int4(record['totalMs']) ?? Math.max(0, Math.min(maxInt4, Date.parse(endedAt) - Date.parse(startedAt))),
    upstream_request_id: text(record['upstreamRequestId']),
    receipt: text(record['receipt']) ?? receiptText(record),
  };
}

/** One row of `usage_hourly` as an increment. "Calls" are final attempts; tokens and costs are those of all attempts. */
export interface HourlyIncrement {
  readonly workspace_id: string;
  readonly hour: string;
  readonly token_id: string;
  readonly user_id: string;
  readonly key_id: string;
  readonly provider: string;
  readonly model: string;
  calls: bigint;
  attempts: bigint;
  /** Final attempts with another outcome than `ok`. */
  failed: bigint;
  input_tokens: bigint;
  cached_input_tokens: bigint;
  cache_write_input_tokens: bigint;
  output_tokens: bigint;
  reasoning_tokens: bigint;
  /** Final attempts whose usage nobody knows: what the sums leave out. */
  unknown_usage_calls: bigint;
  cost_nano_usd: bigint;
  unknown_cost_calls: bigint;
}

/** Sums by hour. */
export interface HourlySums {
  add(row: UsageRow): void;
  /** In the order of the key, so that two shippers lock rows in one order. */
  increments(): HourlyIncrement[];
}

export function createHourlySums(): HourlySums {
  const sums = new Map<string, HourlyIncrement>();
  return Object.freeze({
    add(row: UsageRow) {
      const hour = `${row.started_at.slice(0, 13)}:00:00.000Z`;
      const { workspace_id, provider } = row;
      const token_id = row.token_id ?? '';
      const user_id = row.user_id ?? '';
      const key_id = row.key_id ?? '';
      const model = row.model ?? '';
      const name = JSON.stringify([workspace_id, hour, token_id, user_id, key_id, provider, model]);
      let sum = sums.get(name);
      if (sum === undefined) {
        sum = { workspace_id, hour, token_id, user_id, key_id, provider, model, ...zero };
        sums.set(name, sum);
      }
      sum.attempts += 1n;
      sum.input_tokens += whole(row.input_tokens);
      sum.cached_input_tokens += whole(row.cached_input_tokens);
      sum.cache_write_input_tokens += whole(row.cache_write_input_tokens);
      sum.output_tokens += whole(row.output_tokens);
      sum.reasoning_tokens += whole(row.reasoning_tokens);
      sum.cost_nano_usd = atMost(sum.cost_nano_usd + whole(row.cost_nano_usd));
      if (!row.final) return;
      sum.calls += 1n;
      if (row.outcome !== 'ok') sum.failed += 1n;
      if (row.usage_source === 'unknown') sum.unknown_usage_calls += 1n;
      if (row.cost_nano_usd === null) sum.unknown_cost_calls += 1n;
    },
    increments: () => [...sums].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum),
  });
}

function whole(count: string | null): bigint {
  return count === null || count === '0' ? 0n : BigInt(count);
}

/** Counts are bounded each, a cost only by what fits. */
function atMost(sum: bigint): bigint {
  return sum > maxInt8 ? maxInt8 : sum;
}

const zero = {
  calls: 0n,
  attempts: 0n,
  failed: 0n,
  input_tokens: 0n,
  cached_input_tokens: 0n,
  cache_write_input_tokens: 0n,
  output_tokens: 0n,
  reasoning_tokens: 0n,
  unknown_usage_calls: 0n,
  cost_nano_usd: 0n,
  unknown_cost_calls: 0n,
};

/** `YYYY-MM-01`, the partition of a time. */
export function monthOf(time: string): string {
  return `${time.slice(0, 7)}-01`;
}

/** What every id and name of ours is. */
// oxlint-disable-next-line no-control-regex -- NUL is the point
const asItIs = /^[^\0\ud800-\udfff]{0,200}$/;

/**
 * PostgreSQL's text holds every character but NUL, and an index entry at most 2704 bytes: `model` is whatever a client wrote
 * and is a part of the key of `usage_hourly`. The line keeps the whole.
 */
export function text(value: JsonValue | undefined): string | null {
  if (typeof value !== 'string') return null;
  if (asItIs.test(value)) return value;
  return value.slice(0, 200).toWellFormed().replaceAll('\0', '\uFFFD');
}

function object(value: JsonValue | undefined): { readonly [member: string]: JsonValue } | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as { readonly [member: string]: JsonValue })
    : null;
}

function jsonb(value: JsonValue | undefined): string | null {
  if (value === null || value === undefined) return null;
  // An odd number of backslashes before u0000 makes it the escape of NUL, which jsonb refuses.
  return JSON.stringify(value).replaceAll(/(?<!\\)((?:\\\\)*)\\u0000/g, '$1\\ufffd');
}

function int4(value: JsonValue | undefined): number | null {
  if (typeof value !== 'number' || !(value >= 0 && value <= maxInt4)) return null;
  return Math.round(value);
}

/** No call has a thousand milliards of anything; a count beyond that is a provider's nonsense and would overflow the sums. */
function count(value: JsonValue | undefined): string | null {
  const isCount = typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 1e12;
  return isCount ? String(value) : null;
}

function nano(value: JsonValue | undefined): string | null {
  if (typeof value !== 'string' || !/^\d{1,19}$/.test(value)) return null;
  return BigInt(value) <= maxInt8 ? String(BigInt(value)) : null;
}

/** Of our own making, and on a day that every month has: as it should be. */
const plainTime =
  /^2\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$/;

/** RFC 3339 in UTC with ms, between the years 2000 and 9999: what the columns and partitions take. */
export function time(value: JsonValue | undefined): string | null {
  if (typeof value !== 'string' && typeof value !== 'number') return null;
  // A million times over, making a date of it and a text again costs more than all else of a row.
  if (typeof value === 'string' && plainTime.test(value)) return value;
  const date = new Date(value);
  const year = date.getUTCFullYear();
  return year >= 2000 && year <= 9999 ? date.toISOString() : null;
}
