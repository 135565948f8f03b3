import type { TokenPolicy } from '../token-policy.ts';
import type { AttemptFailure } from './attempt-failure.ts';

/** What may follow a failed attempt. `other`: another target at once; with none left the same again after a wait, unless that is null. */
export type Step =
  | { readonly type: 'stop' }
  | { readonly type: 'again'; readonly waitMs: number }
  | { readonly type: 'other'; readonly againAfterMs: number | null };

export interface Situation {
  readonly policy: Pick<TokenPolicy, 'maxAttempts' | 'retryStale'>;
  /** So far, the failed one too. */
  readonly attempts: number;
  /** Of these, repeats after a kept connection had died. */
  readonly staleRepeats: number;
  /** The body is in memory. */
  readonly isRepeatable: boolean;
  /** GET, HEAD, OPTIONS: asking again changes nothing and costs nothing. */
  readonly isIdempotent: boolean;
  /** The target had failed before this call went to it: there is no hope in waiting. */
  readonly wasIll: boolean;
  /** Until the call's limit in all. */
  readonly leftMs: number;
  /** From 0, below 1. */
  readonly jitter: number;
}

/** GATEWAY.md, "Stale keep-alive sockets". */
const maxStaleRepeats = 2;
const firstBackoffMs = 250;
/** For longer no client is kept waiting: he is told how long. */
const maxWaitMs = 5000;

const stop: Step = { type: 'stop' };

/**
 * Repeated is what was not charged: no connection, a kept one that died before any byte of an answer (unlikely to be charged, not
 * impossible), refusals for load or for the key. What may have run is asked again only where running it twice is no harm.
 */
export function stepAfter(failure: AttemptFailure, situation: Situation): Step {
  const { policy, attempts, isRepeatable, isIdempotent, leftMs } = situation;
  if (!isRepeatable || attempts >= policy.maxAttempts || leftMs <= 0) return stop;
  switch (failure.kind) {
    case 'stale_socket':
      return policy.retryStale && situation.staleRepeats < maxStaleRepeats
        ? { type: 'again', waitMs: 0 }
        : stop;
    case 'key_refused':
      return { type: 'other', againAfterMs: null };
    case 'broken':
      return isIdempotent ? { type: 'other', againAfterMs: waitOf(failure, situation) } : stop;
    default:
      return { type: 'other', againAfterMs: waitOf(failure, situation) };
  }
}

function waitOf(
  { retryAfterMs, isFinalHere }: AttemptFailure,
  { attempts, wasIll, leftMs, jitter }: Situation,
): number | null {
  if (isFinalHere || wasIll) return null;
  const ms =
    retryAfterMs === null
      ? firstBackoffMs * 2 ** (attempts - 1) * (0.5 + jitter / 2)
      : retryAfterMs * (1 + jitter / 10);
  return (retryAfterMs ?? 0) > maxWaitMs || ms >= leftMs ? null : Math.min(ms, maxWaitMs);
}
