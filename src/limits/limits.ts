import { createBoundedMap } from './bounded-map.ts';
import { createFailures, type FailureOptions, type Failures, refuse } from './failures.ts';
import { charge, drain, rested, waitMs, type Bucket } from './gcra.ts';

export type { SealSender } from './failures.ts';

export interface Scope {
  readonly tokenId: string;
  /** 0 admits nothing; null is no limit. */
  readonly requestsPerMinute: number | null;
  readonly concurrentCalls: number | null;
}

/** A call that was let in. */
export interface Lease {
  /** The call is over; again has no effect. */
  release(): void;
}

/** LIMITS.md, the first two limits, and those on guesses; test/limits/contract.ts says what every implementation has to do. */
export interface Limits extends Failures {
  /**
   * All or nothing: a call refused for one limit counts towards none. A promise only where another process has to be asked.
   *
   * @throws SallyportError RATE_LIMITED with retryAfter, seconds
   */
  admit(scope: Scope): Lease | Promise<Lease>;
}

export interface LimitsOptions extends FailureOptions {
  /** Tokens remembered; the oldest are forgotten first. */
  readonly maxTokens?: number;
}

interface TokenState {
  bucket: Bucket;
  running: number;
}

export function refuseRunning(running: number, limit: number): never {
  refuse(`This token has ${running} calls running, and may have ${limit}.`, 1000);
}

export function refuseRate(perMinute: number, afterMs: number): never {
  if (perMinute < 1) refuse('This token may make no requests.', 60_000);
  refuse(`This token may make ${perMinute} requests a minute.`, afterMs);
}

/** In memory, for one process. */
export function createLimits(options: LimitsOptions): Failures & { admit(scope: Scope): Lease } {
  const { clock, maxTokens = 100_000 } = options;
  // Forgetting a token with running calls would forget its leases.
  const tokens = createBoundedMap<TokenState>(maxTokens, (state) => state.running === 0);

  return Object.freeze({
    ...createFailures(options),
    admit(scope: Scope): Lease {
      const { tokenId, requestsPerMinute, concurrentCalls } = scope;
      const state = tokens.get(tokenId) ?? { bucket: rested, running: 0 };
      if (concurrentCalls !== null && state.running >= concurrentCalls)
        refuseRunning(state.running, concurrentCalls);
      if (requestsPerMinute !== null) {
        if (requestsPerMinute < 1) refuseRate(requestsPerMinute, 60_000);
        state.bucket = drain(state.bucket, clock());
        const afterMs = waitMs(state.bucket, requestsPerMinute);
        if (afterMs > 0) refuseRate(requestsPerMinute, afterMs);
        state.bucket = charge(state.bucket, requestsPerMinute);
      }
      state.running += 1;
      tokens.set(tokenId, state);
      let isReleased = false;
      return {
        release(): void {
          if (isReleased) return;
          isReleased = true;
          state.running -= 1;
        },
      };
    },
  });
}
