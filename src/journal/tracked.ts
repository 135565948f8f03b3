import { createCursor, type Cursor, type Place } from './cursor.ts';
import type { Journal } from './journal.ts';
import type { Position } from './ship-batch.ts';
import type { StreamFiles } from './stream-files.ts';
import { readHead } from './stream-head.ts';
import type { StreamLock } from './stream-lock.ts';

/** A stream of this folder on its way into the database. */
export interface Tracked {
  readonly stream: string;
  /** Milliseconds since the epoch, of the first record on disk: as old as what waits can be. Null: there is none. */
  readonly firstAt: number | null;
  /** As last heard; read anew wherever `cursor` is null. */
  position: Position | null;
  cursor: Cursor | null;
  /** Where the batch under way begins and ends: one of the two is where to go on when nobody knows what became of it. */
  marks: readonly Mark[];
  /** Of a stream whose writer is gone. */
  lock: StreamLock | null;
  /** One past its last record, and the bytes on disk: for `lag`; own streams say it themselves. */
  endSeq: number;
  bytes: number;
  shippedBytes: number;
  isStopped: boolean;
  /** Nobody can say how much of it was acknowledged, and this was told. */
  isMarkLost: boolean;
  isAll: boolean;
}

/** A position of the database as a place in the files. */
export interface Mark {
  readonly position: Position;
  readonly place: Place | null;
}

export function placeOf({ marks }: Pick<Tracked, 'marks'>, { headHash, nextSeq }: Position): Place | null {
  const mark = marks.find(({ position }) => position.nextSeq === nextSeq && position.headHash === headHash);
  return mark?.place ?? null;
}

export async function track(dir: string, files: StreamFiles): Promise<Tracked> {
  const head = await readHead(files);
  return {
    stream: files.stream,
    firstAt: await firstAt(dir, files),
    position: null,
    cursor: null,
    marks: [],
    lock: null,
    endSeq: (head?.seq ?? -1) + 1,
    bytes: files.segments.reduce((sum, segment) => sum + segment.bytes, 0),
    shippedBytes: 0,
    isStopped: false,
    isMarkLost: false,
    isAll: false,
  };
}

async function firstAt(dir: string, { segments, stream }: StreamFiles): Promise<number | null> {
  const seq = segments[0]?.firstSeq ?? 0;
  const cursor = createCursor(dir, stream, { seq, hash: null });
  try {
    const { records } = await cursor.read(seq + 1);
    return Date.parse(records[0]?.record.at ?? '') || null;
  } finally {
    await cursor.close();
  }
}

/** Of the streams that this process ships: its own, and those whose writers are gone. */
export function lagOf(
  own: ReturnType<Journal['own']>,
  tracked: ReadonlyMap<string, Tracked>,
): { readonly records: number; readonly bytes: number } {
  let records = 0;
  let bytes = 0;
  const add = (left: number, leftBytes: number): void => {
    if (left <= 0) return;
    records += left;
    bytes += Math.max(0, leftBytes);
  };
  for (const head of own) {
    const one = tracked.get(head.stream);
    add(head.seq + 1 - (one?.position?.nextSeq ?? 0), head.bytes - (one?.shippedBytes ?? 0));
  }
  const ours = new Set(own.map(({ stream }) => stream));
  for (const one of tracked.values()) {
    // Streams of other living processes are theirs to ship.
    if (ours.has(one.stream) || one.isAll || one.lock === null) continue;
    add(one.endSeq - (one.position?.nextSeq ?? 0), one.bytes - one.shippedBytes);
  }
  return { records, bytes };
}
