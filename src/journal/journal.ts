import { chmod, mkdir, rm } from 'node:fs/promises';
import { SallyportError } from '../errors.ts';
import { createBatch } from './batch.ts';
import type { Head, Receipt } from './chain.ts';
import { draft, type Draft, type Fields } from './draft.ts';
import { diskFiles, type FileSeam } from './file-seam.ts';
import { createGate } from './gate.ts';
import { isoTime } from './iso-time.ts';
import { createObligations } from './obligations.ts';
import { openStream, within, type OpenStream } from './open-stream.ts';
import { basePath, folderBytes, listStreams, segmentPath, streamName } from './stream-files.ts';
import { readHead, type StreamState } from './stream-head.ts';
import { createStreamLocks, isLocked, type StreamLocks } from './stream-lock.ts';
import { createWriter } from './writer.ts';

export type { Receipt } from './chain.ts';
export type { Fields } from './draft.ts';

export interface Journal {
  /** The current stream; another one after a failed write. */
  readonly stream: string;
  readonly dir: string;
  /** For recovery and shipping, which touch the files of streams whose writers are gone. */
  readonly locks: StreamLocks;
  /**
   * Resolves when the record is durable (strict) or written (relaxed).
   *
   * `use.begin`, `.intent` and the like are refused while the gate is closed. `use.end`, `.done` and `.failed` wait through a
   * failing disk, and may use the last tenth of JOURNAL_MAX_BYTES: what has begun gets its end.
   *
   * @throws {SallyportError} JOURNAL_UNAVAILABLE; INTERNAL for fields that can't be a record.
   */
  append(event: string, fields: Fields): Promise<Receipt>;
  /**
   * For recovery alone: `stream.torn`, and the ends of what other streams began. As many as crashed processes left open, so they pass
   * however full the folder is: a start that could not write them would never come to the shipping that makes room.
   *
   * @throws {SallyportError} as `append`; INTERNAL for any other event.
   */
  appendRecovered(event: string, fields: Fields): Promise<Receipt>;
  isOpen(): boolean;
  /** Writes `stream.close` and lets go of the files. Records that come later are refused. */
  close(): Promise<void>;
  /** The streams of this process, oldest first, each as far as acknowledged. The last one is being written. */
  own(): readonly OwnStream[];
  /** The oldest record of an own stream that still waits for its end, or null. */
  oldestOpen(stream: string): number | null;
  /** Called after each acknowledged batch; returns the way to stop. */
  onAcknowledged(listener: () => void): () => void;
  /** Counts the folder's bytes anew: after files were deleted. */
  measure(): Promise<void>;
}

/** `seq` and `hash`: the last acknowledged record. `bytes`: of the lines up to it. */
export interface OwnStream extends Head {
  readonly bytes: number;
}

export interface JournalOptions {
  /** Made with mode 0700 if it doesn't exist. */
  readonly dir: string;
  /** 1 to 80 of A-Z a-z 0-9 _ -; a boot id is used once. */
  readonly nodeId: string;
  readonly bootId: string;
  readonly sync: 'strict' | 'relaxed';
  /** JOURNAL_MAX_BYTES. */
  readonly maxBytes: number;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Seconds from `append` to durable. */
  readonly onAppended?: (event: string, seconds: number) => void;
  readonly onGate?: (closed: boolean) => void;
  readonly files?: FileSeam;
  readonly segmentBytes?: number;
  readonly stallMs?: number;
  readonly retryMs?: number;
}

/** A record is one line of at most so many bytes. */
const maxRecordBytes = 256 * 1024;
/** What may wait for the disk: about 30 000 records. Beyond it the disk is too slow, and waiting would only hide that. */
const maxQueueBytes = 32 * 1024 * 1024;
const segmentRoll = 64 * 1024 * 1024;

