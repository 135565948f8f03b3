import { type Billed, recordableBilled } from '../dialects/billed.ts';
import type { Reading } from '../dialects/meter.ts';
import type { ErrorCode } from '../errors.ts';
import { isoTime } from '../journal/iso-time.ts';
import type { Fields, Receipt } from '../journal/journal.ts';
import type { Cost } from '../providers/cost.ts';
import type { ClientMarks } from '../vault/vault.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { Target } from './target.ts';

export type EndReason = 'complete' | 'client_closed' | 'upstream_broken' | 'revoked' | 'timeout' | 'crash';

/** Of a call that was ended before its answer was whole. */
export function endReasonOf(code: ErrorCode): EndReason {
  if (code === 'CLIENT_CLOSED') return 'client_closed';
  return code === 'CALL_TIMEOUT' ? 'timeout' : 'revoked';
}

/** Who and what: the same in a call's begin and end, so that a usage row is a pure function of its end. */
export interface UseIdentity {
  readonly callId: string;
  readonly workspaceId: string;
  readonly tokenId: string | null;
  readonly userId: string | null;
  /** Null, and the version too, for a key that came with the call. */
  readonly keyId: string | null;
  readonly keyVersion: number | null;
  readonly keySource: string;
  readonly keyFingerprint: string | null;
  readonly provider: string;
  readonly operation: string;
  readonly model: string | null;
  /** As sent to the provider, where `model` is as it was asked for. */
  readonly upstreamModel: string | null;
  readonly isStream: boolean;
}

export interface AttemptEnd {
  readonly final: boolean;
  /** `ok` or an error code. */
  readonly outcome: string;
  readonly endReason: EndReason;
  /** What the client was answered, or null where no answer was begun. */
  readonly status: number | null;
  readonly upstreamRequestId: string | null;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly firstByteMs: number | null;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly reading: Reading | null;
  /** The key stood in the provider's answer; it was replaced. */
  readonly isKeyEchoed?: boolean;
  readonly billed: Billed;
  readonly cost: Cost;
}

export function identityOf(
  callId: string,
  caller: Pick<CallerSnapshot, 'workspaceId' | 'userId'> & { readonly tokenId: string | null },
  target: Target,
  keyFingerprint: string | null,
  isStream: boolean,
): UseIdentity {
  return {
    callId,
    workspaceId: caller.workspaceId,
    tokenId: caller.tokenId,
    userId: caller.userId,
    keyId: target.key.id,
    keyVersion: target.key.version,
    keySource: target.key.source,
    keyFingerprint,
    provider: target.provider.name,
    operation: target.operation,
    model: target.model,
    upstreamModel: target.upstreamModel ?? target.model,
    isStream,
  };
}

export function beginFields(
  identity: UseIdentity,
  target: Target,
  attempt: number,
  startedAtMs: number,
  client: ClientMarks | null,
): Fields {
  return {
    ...identity,
    attempt,
    protection: target.key.protection,
    origin: target.origin,
    clientIpHash: client?.clientIpHash ?? null,
    network: client?.network ?? null,
    reservedNanoUsd: null,
    startedAt: isoTime(startedAtMs),
  };
}

export function endFields(identity: UseIdentity, attempt: number, begin: Receipt, end: AttemptEnd): Fields {
  const { reading } = end;
  const fields = {
    ...identity,
    attempt,
    final: end.final,
    beginStream: begin.stream,
    beginSeq: begin.seq,
    receipt: begin.text,
    startedAt: isoTime(end.startedAtMs),
    endedAt: isoTime(end.endedAtMs),
    outcome: end.outcome,
    status: end.status,
    endReason: end.endReason,
    upstreamRequestId: end.upstreamRequestId,
    firstByteMs: end.firstByteMs,
    totalMs: end.endedAtMs - end.startedAtMs,
    requestBytes: end.requestBytes,
    responseBytes: end.responseBytes,
    usage: (reading?.usage ?? null) as Fields[string],
    usageSource: reading?.usageSource ?? 'unknown',
    providerUsage: (reading?.providerUsage ?? null) as Fields[string],
    billed: recordableBilled(end.billed),
    costNanoUsd: end.cost.nanoUsd === null ? null : String(end.cost.nanoUsd),
    priceVersion: end.cost.version,
  };
  return end.isKeyEchoed === true ? { ...fields, keyEchoed: true } : fields;
}
