import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import path from 'node:path';
import { countIn, foundOf, type Pattern } from './forms.ts';

const chunkBytes = 4 << 20;

export interface FileSearch {
  /** Only patterns that were found. */
  readonly found: Readonly<Record<string, number>>;
  readonly files: number;
  readonly bytes: number;
}

/** Searches every file below a folder: the database's own files and its write-ahead log, the journal, settings. */
export function searchFolder(folder: string, patterns: readonly Pattern[]): FileSearch {
  const overlap = Math.max(...patterns.map(({ bytes }) => bytes.length)) - 1;
  const room = Buffer.alloc(overlap + chunkBytes);
  const counts = new Map<string, number>();
  let [files, total] = [0, 0];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    files += 1;
    const file = openSync(path.join(entry.parentPath, entry.name), 'r');
    try {
      let kept = 0;
      for (;;) {
        const length = readSync(file, room, kept, chunkBytes, null);
        if (length === 0) break;
        total += length;
        countIn(room.subarray(0, kept + length), patterns, counts, kept);
        const next = Math.min(overlap, kept + length);
        room.copyWithin(0, kept + length - next, kept + length);
        kept = next;
      }
    } finally {
      closeSync(file);
    }
  }
  return { found: foundOf(counts), files, bytes: total };
}

/** The same over what processes said. */
export function searchSaid(said: readonly Buffer[], patterns: readonly Pattern[]): Record<string, number> {
  const counts = new Map<string, number>();
  countIn(Buffer.concat(said), patterns, counts);
  return foundOf(counts);
}
