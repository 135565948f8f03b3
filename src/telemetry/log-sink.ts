import { write, writeSync } from 'node:fs';

/** A line alone costs a turn of the thread pool, a tenth of a small call (measured); twenty writes a second are as good to read. */
const gatherMs = 50;
const gatherLength = 16_000;
/** A reader that takes nothing, or a full disk. */
const retryMs = 100;
const longest = 8 * 1024 * 1024;
/** For the last words to a reader that is slow. */
const farewellMs = 1000;
const farewellPauseMs = 10;

/** Where log lines go. */
export interface LogSink {
  /** @param line with its line break. Never throws, never waits. */
  write(line: string): void;
  /** Writes the rest at once, within a second or so. */
  flush(): void;
}

/**
 * Where a server's lines go: written in the background, those of 50 ms together. `flush` happens by itself when the process exits, also by
 * an exception that nobody caught. Where nothing can be written lines wait, 8 MiB of them at most. pino's own sink (sonic-boom) is
 * not used, because at the exit it tries for ever: a full disk under the log, or a reader that hangs, would keep a stopped gateway from ending.
 *
 * @param fd 1 or 2. To be given up at the exit, a hanging reader's pipe must be one that never waits: whoever has touched `process.stdout` or
 *   `process.stderr`, as src/main.ts does, has made it so.
 */
export function openLogSink(fd: number): LogSink {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  let waiting: string[] = [];
  let waitingLength = 0;
  /** What is being written, or has to be tried again. */
  let begun: Buffer | null = null;
  let isWriting = false;
  let isFailing = false;
  let timer: NodeJS.Timeout | null = null;

  function take(): Buffer {
    const taken = Buffer.from(waiting.join(''));
    waiting = [];
    waitingLength = 0;
    return taken;
  }

  function writeSoon(ms: number): void {
    timer ??= setTimeout(() => {
      timer = null;
      writeOn();
    }, ms).unref();
  }

  function writeOn(): void {
    if (isWriting) return;
    begun ??= take();
    if (begun.length === 0) begun = null;
    if (begun === null) return;
    isWriting = true;
    const { length } = begun;
    write(fd, begun, (error, written) => {
      isWriting = false;
      isFailing = error !== null;
      // A reader that has gone (`serve | head`) leaves nobody to be told. What a full disk took half of goes on where it ended.
      if (error?.code === 'EPIPE' || (error === null && written === length)) begun = null;
      else if (error === null) begun = begun?.subarray(written) ?? null;
      if (isFailing) writeSoon(retryMs);
      else if (begun !== null || waitingLength >= gatherLength) writeOn();
      else if (waiting.length > 0) writeSoon(gatherMs);
    });
  }

  function flush(): void {
    // What is under way at this moment is the kernel's already.
    let left = Buffer.concat([isWriting || begun === null ? Buffer.alloc(0) : begun, take()]);
    if (!isWriting) begun = null;
    const until = performance.now() + farewellMs;
    while (left.length > 0) {
      try {
        left = left.subarray(writeSync(fd, left));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || performance.now() >= until) return;
        Atomics.wait(sleeper, 0, 0, farewellPauseMs);
      }
    }
  }

  process.once('exit', flush);
  return Object.freeze<LogSink>({
    write(line) {
      if ((begun?.length ?? 0) + waitingLength + line.length > longest) return;
      waiting.push(line);
      waitingLength += line.length;
      if (waitingLength >= gatherLength && !isFailing) writeOn();
      else writeSoon(gatherMs);
    },
    flush,
  });
}
