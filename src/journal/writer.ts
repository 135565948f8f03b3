import { SallyportError } from '../errors.ts';
import { createBatch } from './batch.ts';
import { receiptText, type Head } from './chain.ts';
import type { Draft } from './draft.ts';
import type { Gate } from './gate.ts';
import type { Duty } from './obligations.ts';
import type { OpenStream } from './open-stream.ts';

/** Proof that a record is durable. `text` goes to the client (`x-sallyport-receipt`). */
export interface Receipt extends Head {
  readonly text: string;
}

/** One record that waits to be written. `bytes`: about as long as its line. `since`: of performance.now(). */
export interface Entry {
  readonly event: string;
  readonly draft: Draft;
  readonly duty: Duty;
  readonly bytes: number;
  readonly since: number;
  resolve(receipt: Receipt): void;
  reject(error: Error): void;
}

/** Longer would widen what a crash makes of calls that have ended; their answers are out, and a call in traffic meets the next begin sooner. */
const patienceMs = 5;

export interface WriterDeps {
  readonly first: OpenStream;
  readonly gate: Gate;
  /** The next stream after a failed write: marks the old one (this is the probe write), then begins the new one. */
  replace(condemned: OpenStream, head: Head): Promise<OpenStream>;
  onAcknowledged(entry: Entry, receipt: Receipt): void;
  /** A batch of so many bytes is on the disk. */
  onWritten(bytes: number): void;
  readonly retryMs: number;
}

export interface Writer {
  /** Bytes that wait or are under way. */
  queuedBytes(): number;
  push(entry: Entry): void;
  /** Head of the current stream as acknowledged. */
  head(): Head;
  /** Nothing may be pushed after this. Resolves when all that waited is written or rejected. */
  end(): Promise<void>;
}

/**
 * The one writer: what arrives while a batch is under way goes with the next. A `use.end`, for which nobody waits, does not begin a
 * batch by itself at once: for a few milliseconds it waits for a record that somebody does wait for, and shares its write and sync.
 * Otherwise each call's begin would wait for the sync of the end before it (measured: that was half of what one connection waited).
 *
 * When a write or sync fails or stalls the file is condemned (after a failed fsync the kernel may report the next one as
 * good with pages lost), the gate closes, and what was not acknowledged is rejected; except the records that close a duty
 * (`use.end`, `.done`, `.failed`): a call that a key was opened for must not lose its end to a full disk. They wait, bounded
 * by the queue, for the stream that follows.
 */
export function createWriter(deps: WriterDeps): Writer {
  const { gate } = deps;
  let stream = deps.first;
  let acknowledged: Head = headOf(stream);
  let batch = createBatch();
  let queue: Entry[] = [];
  let queuedBytes = 0;
  let running: Promise<void> | null = null;
  let isEnding = false;
  let wake: () => void = () => undefined;
  let patience: NodeJS.Timeout | null = null;

  function start(): void {
    if (patience !== null) clearTimeout(patience);
    patience = null;
    running ??= run();
  }

  async function run(): Promise<void> {
    do {
      // All that this turn of the event loop brings shares a batch: one write and one sync for many calls.
      await new Promise(setImmediate);
      const taken = queue;
      queue = [];
      batch.clear();
      const heads = taken.map((entry) => stream.chain.link(entry.draft, batch));
      try {
        await stream.write(batch.bytes(), heads[0]?.seq ?? 0);
      } catch (error) {
        await renew(taken, error);
        continue;
      }
      acknowledged = heads.at(-1) ?? acknowledged;
      deps.onWritten(batch.length());
      for (const [i, entry] of taken.entries()) acknowledge(entry, heads[i] as Head);
    } while (goesOn());
    running = null;
    if (queue.length > 0) patience ??= setTimeout(start, patienceMs);
  }

  /** What comes while a batch is under way is written at once if somebody waits for it, and whatever it is at the end. */
  function goesOn(): boolean {
    return queue.some(isUrgent) || (isEnding && queue.length > 0);
  }

  function acknowledge(entry: Entry, head: Head): void {
    queuedBytes -= entry.bytes;
    const receipt = { ...head, text: receiptText(head) };
    entry.resolve(receipt);
    try {
      deps.onAcknowledged(entry, receipt);
    } catch {
      // A metric that fails must not stop the writer, and with it every call.
    }
  }

  async function renew(taken: readonly Entry[], cause: unknown): Promise<void> {
    gate.set('failing', true);
    const condemned = stream;
    // The stalled write may still read the old buffer.
    batch = createBatch();
    const all = [...taken, ...queue];
    queue = all.filter((entry) => entry.duty.closes !== null);
    refuse(
      all.filter((entry) => entry.duty.closes === null),
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
        acknowledged = headOf(stream);
        gate.set('failing', false);
        return;
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
    push(entry: Entry) {
      queue.push(entry);
      queuedBytes += entry.bytes;
      if (isUrgent(entry)) start();
      else if (running === null) patience ??= setTimeout(start, patienceMs);
    },
    head: () => acknowledged,
    async end() {
      isEnding = true;
      wake();
      if (queue.length > 0) start();
      await running;
      await stream.abandon();
    },
  });
}

/** Does somebody wait for it? Nobody does for a `use.end`: an answer's last byte is not held back for its record. */
function isUrgent({ event }: Entry): boolean {
  return event !== 'use.end';
}

/** An open stream comes with its `stream.open` written and acknowledged. */
function headOf(stream: OpenStream): Head {
  return { stream: stream.stream, seq: stream.chain.nextSeq() - 1, hash: stream.chain.headHash() };
}
