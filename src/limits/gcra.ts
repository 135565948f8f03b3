/**
 * The generic cell rate algorithm (ITU-T I.371), as a leaking bucket: a rested bucket of n a minute takes n at once, then one every
 * 60/n seconds. What it owes is kept as a small number beside the time of the last look; a theoretical arrival time since 1970 would
 * lose a quarter of a microsecond at each addition, and refuse a call that waited as long as it was told to.
 */
export interface Bucket {
  /** Time that has to pass until the bucket has rested, 0 to a minute. */
  readonly owedMs: number;
  readonly atMs: number;
}

const minuteMs = 60_000;
/** Sums of 60000/n are off by less than this. */
const driftMs = 1e-6;

export const rested: Bucket = { owedMs: 0, atMs: 0 };

/** The bucket now. A clock set back costs the time that it was set back by, and no more: the look itself is remembered. */
export function drain(bucket: Bucket, nowMs: number): Bucket {
  const passedMs = Math.max(0, nowMs - bucket.atMs);
  return { owedMs: Math.max(0, bucket.owedMs - passedMs), atMs: nowMs };
}

/** 0: the next conforms now. Else how long until it does. @param perMinute at least 1 */
export function waitMs(bucket: Bucket, perMinute: number): number {
  const wait = bucket.owedMs + minuteMs / perMinute - minuteMs;
  return wait > driftMs ? wait : 0;
}

export function charge(bucket: Bucket, perMinute: number): Bucket {
  return { owedMs: Math.min(minuteMs, bucket.owedMs + minuteMs / perMinute), atMs: bucket.atMs };
}
