import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import { iso } from './moment.ts';

export type CallRow = Selectable<Schema['usage_events']>;
export type CallView = ReturnType<typeof viewCall>;

/** Call of WIRE.md: one attempt. Unknown counts are null, never 0. */
export function viewCall(row: CallRow) {
  return {
    id: row.call_id,
    attempt: row.attempt,
    final: row.final,
    startedAt: iso(row.started_at),
    endedAt: iso(row.ended_at),
    tokenId: row.token_id,
    userId: row.user_id,
    keyId: row.key_id,
    keyVersion: row.key_version,
    keySource: row.key_source,
    keyFingerprint: row.key_fingerprint,
    provider: row.provider,
    model: row.model,
    operation: row.operation,
    stream: row.is_stream,
    status: row.status,
    outcome: row.outcome,
    endReason: row.end_reason,
    inputTokens: count(row.input_tokens),
    cachedInputTokens: count(row.cached_input_tokens),
    cacheWriteInputTokens: count(row.cache_write_input_tokens),
    outputTokens: count(row.output_tokens),
    reasoningTokens: count(row.reasoning_tokens),
    usageSource: row.usage_source,
    providerUsage: row.provider_usage,
    costNanoUsd: row.cost_nano_usd === null ? null : String(row.cost_nano_usd),
    priceVersion: row.price_version,
    requestBytes: Number(row.request_bytes),
    responseBytes: Number(row.response_bytes),
    firstByteMs: row.first_byte_ms,
    totalMs: row.total_ms,
    upstreamRequestId: row.upstream_request_id,
    receipt: row.receipt,
  };
}

function count(value: bigint | null): number | null {
  return value === null ? null : Number(value);
}
