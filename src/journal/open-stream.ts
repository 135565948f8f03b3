import { createChain, type Chain } from './chain.ts';
import type { FileSeam, JournalFile, Sync } from './file-seam.ts';
import { segmentPath } from './stream-files.ts';
import type { StreamLock } from './stream-lock.ts';

/** A stream that this process writes. */
export interface OpenStream {
  readonly stream: string;
  readonly base: string;
  readonly chain: Chain;
  /** Writes one batch, durable (strict) or in the kernel's hands (relaxed) when this resolves. One at a time. */
  write(bytes: Buffer, firstSeq: number): Promise<void>;
  /** Gives the file up; resolves when no operation is under way. The lock stays until the process ends or `release`. */
  abandon(): Promise<void>;
  release(): void;
}

export interface OpenStreamOptions {
  readonly stream: string;
  readonly base: string;
  readonly lock: StreamLock;
  readonly files: FileSeam;
  readonly sync: Sync;
  readonly segmentBytes: number;
  /** An operation that takes longer counts as failed. */
  readonly stallMs: number;
}

/** Makes the first segment. Further ones begin when a batch finds the last one full. */
export async function openStream(options: OpenStreamOptions): Promise<OpenStream> {
  const { base, files, lock, segmentBytes, stallMs, stream, sync } = options;
  let pending: Promise<unknown> = Promise.resolve();
  let file = await create(0);
  let position = 0;

  function step<T>(work: Promise<T>): Promise<T> {
    pending = work.catch(() => undefined);
    return within(stallMs, work);
  }

  /** Node ends the process when it finds a file that nobody closed: one that comes too late is closed then. */
  async function create(firstSeq: number): Promise<JournalFile> {
    const made = files.create(segmentPath(base, firstSeq), sync);
    try {
      return await step(made);
    } catch (error) {
      void made.then((late) => late.close()).catch(() => undefined);
      throw error;
    }
  }

  async function roll(firstSeq: number): Promise<void> {
    // Its last pages may still be on their way.
    if (sync === 'relaxed') await step(file.datasync());
    const full = file;
    file = await create(firstSeq);
    position = 0;
    await step(full.close());
  }

  return Object.freeze({
    stream,
    base,
    chain: createChain(stream),
    async write(bytes: Buffer, firstSeq: number) {
      if (position >= segmentBytes) await roll(firstSeq);
      let written = 0;
      while (written < bytes.length) {
        const left = bytes.length - written;
        const { bytesWritten } = await step(file.write(bytes, written, left, position));
        // A disk without room may take nothing and say nothing.
        if (bytesWritten === 0) throw new Error('the disk took no bytes');
        written += bytesWritten;
        position += bytesWritten;
      }
    },
    async abandon() {
      await pending;
      await file.close().catch(() => undefined);
    },
    release: () => lock.release(),
  });
}

/** Rejects after `ms`; the work itself can't be called back and goes on. */
export function within<T>(ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      // A process that stood still for `ms` comes here before it hears of work long done: let it hear first.
      setImmediate(() => reject(new Error(`no answer from the disk within ${ms} ms`)));
    }, ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
