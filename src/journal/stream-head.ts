import { open } from 'node:fs/promises';
import { parseRecord, type Head } from './chain.ts';
import type { StreamFiles } from './stream-files.ts';

/** How a stream ended, as its successor on the same node found it. */
export type StreamState = 'closed' | 'crashed' | 'live' | 'condemned';

export interface LastRecord extends Head {
  /** It is a `stream.close`. */
  readonly isClosed: boolean;
}

/** More than the longest record (journal.ts). */
const tailBytes = 1024 * 1024;

/**
 * The last whole record of a stream, read from the end of its files; null if it has none. A torn or damaged end is passed
 * over here: recovery and `verify` name it.
 */
export async function readHead(files: StreamFiles): Promise<LastRecord | null> {
  // None that a later stream could name: whatever stands last may never have been acknowledged.
  if (files.condemnedAfter === 'unknown') return null;
  if (files.condemnedAfter !== null) {
    return { stream: files.stream, ...files.condemnedAfter, isClosed: false };
  }
  for (const segment of files.segments.toReversed()) {
    const file = await open(segment.path, 'r');
    try {
      const { size } = await file.stat();
      const start = Math.max(0, size - tailBytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
      for (let end = lastNewline(buffer, bytesRead); end >= 0;) {
        const before = lastNewline(buffer, end);
        const record = parseRecord(buffer.subarray(before + 1, end));
        if (record !== null && record.stream === files.stream) {
          const { stream, seq, hash } = record;
          return { stream, seq, hash, isClosed: record.event === 'stream.close' };
        }
        end = before;
      }
    } finally {
      await file.close();
    }
  }
  return null;
}

function lastNewline(buffer: Buffer, before: number): number {
  return before <= 0 ? -1 : buffer.lastIndexOf(0x0a, before - 1);
}
