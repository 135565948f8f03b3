import { createBoundedMap } from './bounded-map.ts';
import { createFailures, type FailureBuckets, type FailureOptions } from './failures.ts';
import { type Lease, type Limits, refuseRate, refuseRunning, type Scope } from './limits.ts';
import { type PermitAnswer, type PermitAsk, type PermitReport, recalledMs } from './permits.ts';

/** A worker's side of limits that hold over all workers. */
export interface SharedLimits extends Limits, Pick<FailureBuckets, 'learn'> {
  /** The primary wants what is not needed of a token; for a while whatever falls free goes back at once. */
  recall(tokenId: string): PermitReport | null;
  /** A few times a second: tells the primary what was used, and gives back what lies idle. */
  flush(): void;
}

export interface SharedLimitsOptions extends FailureOptions {
  readonly ask: (ask: PermitAsk) => Promise<PermitAnswer>;
  readonly report: (report: PermitReport) => void;
  readonly maxTokens?: number;
}

interface TokenState {
  requestsPerMinute: number | null;
  concurrentCalls: number | null;
  /** Not used yet. */
  permits: number;
  /** Slots that no call runs in. */
  idle: number;
  running: number;
  /** Permits used and not yet told. */
  used: number;
  usedAt: number;
  touchedAt: number;
  recalledUntil: number;
  /** The primary has said that there is no permit before. */
  emptyUntil: number;
}

/** What was not needed for so long is given back. */
const idleMs = 1000;
const unlimited: Lease = Object.freeze({ release() {} });

/**
 * A call whose token has a permit and a slot here goes on at once; else the primary is asked, and hands out some ahead. A token without
 * limits asks nobody.
 */
export function createSharedLimits(options: SharedLimitsOptions): SharedLimits {
  const { clock, ask, report, maxTokens = 100_000 } = options;
  const failures = createFailures(options);
  const isIdle = (state: TokenState): boolean =>
    state.permits === 0 && state.idle === 0 && state.running === 0 && state.used === 0;
  const tokens = createBoundedMap<TokenState>(maxTokens, isIdle);
  /** Those that hold something, or have something to tell. */
  const active = new Map<string, TokenState>();

  function stateOf({ tokenId, requestsPerMinute, concurrentCalls }: Scope): TokenState {
    const known = tokens.get(tokenId);
    if (known?.requestsPerMinute === requestsPerMinute && known.concurrentCalls === concurrentCalls)
      return known;
    if (known !== undefined) {
      // What was handed out under another limit counts for nothing under this one.
      giveBack(tokenId, known);
      Object.assign(known, { requestsPerMinute, concurrentCalls, emptyUntil: 0 });
      return known;
    }
    const state: TokenState = {
      requestsPerMinute,
      concurrentCalls,
      permits: 0,
      idle: 0,
      running: 0,
      used: 0,
      usedAt: 0,
      touchedAt: clock(),
      recalledUntil: 0,
      emptyUntil: 0,
    };
    tokens.set(tokenId, state);
    return state;
  }

  /** All that is not in use, and what was used. */
  function settle(tokenId: string, state: TokenState): PermitReport {
    const { used, usedAt, permits, idle: slots, requestsPerMinute } = state;
    Object.assign(state, { used: 0, permits: 0, idle: 0 });
    active.delete(tokenId);
    return { tokenId, requestsPerMinute, used, usedAt, permits, slots };
  }

  function giveBack(tokenId: string, state: TokenState): void {
    if (state.permits + state.idle + state.used > 0) report(settle(tokenId, state));
  }

  /** @param concurrentCalls under which the slot was taken; there may be another limit since. */
  function leaseOf({ tokenId, concurrentCalls }: Scope, state: TokenState): Lease {
    if (concurrentCalls === null) return unlimited;
    state.running += 1;
    let isReleased = false;
    return {
      release(): void {
        if (isReleased) return;
        isReleased = true;
        state.running -= 1;
        state.idle += 1;
        state.touchedAt = clock();
        active.set(tokenId, state);
        const isRecalled = state.touchedAt < state.recalledUntil;
        if (isRecalled || state.concurrentCalls !== concurrentCalls) giveBack(tokenId, state);
      },
    };
  }

  async function askFor(scope: Scope, state: TokenState, needs: PermitAsk['needs']): Promise<Lease> {
    // Taken before the question, so that nobody else takes it meanwhile.
    const { tokenId, requestsPerMinute, concurrentCalls } = scope;
    const takesPermit = requestsPerMinute !== null && !needs.permit;
    const takesSlot = concurrentCalls !== null && !needs.slot;
    if (takesPermit) state.permits -= 1;
    if (takesSlot) state.idle -= 1;
    const answer = await ask({ tokenId, requestsPerMinute, concurrentCalls, needs });
    if (answer.granted) {
      // Whoever was not asked at the recall, as he had nothing then, would keep for a second what the others wait for.
      if (answer.isRecalled) state.recalledUntil = clock() + recalledMs * 2;
      state.permits += answer.more;
      if (takesPermit) countUse(state);
      touch(tokenId, state);
      return leaseOf(scope, state);
    }
    if (takesPermit) state.permits += 1;
    if (takesSlot) state.idle += 1;
    touch(tokenId, state);
    if (clock() < state.recalledUntil) giveBack(tokenId, state);
    if (answer.limit === 'concurrency') return refuseRunning(answer.running, concurrentCalls ?? 0);
    state.emptyUntil = clock() + answer.afterMs;
    return refuseRate(requestsPerMinute ?? 0, answer.afterMs);
  }

  function countUse(state: TokenState): void {
    state.used += 1;
    state.usedAt = clock();
  }

  function touch(tokenId: string, state: TokenState): void {
    state.touchedAt = clock();
    if (state.permits + state.idle + state.used > 0) active.set(tokenId, state);
  }

  return Object.freeze<SharedLimits>({
    ...failures,
    admit(scope) {
      const { tokenId, requestsPerMinute, concurrentCalls } = scope;
      if (requestsPerMinute === null && concurrentCalls === null) return unlimited;
      if (requestsPerMinute !== null && requestsPerMinute < 1) refuseRate(requestsPerMinute, 60_000);
      const state = stateOf(scope);
      const permit = requestsPerMinute !== null && state.permits === 0;
      const slot = concurrentCalls !== null && state.idle === 0;
      if (permit) {
        const waitMs = state.emptyUntil - clock();
        // A clock that was set back makes nobody wait longer.
        if (waitMs > 0 && waitMs <= 60_000) refuseRate(requestsPerMinute, waitMs);
      }
      if (permit || slot) return askFor(scope, state, { permit, slot });
      if (requestsPerMinute !== null) {
        state.permits -= 1;
        countUse(state);
      }
      if (concurrentCalls !== null) state.idle -= 1;
      touch(tokenId, state);
      return leaseOf(scope, state);
    },
    recall(tokenId) {
      const state = tokens.get(tokenId);
      if (state === undefined) return null;
      state.recalledUntil = clock() + recalledMs * 2;
      return settle(tokenId, state);
    },
    flush() {
      const now = clock();
      for (const [tokenId, state] of active) {
        if (now - state.touchedAt >= idleMs || now < state.touchedAt) giveBack(tokenId, state);
        else if (state.used > 0) {
          const { used, usedAt, requestsPerMinute } = state;
          state.used = 0;
          report({ tokenId, requestsPerMinute, used, usedAt, permits: 0, slots: 0 });
        }
        if (state.permits + state.idle + state.used === 0) active.delete(tokenId);
      }
    },
  });
}
