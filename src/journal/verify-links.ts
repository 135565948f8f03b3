import type { JournalRecord } from './chain.ts';
import { createCursor, type Fault } from './cursor.ts';
import type { Position } from './ship-batch.ts';
import type { StreamFiles } from './stream-files.ts';
import type { JournalTable } from './verify-table.ts';

/** What is known of the streams when all of them were gone through. */
export interface Known {
  readonly dir: string;
  readonly folder: ReadonlyMap<string, StreamFiles>;
  readonly table: JournalTable | null;
  readonly shipped: ReadonlyMap<string, Position>;
  /** The last record of each stream. */
  readonly ends: ReadonlyMap<string, number>;
}

/** Each stream names the head of the one before: whoever cuts a tail has to explain this. */
export async function checkLinks(
  opened: readonly JournalRecord[],
  known: Known,
  report: (fault: Fault) => void,
): Promise<void> {
  for (const { previous, seq, stream } of opened) {
    if (typeof previous !== 'object' || previous === null) continue;
    const link = previous as unknown as { stream: string; seq: number; hash: string; state: string };
    const end = known.ends.get(link.stream);
    if (end === undefined) {
      if (known.table !== null)
        report({
          stream,
          seq,
          kind: 'link',
          message: `It follows ${link.stream}, of which nothing is left.`,
        });
    } else if (end < link.seq) {
      report({
        stream: link.stream,
        seq: end + 1,
        kind: 'missing',
        message: `The stream's end was cut: ${stream} found it at record ${link.seq}.`,
      });
    } else if (end > link.seq && link.state !== 'live') {
      report({
        stream: link.stream,
        seq: link.seq + 1,
        kind: 'link',
        message: `The stream goes on though ${stream} found it ended.`,
      });
    } else {
      const hash = await hashAt(link.stream, link.seq, known);
      if (hash !== null && hash !== link.hash) {
        report({
          stream,
          seq,
          kind: 'link',
          message: `It names another hash for record ${link.seq} of ${link.stream}.`,
        });
      }
    }
  }
}

async function hashAt(stream: string, seq: number, { dir, shipped, table }: Known): Promise<string | null> {
  if (table !== null && seq < (shipped.get(stream)?.nextSeq ?? 0)) return table.hashAt(stream, seq);
  const cursor = createCursor(dir, stream, { seq, hash: null });
  try {
    for (;;) {
      const { isAtEnd, records } = await cursor.read(seq + 1);
      if (records.length > 0) return records[0]?.record.hash ?? null;
      if (isAtEnd) return null;
    }
  } finally {
    await cursor.close();
  }
}
