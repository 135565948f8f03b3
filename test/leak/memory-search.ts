import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { countIn, foundOf, type Pattern } from './forms.ts';

/** Why this can't be done here, or false: for a test's `skip`. */
export const cannotReadMemory =
  process.platform === 'linux' ? false : 'reads /proc/PID/mem, which only Linux has';

const chunkBytes = 4 << 20;
const pageBytes = 4096;

export interface MemorySearch {
  /** Only patterns that were found. */
  readonly found: Readonly<Record<string, number>>;
  readonly bytes: number;
}

/**
 * Searches everything that another process can read in its own memory, freed memory included, for patterns. Reads one chunk at a
 * time; chunks overlap, so that nothing hides across a border.
 */
export function searchMemory(pid: number, patterns: readonly Pattern[]): MemorySearch {
  const overlap = Math.max(...patterns.map(({ bytes }) => bytes.length)) - 1;
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const room = Buffer.alloc(overlap + chunkBytes);
  const counts = new Map<string, number>();
  let total = 0;
  try {
    for (const { start, end } of readableRanges(pid)) {
      let kept = 0;
      for (let at = start; at < end;) {
        const length = read(memory, room, kept, Math.min(chunkBytes, end - at), at);
        if (length === 0) {
          // A hole in a range hides nothing behind it.
          at += pageBytes;
          kept = 0;
          continue;
        }
        total += length;
        countIn(room.subarray(0, kept + length), patterns, counts, kept);
        at += length;
        const next = Math.min(overlap, kept + length);
        room.copyWithin(0, kept + length - next, kept + length);
        kept = next;
      }
    }
  } finally {
    closeSync(memory);
  }
  return { found: foundOf(counts), bytes: total };
}

function readableRanges(pid: number): readonly { start: number; end: number }[] {
  return readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, low, high] = /^([0-9a-f]+)-([0-9a-f]+) r/.exec(line) ?? [];
      if (low === undefined || high === undefined) return [];
      return [{ start: Number.parseInt(low, 16), end: Number.parseInt(high, 16) }];
    });
}

/** Some ranges ([vvar], guard pages) are listed as readable and are not; others went since they were listed. */
function read(memory: number, into: Buffer, offset: number, length: number, at: number): number {
  try {
    return readSync(memory, into, offset, length, at);
  } catch {
    return 0;
  }
}
