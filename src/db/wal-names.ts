/** The embedded server's WAL: 16 MiB a segment, initdb's default (PostgreSQL: xlog_internal.h, XLogFileName). */
export const segmentBytes = 16 * 1024 * 1024;
const segmentsPerLog = 256;

/** A place in the WAL: the segment's name of 24 hex digits and the offset in it. */
export interface WalPlace {
  readonly timeline: number;
  /** Counts the segments of a timeline. */
  readonly number: number;
  readonly offset: number;
}

/** `0/3000028` on a timeline. @throws {TypeError} where it is no LSN. */
export function walPlace(lsn: string, timeline: number): WalPlace {
  const [, high = '', low = ''] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/.exec(lsn) ?? [];
  if (high === '') throw new TypeError('not an LSN');
  const offset = Number.parseInt(low, 16);
  return {
    timeline,
    number: Number.parseInt(high, 16) * segmentsPerLog + Math.floor(offset / segmentBytes),
    offset: offset % segmentBytes,
  };
}

export function walName({ timeline, number }: Pick<WalPlace, 'timeline' | 'number'>): string {
  const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');
  return hex(timeline) + hex(Math.floor(number / segmentsPerLog)) + hex(number % segmentsPerLog);
}

export const isWalName = (name: string): boolean => /^[0-9A-F]{24}$/.test(name);
