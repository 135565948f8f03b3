import { decoded } from '../content-coding.ts';

/** A bounded copy of a compressed answer, for the meter alone; the client gets the bytes as they came. */
export interface DecodedCopy {
  push(chunk: Buffer): void;
  /** As far as it goes, also for a cut answer; null if too long, unknown or damaged. */
  decode(): Buffer | null;
}

/** 4 MiB take about 10 ms to inflate, and that on the event loop: more is not worth a count. */
const maxDecodedBytes = 4 * 1024 * 1024;

/** @param encoding the content-encoding header, lower case. Several codings at once are not decoded. */
export function createDecodedCopy(encoding: string, maxBytes: number): DecodedCopy {
  let kept: Buffer[] | null = [];
  let keptBytes = 0;

  return Object.freeze({
    push(chunk: Buffer): void {
      if (kept === null) return;
      keptBytes += chunk.length;
      if (keptBytes > maxBytes) kept = null;
      else kept.push(chunk);
      if (kept !== null && kept.length > 4096) kept = [Buffer.concat(kept)];
    },
    decode(): Buffer | null {
      if (kept === null) return null;
      try {
        return decoded(encoding, Buffer.concat(kept), maxDecodedBytes);
      } catch {
        return null;
      }
    },
  });
}
