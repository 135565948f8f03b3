import type { EgressError } from '../egress/egress.ts';
import type { ErrorCode } from '../errors.ts';
import { retryAfterMs } from './retry-after.ts';

/**
 * What an attempt came to grief of while nothing had been said to the client, as far as another may follow. `broken`: it may have run,
 * and been charged, so that only what changes nothing is asked again.
 */
export type FailureKind =
  | 'stale_socket'
  | 'unreachable'
  | 'key_refused'
  | 'rate_limited'
  | 'overloaded'
  | 'broken';

export interface AttemptFailure {
  readonly kind: FailureKind;
  /** What the provider asked for, or null. */
  readonly retryAfterMs: number | null;
  /** The provider said that the same request will fail again on this key (`x-should-retry: false`). */
  readonly isFinalHere: boolean;
}

/** Null: nothing may follow. */
export function failureOfError(error: EgressError): AttemptFailure | null {
  const kind = error.stale ? 'stale_socket' : kindOfError(error);
  return kind === null ? null : { kind, retryAfterMs: null, isFinalHere: false };
}

function kindOfError({ code, reachedUpstream }: EgressError): FailureKind | null {
  if (code === 'UPSTREAM_CONNECT_TIMEOUT') return 'unreachable';
  if (code === 'UPSTREAM_UNREACHABLE') return reachedUpstream ? 'broken' : 'unreachable';
  return code === 'UPSTREAM_ERROR' ? 'broken' : null;
}

/**
 * Of an answer that is an error. Null: it is the client's to read.
 *
 * @param code as the provider's file classifies it
 * @param now ms since the epoch: `retry-after` may be a date
 */
export function failureOfAnswer(
  code: ErrorCode,
  status: number,
  headers: readonly (readonly [string, string])[],
  now: number,
): AttemptFailure | null {
  const kind = kindOfAnswer(code, status);
  if (kind === null) return null;
  const isFinalHere = headers.some(([name, value]) => name === 'x-should-retry' && value === 'false');
  return { kind, retryAfterMs: retryAfterMs(headers, now), isFinalHere };
}

function kindOfAnswer(code: ErrorCode, status: number): FailureKind | null {
  if (code === 'UPSTREAM_AUTH') return 'key_refused';
  if (code === 'UPSTREAM_RATE_LIMITED') return 'rate_limited';
  if (code === 'UPSTREAM_OVERLOADED') return 'overloaded';
  return status === 502 || status === 504 ? 'broken' : null;
}
