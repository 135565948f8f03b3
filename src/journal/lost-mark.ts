import type { Fault } from './cursor.ts';
import type { StreamFiles } from './stream-files.ts';

/** The last record that counts; Infinity where the files say nothing against any. */
export function lastCounted({ condemnedAfter }: Pick<StreamFiles, 'condemnedAfter'>): number {
  return condemnedAfter === null || condemnedAfter === 'unknown' ? Infinity : condemnedAfter.seq;
}

/** What is wrong with a stream whose mark cannot be read, or null. */
export function lostMark({
  condemnedAfter,
  segments,
  stream,
}: Pick<StreamFiles, 'condemnedAfter' | 'segments' | 'stream'>): Fault | null {
  if (condemnedAfter !== 'unknown') return null;
  return {
    stream,
    seq: segments[0]?.firstSeq ?? 0,
    kind: 'missing',
    message:
      'A write failed in this stream, and the mark that says how much of it was acknowledged (.condemned) is damaged.',
  };
}
