import { SallyportError } from '../errors.ts';
import { type Batch, createBatch } from './batch.ts';
import type { Head, Receipt } from './chain.ts';
import { type Draft, draftOf } from './draft.ts';
import type { Gate } from './gate.ts';
import type { Due } from './obligations.ts';
import type { OpenStream } from './open-stream.ts';

/** One record that waits to be durable. `since`: of performance.now(). */
export interface Entry {
  readonly event: string;
  readonly due: Due;
  readonly since: number;
  resolve(receipt: Receipt): void;
  reject(error: Error): void;
  /** Of its line, or about as many where it has no place yet. */
  bytes: number;
  /** Its place in the stream being written; null: it waits for the stream that follows, and `draft` is not null. */
  receipt: Receipt | null;
  draft: Draft | null;
}

/** Longer would widen what a crash makes of calls that have ended; their answers are out, and a call in traffic meets the next begin sooner. */
const patienceMs = 5;

/** Turns of the event loop, of which an idle one makes a dozen in 22 µs; and ms, for turns that take long. */
const [gatherTurns, gatherMs] = [12, 2];

export interface WriterDeps {
  readonly first: OpenStream;
  readonly gate: Gate;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** The next stream after a failed write: marks the old one (this is the probe write), then begins the new one. */
  replace(condemned: OpenStream, head: Head): Promise<OpenStream>;
  /** A batch is durable, and its records' promises are resolved. */
  onAcknowledged(entries: readonly Entry[]): void;
  /** A batch of so many bytes is on the disk. */
  onWritten(bytes: number): void;
  readonly retryMs: number;
}

export interface Writer {
  /** Bytes that wait or are under way. */
  queuedBytes(): number;
  /** Rejects with JOURNAL_UNAVAILABLE. */
  push(event: string, due: Due, draft: Draft): Promise<Receipt>;
  /** Head of the current stream as acknowledged. */
  head(): Head;
  /** Nothing may be pushed after this. Resolves when all that waited is written or rejected. */
  end(): Promise<void>;
}

/**
 * The one writer: what arrives while a batch is under way goes with the next. A record gets its place and its line at once, in the
 * buffer that is written next, so that no text of it has to be kept until then, and copied by the collector. A `use.end`,
 * for which nobody waits, does not begin a batch by itself at once: for a few milliseconds it waits for a record that somebody does wait
 * for, and shares its write and sync. Otherwise each call's begin would wait for the sync of the end before it (measured: that was half of
 * what one connection waited).
 *
 * When a write or sync fails or stalls the file is condemned (after a failed fsync the kernel may report the next one as
 * good with pages lost), the gate closes, and what was not acknowledged is rejected; except the records that close a duty
 * (`use.end`, `.done`, `.failed`): a call that a key was opened for must not lose its end to a full disk. They wait, bounded
 * by the queue, for the stream that follows.
 */
