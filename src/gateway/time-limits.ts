import type { TimeLimits } from '../providers/time-limits.ts';
import { defaultPolicy, type CallTimeouts } from '../token-policy.ts';
import type { Target } from './target.ts';

/** By a provider's name: what the operator set for it (`UPSTREAM_TIMEOUTS`). */
export type SetLimits = ReadonlyMap<string, Partial<TimeLimits>>;

/** What holds for one call: the token's word, else the operator's, else the provider's file. */
export type LimitsOf = (target: Pick<Target, 'provider' | 'operation'>, token: CallTimeouts) => TimeLimits;

export function createLimitsOf(set: SetLimits): LimitsOf {
  /** A provider has two kinds of operations; each is merged once. */
  const merged = new Map<string, Map<TimeLimits, TimeLimits>>();
  return function limitsOf({ provider, operation }, token) {
    const given = provider.timeLimits(operation);
    const ours = set.get(provider.name);
    const limits =
      ours === undefined
        ? given
        : merged
            .getOrInsertComputed(provider.name, () => new Map<TimeLimits, TimeLimits>())
            .getOrInsertComputed(given, () => Object.freeze({ ...given, ...ours }));
    if (token === defaultPolicy.timeouts) return limits;
    return {
      connectMs: token.connectMs ?? limits.connectMs,
      firstByteMs: token.firstByteMs ?? limits.firstByteMs,
      betweenBytesMs: token.betweenBytesMs ?? limits.betweenBytesMs,
      totalMs: token.totalMs ?? limits.totalMs,
      writeIdleMs: token.writeIdleMs ?? limits.writeIdleMs,
    };
  };
}
