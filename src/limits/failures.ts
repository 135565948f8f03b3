import { SallyportError } from '../errors.ts';
import { addressGroup } from './address-group.ts';
import { createBoundedMap } from './bounded-map.ts';
import { charge, drain, rested, waitMs, type Bucket } from './gcra.ts';

/** What was refused, by address, by token, and by either token or workspace and address. */
export interface Failures {
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

/** The counters themselves, for whoever counts for several processes. */
export interface FailureBuckets {
  /** @returns what `who` owes, in ms, where the next would have to wait; else null. */
  count(who: string, perMinute: number): number | null;
  /** Others have counted, too. */
  learn(who: string, owedMs: number): void;
}

export interface FailureOptions {
  /** ms; needs not be monotonic. */
  readonly clock: () => number;
  /** Refused credentials per address and minute. 30: a script with a wrong token is told so for a while, a guesser gets nowhere. */
  readonly authFailuresPerMinute?: number | undefined;
  /** Addresses with refusals remembered; the oldest are forgotten first. */
  readonly maxAddresses?: number | undefined;
  readonly onCount?: (who: string, perMinute: number) => void;
}

/** A passphrase may stand behind a seal: a guesser with many addresses, or many tokens, gets no more than this many times one's share. */
const sealBreadth = 10;

export function refuse(message: string, afterMs: number): never {
  throw new SallyportError('RATE_LIMITED', message, { retryAfter: Math.max(1, Math.ceil(afterMs / 1000)) });
}

export function createFailures(options: FailureOptions): Failures & FailureBuckets {
  const { clock, authFailuresPerMinute = 30, maxAddresses = 50_000, onCount } = options;
  const buckets = createBoundedMap<Bucket>(maxAddresses, () => true);

  function count(who: string, perMinute: number): number | null {
    const bucket = charge(drain(buckets.get(who) ?? rested, clock()), perMinute);
    buckets.set(who, bucket);
    onCount?.(who, perMinute);
    return waitMs(bucket, perMinute) > 0 ? bucket.owedMs : null;
  }

  function check(who: string, perMinute: number, message: string): void {
    const known = buckets.get(who);
    if (known === undefined) return;
    const bucket = drain(known, clock());
    if (bucket.owedMs === 0) buckets.delete(who);
    else buckets.set(who, bucket);
    const afterMs = waitMs(bucket, perMinute);
    if (afterMs > 0) refuse(message, afterMs);
  }

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
    count,
    learn(who: string, owedMs: number): void {
      const known = drain(buckets.get(who) ?? rested, clock());
      buckets.set(who, { owedMs: Math.max(known.owedMs, owedMs), atMs: known.atMs });
    },
    countAuthFailure: (ip: string): void => void count(addressGroup(ip), authFailuresPerMinute),
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