export function createWriter(deps: WriterDeps): Writer {
  const { clock, gate } = deps;
  let stream = deps.first;
  let acknowledged: Head = headOf(stream);
  /** What is written next, and its lines; while `isFailing`, records without a place. */
  let queue: Entry[] = [];
  let filling = createBatch();
  /** The other buffer, while nothing is under way. */
  let spare: Batch | null = createBatch();
  let queuedBytes = 0;
  let running: Promise<void> | null = null;
  /** Records of the queue that somebody waits for, and those of the last batch. */
  let awaited = 0;
  let lastAwaited = 0;
  let isFailing = false;
  let isEnding = false;
  let wake: () => void = () => undefined;
  let patience: NodeJS.Timeout | null = null;
  let isPatient = false;

  function start(): void {
    if (queue.length > 0) running ??= run();
  }

  /** One timer, armed at most once in `patienceMs`: one of its own for each end that waits, and cleared again, took 0.1 µs more a call. */
  function startSoon(): void {
    if (isPatient) return;
    isPatient = true;
    if (patience === null) patience = setTimeout(startLate, patienceMs);
    else patience.refresh();
  }
  function startLate(): void {
    isPatient = false;
    start();
  }

  /**
   * All that this turn of the event loop brings shares a batch: one write and one sync for many calls. Where the last batch was of several,
   * the calls that it let go on come back soon, and a batch of all of them is cheaper than two of halves, which take turns (decision 44).
   */
  async function gathered(): Promise<void> {
    await new Promise(setImmediate);
    const until = clock() + gatherMs;
    for (let turn = 1; areMoreComing() && turn < gatherTurns && clock() < until; turn += 1)
      await new Promise(setImmediate);
  }

  function areMoreComing(): boolean {
    return lastAwaited > 1 && awaited <= lastAwaited;
  }

  async function run(): Promise<void> {
    do {
      await gathered();
      const taken = queue;
      const batch = filling;
      queue = [];
      lastAwaited = awaited;
      awaited = 0;
      filling = spare ?? createBatch();
      spare = null;
      try {
        await stream.write(batch.bytes(), taken[0]?.receipt?.seq ?? 0);
      } catch (error) {
        await renew([...drafts(taken, batch), ...drafts(queue, filling)], error);
        continue;
      }
      acknowledged = taken.at(-1)?.receipt ?? acknowledged;
      const written = batch.length();
      batch.clear();
      spare = batch;
      queuedBytes -= written;
      deps.onWritten(written);
      for (const entry of taken) entry.resolve(entry.receipt as Receipt);
      try {
        deps.onAcknowledged(taken);
      } catch {
        // A metric that fails must not stop the writer, and with it every call.
      }
    } while (goesOn());
    running = null;
    if (queue.length > 0) startSoon();
  }

  /** What comes while a batch is under way is written at once if somebody waits for it, and whatever it is at the end. */
  function goesOn(): boolean {
    return awaited > 0 || (isEnding && queue.length > 0);
  }

  function place(entry: Entry, draft: Draft): void {
    const before = filling.length();
    entry.receipt = stream.chain.link(draft, filling);
    entry.draft = null;
    entry.bytes = filling.length() - before;
    queuedBytes += entry.bytes;
    queue.push(entry);
    if (isUrgent(entry)) awaited += 1;
  }

  async function renew(all: readonly Entry[], cause: unknown): Promise<void> {
    const condemned = stream;
    isFailing = true;
    gate.set('failing', true);
    // The stalled write may still read its buffer, which nobody has any more.
    filling.clear();
    spare = null;
    awaited = 0;
    queue = all.filter((entry) => entry.due.isEnd);
    refuse(
      all.filter((entry) => !entry.due.isEnd),
      cause,
    );
    void condemned.abandon();
    for (;;) {
      if (isEnding) {
        refuse(queue, cause);
        queue = [];
        return;
      }
      try {
        stream = await deps.replace(condemned, acknowledged);
        break;
      } catch {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, deps.retryMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    }
    acknowledged = headOf(stream);
    isFailing = false;
    const waiting = queue;
    queue = [];
    for (const entry of waiting) {
      queuedBytes -= entry.bytes;
      place(entry, entry.draft as Draft);
    }
    gate.set('failing', false);
  }

  function refuse(entries: readonly Entry[], cause: unknown): void {
    for (const entry of entries) {
      queuedBytes -= entry.bytes;
      entry.reject(
        new SallyportError('JOURNAL_UNAVAILABLE', 'The record could not be written.', {
          cause,
          retryAfter: 5,
        }),
      );
    }
  }

  return Object.freeze({
    queuedBytes: () => queuedBytes,
    push(event: string, due: Due, draft: Draft): Promise<Receipt> {
      return new Promise((resolve, reject) => {
        const since = performance.now();
        const entry: Entry = { event, due, since, resolve, reject, bytes: 0, receipt: null, draft: null };
        if (isFailing) {
          entry.draft = draft;
          entry.bytes =
            draft.beforeHash.length + draft.beforeSeq.length + draft.beforeStream.length + draft.rest.length;
          queuedBytes += entry.bytes;
          queue.push(entry);
          return;
        }
        place(entry, draft);
        if (running !== null) return;
        if (awaited > 0) start();
        else startSoon();
      });
    },
    head: () => acknowledged,
    async end() {
      isEnding = true;
      wake();
      start();
      await running;
      if (patience !== null) clearTimeout(patience);
      await stream.abandon();
    },
  });
}

/** The records of a batch that is given up, each with a draft for the next stream, made of its line. */
function drafts(entries: readonly Entry[], batch: Batch): readonly Entry[] {
  const bytes = batch.bytes();
  let end = 0;
  for (const entry of entries) {
    const start = end;
    end += entry.bytes;
    entry.receipt = null;
    if (entry.due.isEnd) entry.draft = draftOf(bytes.toString('utf8', start, end - 1));
  }
  return entries;
}

/** Does somebody wait for it? Nobody does for a `use.end`: an answer's last byte is not held back for its record. */
function isUrgent({ event }: Entry): boolean {
  return event !== 'use.end';
}

/** An open stream comes with its `stream.open` written and acknowledged. */
function headOf(stream: OpenStream): Head {
  return { stream: stream.stream, seq: stream.chain.nextSeq() - 1, hash: stream.chain.headHash() };
}
