import type { Receipt } from '../journal/journal.ts';
import { attemptCost, billedOf, listedModel, type Pricing } from './attempt-cost.ts';
import type { GatewayDeps } from './gateway.ts';
import type { RelayResult } from './relay-result.ts';
import { endFields, type UseIdentity } from './use-record.ts';

export interface Settled {
  readonly identity: UseIdentity;
  readonly pricing: Pricing;
  readonly begin: Receipt;
  readonly attempt: number;
  readonly isFinal: boolean;
  readonly result: RelayResult;
  readonly body: { readonly bytesSeen: number } | null;
  /** What the client was told, or null where it was told nothing. */
  readonly status: number | null;
  /** ms since the epoch: of the attempt, and of the call. */
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly callStartedAtMs: number;
  /** ms of the gateway's own before the first attempt went out. */
  readonly overheadMs: number;
}

/** The end of an attempt: its record, and with the last one the call's metrics and its one log line. After the last byte, never before. */
export function settle(
  {
    ends,
    metrics,
    log,
    lastUsed,
    prices,
  }: Pick<GatewayDeps, 'ends' | 'metrics' | 'log' | 'lastUsed' | 'prices'>,
  settled: Settled,
): void {
  const { identity, pricing, result, body, startedAtMs, endedAtMs } = settled;
  const firstByteMs = result.firstByteAt === null ? null : result.firstByteAt - startedAtMs;
  const billed = billedOf(pricing, result);
  const cost = attemptCost(prices, pricing, identity, result, billed, startedAtMs);
  ends.write(
    endFields(identity, settled.attempt, settled.begin, {
      final: settled.isFinal,
      outcome: result.outcome,
      endReason: result.endReason,
      status: settled.status,
      upstreamRequestId: result.upstreamRequestId,
      startedAtMs,
      endedAtMs,
      firstByteMs,
      requestBytes: body?.bytesSeen ?? 0,
      responseBytes: result.responseBytes,
      reading: result.reading,
      isKeyEchoed: result.keyEchoes > 0,
      billed,
      cost,
    }),
  );
  if (result.keyEchoes > 0) {
    metrics.keyEchoed(identity.provider);
    log.warn('key.echoed', {
      requestId: identity.callId,
      workspaceId: identity.workspaceId,
      keyId: identity.keyId,
      provider: identity.provider,
      operation: identity.operation,
      status: settled.status,
      count: result.keyEchoes,
    });
  }
  metrics.attemptEnded(
    identity.provider,
    (endedAtMs - startedAtMs) / 1000,
    firstByteMs === null ? null : firstByteMs / 1000,
  );
  lastUsed.note(identity.tokenId, identity.keyId, endedAtMs);
  if (!settled.isFinal) return;
  const { provider, operation, model } = identity;
  metrics.callEnded({
    provider,
    operation,
    outcome: result.outcome,
    model: identity.upstreamModel,
    listedModel: result.outcome === 'ok' ? listedModel(prices, pricing, identity) : null,
    seconds: (endedAtMs - settled.callStartedAtMs) / 1000,
    firstChunkSeconds:
      result.firstByteAt === null ? null : (result.firstByteAt - settled.callStartedAtMs) / 1000,
    overheadSeconds: settled.overheadMs / 1000,
    usage: result.reading?.usage ?? null,
    isUsageUnknown: result.outcome === 'ok' && result.reading?.usageSource === 'unknown',
    costNanoUsd: cost.nanoUsd === null ? null : String(cost.nanoUsd),
  });
  log.info('call.end', {
    requestId: identity.callId,
    tokenId: identity.tokenId,
    keyId: identity.keyId,
    provider,
    operation,
    model,
    outcome: result.outcome,
    status: settled.status,
    totalMs: endedAtMs - settled.callStartedAtMs,
    attempts: settled.attempt,
  });
}
