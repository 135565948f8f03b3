import { SallyportError } from '../errors.ts';
import { addressGroup } from './address-group.ts';
import { createBoundedMap } from './bounded-map.ts';
import { charge, drain, rested, waitMs, type Bucket } from './gcra.ts';

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

/** LIMITS.md, the first two limits. In memory, for one process; test/limits/contract.ts says what every implementation has to do. */
export interface Limits {
  /** All or nothing: a call refused for one limit counts towards none. @throws SallyportError RATE_LIMITED with retryAfter, seconds */
  admit(scope: Scope): Lease;
  /** A credential was refused. Addresses of one IPv6 /64 count as one. */
  countAuthFailure(ip: string): void;
  /** Before a look-up is spent on this address. @throws SallyportError RATE_LIMITED with retryAfter, seconds */
  checkAuthFailures(ip: string): void;
  /** A seal was refused: counts for this token at this address, for the token anywhere, and for its workspace at this address. */
  countSealFailure(sender: SealSender): void;
  /** Before another seal is tried. @throws SallyportError RATE_LIMITED with retryAfter, seconds */
  checkSealFailures(sender: SealSender): void;
}

export interface SealSender {
  readonly workspaceId: string;
  readonly tokenId: string;
  readonly ip: string;
}

export interface LimitsOptions {
  /** ms; needs not be monotonic. */
  readonly clock: () => number;
  /** Refused credentials per address and minute. 30: a script with a wrong token is told so for a while, a guesser gets nowhere. */
  readonly authFailuresPerMinute?: number;
  /** Tokens, and addresses with refusals, remembered; the oldest are forgotten first. */
  readonly maxTokens?: number;
  readonly maxAddresses?: number;
}

/** A passphrase may stand behind a seal: a guesser with many addresses, or many tokens, gets no more than this many times one's share. */
const sealBreadth = 10;

interface TokenState {
  bucket: Bucket;
  running: number;
}

function refuse(message: string, afterMs: number): never {
  throw new SallyportError('RATE_LIMITED', message, { retryAfter: Math.max(1, Math.ceil(afterMs / 1000)) });
}

export function createLimits(options: LimitsOptions): Limits {
  const { clock, authFailuresPerMinute = 30, maxTokens = 100_000, maxAddresses = 50_000 } = options;
  // Forgetting a token with running calls would forget its leases.
  const tokens = createBoundedMap<TokenState>(maxTokens, (state) => state.running === 0);
  /** By address, by token, and by either token or workspace and address. */
  const failures = createBoundedMap<Bucket>(maxAddresses, () => true);

  const count = (who: string, perMinute: number): void => {
    failures.set(who, charge(drain(failures.get(who) ?? rested, clock()), perMinute));
  };
  const check = (who: string, perMinute: number, message: string): void => {
    const known = failures.get(who);
    if (known === undefined) return;
    const bucket = drain(known, clock());
    if (bucket.owedMs === 0) failures.delete(who);
    else failures.set(who, bucket);
    const afterMs = waitMs(bucket, perMinute);
    if (afterMs > 0) refuse(message, afterMs);
  };

  /** None of them an address's alone: whoever guesses behind it does not lock out other workspaces, nor tokens. */
  const sealBuckets = ({ workspaceId, tokenId, ip }: SealSender) => {
    const group = addressGroup(ip);
    const widely = authFailuresPerMinute * sealBreadth;
    return [
      { who: `${tokenId} ${group}`, perMinute: authFailuresPerMinute },
      { who: tokenId, perMinute: widely },
      { who: `${workspaceId} ${group}`, perMinute: widely },
    ];
  };

  return Object.freeze({
    admit(scope: Scope): Lease {
      const { tokenId, requestsPerMinute, concurrentCalls } = scope;
      const state = tokens.get(tokenId) ?? { bucket: rested, running: 0 };
      if (concurrentCalls !== null && state.running >= concurrentCalls)
        refuse(`This token has ${state.running} calls running, and may have ${concurrentCalls}.`, 1000);
      if (requestsPerMinute !== null) {
        if (requestsPerMinute < 1) refuse('This token may make no requests.', 60_000);
        state.bucket = drain(state.bucket, clock());
        const afterMs = waitMs(state.bucket, requestsPerMinute);
        if (afterMs > 0) refuse(`This token may make ${requestsPerMinute} requests a minute.`, afterMs);
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

    countAuthFailure: (ip: string): void => count(addressGroup(ip), authFailuresPerMinute),

    checkAuthFailures(ip: string): void {
      check(addressGroup(ip), authFailuresPerMinute, 'Too many refused credentials from this address.');
    },

    countSealFailure(sender: SealSender): void {
      for (const { who, perMinute } of sealBuckets(sender)) count(who, perMinute);
    },

    checkSealFailures(sender: SealSender): void {
      for (const { who, perMinute } of sealBuckets(sender))
        check(who, perMinute, 'Too many wrong seals with this token, or from this address.');
    },
  });
}
