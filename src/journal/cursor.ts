import { open, type FileHandle } from 'node:fs/promises';
import { genesisHash, hashOfLine, parseRecord, type JournalRecord } from './chain.ts';
import { isErrno } from './file-seam.ts';
import { readLines } from './lines.ts';
import { listStreams, type Segment } from './stream-files.ts';

/** A record with the bytes that it was read from, without the newline: until the cursor reads on. */
export interface StoredRecord {
  readonly record: JournalRecord;
  readonly line: Buffer;
}

/** `kind`s of WIRE.md, `journal verify`. */
export type FaultKind =
  | 'hash'
  | 'gap'
  | 'duplicate'
  | 'link'
  | 'torn'
  | 'mismatch'
  | 'missing'
  | 'usage'
  | 'checkpoint';

/** What is wrong with a journal, and where: `seq` is the record that it was noticed at. */
export interface Fault {
  readonly stream: string;
  readonly seq: number;
  readonly kind: FaultKind;
  readonly message: string;
}

export interface Stretch {
  readonly records: readonly StoredRecord[];
  /** The stream is damaged behind these records: nothing further is read, ever. */
  readonly fault: Fault | null;
  /** Nothing more is there now. */
  readonly isAtEnd: boolean;
  /** Bytes of an unfinished last line, at the end. */
  readonly unfinished: number;
}

/** About 150 records, read and checked in 1.5 ms, for which the event loop stands still. */
const stretchBytes = 128 * 1024;

/** A segment, and the offset of a record in it. */
export interface Place {
  readonly path: string;
  readonly offset: number;
}

/** Reads a stream's files record by record and checks each against the chain. Not for two readers at once. */
export interface Cursor {
  readonly stream: string;
  /** Up to `stretchBytes` of records, one at least, with seq below `until`. */
  read(until: number): Promise<Stretch>;
  nextSeq(): number;
  headHash(): string;
  /** Path of the segment that is being read and the offset in it; null before the first read. */
  place(): Place | null;
  close(): Promise<void>;
}

/**
 * @param from the first record wanted, and the hash of the one before it (null: not known, the first line read is believed).
 *   Where its segment was deleted, the first read reports `missing`. `place`: where it stands, as this process has found it before;
 *   without it the segment is gone through from its beginning.
 */
export function createCursor(
  dir: string,
  stream: string,
  from: { readonly seq: number; readonly hash: string | null; readonly place?: Place | null },
): Cursor {
  let seq = 0;
  let head: string | null = null;
  let file: FileHandle | null = null;
  let path = '';
  let offset = 0;
  let buffer: Buffer | null = null;
  let fault: Fault | null = null;
  let isSeeking = true;

  async function segments(): Promise<readonly Segment[]> {
    return (await listStreams(dir)).find((files) => files.stream === stream)?.segments ?? [];
  }

  async function enter(segment: Segment): Promise<void> {
    await file?.close();
    file = null;
    file = await open(segment.path, 'r');
    path = segment.path;
    offset = 0;
  }

  /** False where the segment is gone: what follows is in the next one. */
  async function resume(place: Place): Promise<boolean> {
    const found = await open(place.path, 'r').catch((error: unknown) => {
      if (isErrno(error, 'ENOENT')) return null;
      throw error;
    });
    if (found === null) return false;
    [file, path, offset] = [found, place.path, place.offset];
    [seq, head, isSeeking] = [from.seq, from.hash, false];
    return true;
  }

  async function start(): Promise<Stretch | null> {
    if (from.place && (await resume(from.place))) return null;
    const all = await segments();
    const segment = all.findLast((one) => one.firstSeq <= from.seq);
    if (segment === undefined) {
      return all.length === 0 ? atEnd(0) : broken('missing', from.seq, 'its segment is gone from the disk');
    }
    await enter(segment);
    seq = segment.firstSeq;
    head = seq === 0 ? genesisHash : seq === from.seq ? from.hash : null;
    isSeeking = false;
    return null;
  }

  function broken(kind: FaultKind, at: number, message: string): Stretch {
    fault = { stream, seq: at, kind, message };
    return { records: [], fault, isAtEnd: true, unfinished: 0 };
  }

  /** Takes one line into the chain. */
  function take(line: Buffer): JournalRecord | null {
    const record = parseRecord(line);
    if (record === null || record.stream !== stream) {
      fault = { stream, seq, kind: 'hash', message: 'the line is no record of this stream' };
    } else if (record.seq !== seq) {
      fault =
        record.seq > seq
          ? { stream, seq, kind: 'gap', message: `record ${record.seq} stands here` }
          : {
              stream,
              seq: record.seq,
              kind: 'duplicate',
              message: 'the record stands here a second time, or out of its order',
            };
    } else if (head !== null && hashOfLine(line, record.hash, head) !== record.hash) {
      fault = { stream, seq, kind: 'hash', message: 'the line and its hash do not fit the chain' };
    } else if (seq === from.seq - 1 && from.hash !== null && record.hash !== from.hash) {
      fault = {
        stream,
        seq,
        kind: 'mismatch',
        message: 'the file has another hash here than the one expected',
      };
    } else {
      seq += 1;
      head = record.hash;
      return record;
    }
    return null;
  }

  return Object.freeze({
    stream,
    async read(until: number): Promise<Stretch> {
      if (fault !== null) return { records: [], fault, isAtEnd: true, unfinished: 0 };
      try {
        const first = isSeeking ? await start() : null;
        if (first !== null) return first;
        for (;;) {
          buffer ??= Buffer.allocUnsafeSlow(stretchBytes);
          const { lines, next, unfinished } = await readLines(file as FileHandle, offset, buffer);
          if (lines.length === 0 && unfinished === 0) {
            const following =
              seq < until
                ? (await segments()).find((one) => one.firstSeq === seq && one.path !== path)
                : undefined;
            if (following === undefined) return atEnd(0);
            await enter(following);
            continue;
          }
          const records: StoredRecord[] = [];
          let consumed = offset;
          for (const line of lines) {
            if (seq >= until) break;
            const record = take(line);
            if (record === null) break;
            consumed += line.length + 1;
            if (record.seq >= from.seq) records.push({ record, line });
          }
          const isWhole = fault === null && consumed === next;
          offset = consumed;
          if (records.length === 0 && isWhole && unfinished === 0 && seq < until) continue;
          const isAtEnd = fault !== null || seq >= until || (isWhole && unfinished > 0);
          return { records, fault, isAtEnd, unfinished: isWhole ? unfinished : 0 };
        }
      } catch (error) {
        // Another process has shipped and deleted it.
        if (isErrno(error, 'ENOENT')) return atEnd(0);
        throw error;
      }
    },
    nextSeq: () => seq,
    headHash: () => head ?? genesisHash,
    place: () => (file === null ? null : { path, offset }),
    async close() {
      await file?.close();
      file = null;
      buffer = null;
      isSeeking = true;
    },
  });
}

function atEnd(unfinished: number): Stretch {
  return { records: [], fault: null, isAtEnd: true, unfinished };
}