/** @throws {SallyportError} JOURNAL_UNAVAILABLE if the first record can't be written. */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const { bootId, clock, dir, maxBytes, nodeId, sync, files = diskFiles, stallMs = 2000 } = options;
  const gate = createGate(options.onGate ?? (() => undefined));
  const locks = createStreamLocks();
  const obligations = createObligations();
  const listeners = new Set<() => void>();
  const condemned: OwnStream[] = [];
  const opened: OpenStream[] = [];
  // A live stream's segments can be deleted only behind the one being written: ten of them fit under the bound.
  const segmentBytes =
    options.segmentBytes ?? Math.min(segmentRoll, Math.max(65_536, Math.floor(maxBytes / 10)));
  let usedBytes = 0;
  let openBytes = 0;
  let streamBytes = 0;
  let part = 0;
  let isEnded = false;

  async function begin(previous: (Head & { state: StreamState }) | null): Promise<OpenStream> {
    part += 1;
    const stream = streamName(nodeId, bootId, part);
    const present = await listStreams(dir);
    // Two chains under one name could not be told apart in the database.
    if (present.some((files) => files.stream === stream))
      throw new Error(`a stream ${stream} is there already`);
    const generation = (present.at(-1)?.generation ?? 0) + 1;
    const base = basePath(dir, generation, stream);
    const lock = locks.take(base);
    if (lock === null) throw new Error(`another process writes ${stream}`);
    let next: OpenStream | null = null;
    try {
      next = await openStream({ stream, base, lock, files, sync, segmentBytes, stallMs });
      const batch = createBatch();
      next.chain.link(
        draft(
          'stream.open',
          { nodeId, bootId, previous: previous && { ...previous }, sync },
          isoTime(clock()),
        ),
        batch,
      );
      await next.write(batch.bytes(), 0);
      opened.push(next);
      usedBytes += batch.length();
      openBytes = batch.length();
      return next;
    } catch (error) {
      owe((next === null ? Promise.resolve() : giveUp(next)).finally(() => lock.release()));
      throw error;
    }
  }

  /** An operation that was given up and has not come back. */
  let owed: Promise<unknown> | null = null;
  function owe(work: Promise<unknown>): void {
    const mine = Promise.allSettled([work]).finally(() => {
      if (owed === mine) owed = null;
    });
    owed = mine;
  }

  function weigh(): void {
    gate.set('full', usedBytes >= maxBytes * 0.9);
  }

  await mkdir(dir, { recursive: true, mode: 0o700 });
  await chmod(dir, 0o700);
  usedBytes = await folderBytes(dir);
  const first = await begin(await previousOf(dir, nodeId)).catch((cause: unknown) => {
    throw new SallyportError('JOURNAL_UNAVAILABLE', 'The journal’s first record could not be written.', {
      cause,
    });
  });

  weigh();
  streamBytes = openBytes;

  const writer = createWriter({
    first,
    gate,
    clock,
    retryMs: options.retryMs ?? 500,
    async replace(old, head) {
      // One after another, or a disk that hangs would gather a probe every few seconds.
      if (owed !== null) throw new Error('the disk has not answered the last probe');
      const mark = `${JSON.stringify({ seq: head.seq, hash: head.hash })}\n`;
      const marked = files.put(`${old.base}.condemned`, mark);
      owe(marked);
      await within(stallMs, marked);
      const next = await begin({ ...head, state: 'condemned' });
      condemned.push({ ...head, bytes: streamBytes });
      streamBytes = openBytes;
      return next;
    },
    onWritten(bytes) {
      usedBytes += bytes;
      streamBytes += bytes;
      weigh();
    },
    onAcknowledged(entries) {
      for (const { due, receipt } of entries) if (receipt !== null) due.note(receipt.stream, receipt.seq);
      for (const listener of listeners) listener();
      const { onAppended } = options;
      if (onAppended === undefined) return;
      const durableAt = performance.now();
      for (const { event, since } of entries) onAppended(event, (durableAt - since) / 1000);
    },
  });

  function enqueue(event: string, fields: Fields, made: Draft): Promise<Receipt> {
    const due = obligations.due(event, fields);
    const queued = writer.queuedBytes() + lengthOf(made);
    const isTaken = due.isEnd
      ? !isEnded && queued <= maxQueueBytes * 2 && usedBytes + queued <= maxBytes
      : gate.isOpen() && queued <= maxQueueBytes;
    return isTaken || event === 'stream.close' ? writer.push(event, due, made) : refused();
  }

  function enqueueRecovered(event: string, fields: Fields, made: Draft): Promise<Receipt> {
    const due = obligations.due(event, fields);
    if (!due.isEnd && event !== 'stream.torn') throw new TypeError(`recovery writes no ${event}`);
    const queued = writer.queuedBytes() + lengthOf(made);
    // An end waits through a failing disk, as any other.
    const isTaken = !isEnded && queued <= maxQueueBytes * 2 && (due.isEnd || !gate.is('failing'));
    return isTaken ? writer.push(event, due, made) : refused();
  }

  function appendBy(way: typeof enqueue, event: string, fields: Fields): Promise<Receipt> {
    try {
      return way(event, fields, draftWithin(event, fields, isoTime(clock())));
    } catch (cause) {
      return Promise.reject(
        new SallyportError('INTERNAL', `A record of ${event} could not be made.`, { cause }),
      );
    }
  }

  return Object.freeze({
    get stream() {
      return writer.head().stream;
    },
    dir,
    locks,
    append: (event: string, fields: Fields) => appendBy(enqueue, event, fields),
    appendRecovered: (event: string, fields: Fields) => appendBy(enqueueRecovered, event, fields),
    isOpen: () => gate.isOpen(),
    async close() {
      if (isEnded) return;
      isEnded = true;
      const wasFailing = gate.is('failing');
      gate.set('closing', true);
      const made = draft('stream.close', {}, isoTime(clock()));
      // A journal that can't write has no last word either; the next start finds the stream crashed.
      const last = wasFailing ? null : enqueue('stream.close', {}, made).catch(() => null);
      await writer.end();
      await last;
      for (const stream of opened) stream.release();
    },
    own: () => [...condemned, { ...writer.head(), bytes: streamBytes }],
    oldestOpen: (stream: string) => obligations.oldest(stream),
    onAcknowledged(listener: () => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async measure() {
      usedBytes = await folderBytes(dir);
      weigh();
    },
  });
}

