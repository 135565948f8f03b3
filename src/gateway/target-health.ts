import type { RelayResult } from './relay-result.ts';
import type { KeySnapshot } from './snapshot.ts';
import type { Target } from './target.ts';

/** Of one key at one origin, as far as this process has seen. Times in ms since the epoch. */
export interface Health {
  /** In a row, each after the cooldown of the one before. */
  readonly failures: number;
  readonly failedAt: number;
  readonly coolsUntil: number;
  /** Until then one call is finding out whether it is well again. */
  readonly probedUntil: number;
}

/** A key's value: another one has a name of its own to lose. */
export type KeyValue = Pick<KeySnapshot, 'id' | 'version'>;

export type Standing = 'well' | 'cooling' | 'half-open';
/** What an attempt says of its target. `none`: nothing. */
export type Verdict = 'well' | 'ill' | 'none';

const firstCooldownMs = 1000;
const maxCooldownMs = 60_000;
/** A provider that names a longer time is looked at all the same, by one call. */
const maxRetryAfterMs = 5 * 60_000;
/** A call that finds out holds the others off no longer than this. */
const maxProbeMs = 60_000;
const maxEntries = 10_000;

export function standingOf(health: Health | undefined, now: number): Standing {
  if (health === undefined) return 'well';
  return now < health.coolsUntil || now < health.probedUntil ? 'cooling' : 'half-open';
}

/**
 * Twice as long after each failure, with jitter, so that not all come back at once; or as long as the provider asks for. What went out
 * before the cooldown's end does not count: many calls fail together, and one more says nothing new.
 *
 * @param startedAt of the attempt
 * @param jitter from 0, below 1
 */
export function afterFailure(
  health: Health | undefined,
  { startedAt, now, retryAfterMs }: { startedAt: number; now: number; retryAfterMs: number | null },
  jitter: number,
): Health {
  if (health !== undefined && startedAt < health.coolsUntil) {
    const asked = retryAfterMs === null ? 0 : now + Math.min(retryAfterMs, maxRetryAfterMs);
    return { ...health, coolsUntil: Math.max(health.coolsUntil, asked) };
  }
  const failures = (health?.failures ?? 0) + 1;
  const doubled = firstCooldownMs * 2 ** Math.min(failures - 1, 16);
  const ms =
    retryAfterMs === null
      ? Math.min(maxCooldownMs, doubled * (1 + jitter / 4))
      : Math.min(maxRetryAfterMs, retryAfterMs * (1 + jitter / 10));
  return { failures, failedAt: now, coolsUntil: now + ms, probedUntil: 0 };
}

/**
 * Connections that fail, overload, a refused key, and a rate limit that says until when. A caller's own bad requests say nothing of a key,
 * and neither does a limit without a time: it may be about this one request's size.
 */
export function verdictOf({ failure, outcome }: Pick<RelayResult, 'failure' | 'outcome'>): Verdict {
  if (failure === null) return outcome === 'ok' || outcome === 'UPSTREAM_REJECTED' ? 'well' : 'none';
  if (failure.kind === 'rate_limited') return failure.retryAfterMs === null ? 'none' : 'ill';
  return failure.kind === 'unreachable' || failure.kind === 'overloaded' || failure.kind === 'key_refused'
    ? 'ill'
    : 'none';
}

/** What this process knows of the targets that failed lately. Those that did not are not in it, so that a good call costs nothing. */
export interface TargetHealth {
  isWell(key: KeyValue, origin: string): boolean;
  /** An attempt begins; if the target was cooling it is the one that finds out. @returns whether the target had failed before */
  begin(target: Target): boolean;
  /** @param startedAt of the attempt, ms since the epoch */
  end(target: Target, startedAt: number, verdict: Verdict, retryAfterMs: number | null): void;
  /** A test of our own found the key good. */
  forget(keyId: string): void;
  cooling(): number;
}

export function createTargetHealth({
  now,
  random,
}: {
  /** ms since the epoch. */
  readonly now: () => number;
  readonly random: () => number;
}): TargetHealth {
  const known = new Map<string, Health>();
  let latest = 0;
  const nameOf = ({ id, version }: KeyValue, origin: string): string => `${id} ${version} ${origin}`;

  /** A clock that was set back would hold a target off for as long as it was set back by. */
  function look(): number {
    const at = now();
    if (at < latest) known.clear();
    latest = at;
    return at;
  }

  return Object.freeze<TargetHealth>({
    isWell(key, origin) {
      if (known.size === 0) return true;
      const at = look();
      return standingOf(known.get(nameOf(key, origin)), at) !== 'cooling';
    },
    begin({ key, origin }) {
      if (known.size === 0 || key.id === null) return false;
      const at = look();
      const name = nameOf(key, origin);
      const health = known.get(name);
      if (health === undefined) return false;
      if (standingOf(health, at) === 'half-open')
        known.set(name, { ...health, probedUntil: at + maxProbeMs });
      return true;
    },
    end({ key, origin }, startedAt, verdict, retryAfterMs) {
      if (key.id === null || (known.size === 0 && verdict !== 'ill')) return;
      const at = look();
      const name = nameOf(key, origin);
      const health = known.get(name);
      if (verdict === 'ill') {
        known.set(name, afterFailure(health, { startedAt, now: at, retryAfterMs }, random()));
        const [oldest] = known.keys();
        if (known.size > maxEntries && oldest !== undefined) known.delete(oldest);
      } else if (health !== undefined && startedAt >= health.failedAt) {
        if (verdict === 'well') known.delete(name);
        else known.set(name, { ...health, probedUntil: 0 });
      }
    },
    forget(keyId) {
      for (const name of known.keys()) if (name.startsWith(`${keyId} `)) known.delete(name);
    },
    cooling() {
      const at = look();
      let count = 0;
      for (const health of known.values()) if (standingOf(health, at) === 'cooling') count += 1;
      return count;
    },
  });
}
