import type { GatewayDeps } from './gateway.ts';
import type { RelayResult } from './relay-result.ts';
import type { CallerSnapshot } from './snapshot.ts';
import { verdictOf } from './target-health.ts';
import type { Target } from './target.ts';

/** What an attempt that is over says of its key and its origin is remembered. @param startedAtMs of the attempt, since the epoch */
export function learn(
  { health, keyWatch }: Pick<GatewayDeps, 'health' | 'keyWatch'>,
  caller: CallerSnapshot,
  target: Target,
  startedAtMs: number,
  result: RelayResult,
): void {
  const { failure } = result;
  // A token that sets its own time would otherwise make a provider look ill to everybody who shares the key.
  const isHasty = result.outcome === 'UPSTREAM_CONNECT_TIMEOUT' && caller.policy.timeouts.connectMs !== null;
  const verdict = isHasty ? 'none' : verdictOf(result);
  if (verdict === 'well' && target.key.id !== null) keyWatch.worked(target.key.id);
  const isMeant = failure?.kind !== 'key_refused' || keyWatch.refused(target, caller);
  health.end(target, startedAtMs, isMeant ? verdict : 'none', failure?.retryAfterMs ?? null);
}