/** A provider decides how large and deep its usage object is; it must not cost a call its end. */
function draftWithin(event: string, fields: Fields, at: string): Draft {
  try {
    const made = draft(event, fields, at);
    if (lengthOf(made) <= maxRecordBytes) return made;
  } catch (error) {
    if (!fields['providerUsage']) throw error;
  }
  const made = draft(event, { ...fields, providerUsage: null, isProviderUsageLeftOut: true }, at);
  if (lengthOf(made) > maxRecordBytes) throw new RangeError(`longer than ${maxRecordBytes}`);
  return made;
}

function refused(): Promise<Receipt> {
  return Promise.reject(
    new SallyportError('JOURNAL_UNAVAILABLE', 'The journal takes no records now.', { retryAfter: 5 }),
  );
}

/** About the bytes of the line: what stands in the chain's members comes to less than 300. */
function lengthOf(made: Draft): number {
  return made.beforeHash.length + made.beforeSeq.length + made.beforeStream.length + made.rest.length + 300;
}

/** A stream whose first record was never durable: nobody has heard of it. Each probe would leave one. */
async function giveUp(stream: OpenStream): Promise<void> {
  await stream.abandon();
  await rm(segmentPath(stream.base, 0), { force: true });
  await rm(`${stream.base}.lock`, { force: true });
}

async function previousOf(dir: string, nodeId: string): Promise<(Head & { state: StreamState }) | null> {
  const earlier = (await listStreams(dir)).filter((files) => files.nodeId === nodeId);
  for (const files of earlier.toReversed()) {
    const found = await readHead(files);
    if (found === null) continue;
    const { isClosed, ...head } = found;
    if (files.condemnedAfter !== null) return { ...head, state: 'condemned' };
    return { ...head, state: isClosed ? 'closed' : isLocked(files.base) ? 'live' : 'crashed' };
  }
  return null;
}
