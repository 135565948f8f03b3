import { destination, pino } from 'pino';
import { type LogFields, pickFields } from './log-fields.ts';
import { scrub } from './scrub.ts';

export type { LogFields } from './log-fields.ts';
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** `event` names what happened, in words that never change: `call.end`, `journal.gate-closed`. Never throws. */
export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

/**
 * JSON lines `{"level":"info","time":"2026-01-02T03:04:05.678Z",…fields,"event":"…"}`.
 *
 * @param write takes one line with its line break, already scrubbed.
 */
export function createLog({
  level,
  write,
  clock = Date.now,
}: {
  readonly level: LogLevel;
  readonly write: (line: string) => void;
  readonly clock?: () => number;
}): Log {
  const logger = pino(
    {
      level,
      base: null,
      messageKey: 'event',
      timestamp: () => `,"time":"${new Date(clock()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    {
      write(line: string) {
        try {
          write(scrub(line));
        } catch {
          // A log that cannot be written must not fail the call that it tells about.
        }
      },
    },
  );
  const at = (kind: Exclude<LogLevel, 'trace' | 'silent'>) => (event: string, fields?: LogFields) => {
    if (logger.isLevelEnabled(kind)) logger[kind](fields === undefined ? {} : pickFields(fields), event);
  };
  return Object.freeze({ debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') });
}

/** A line alone costs a turn of the thread pool, a tenth of a small call (measured); twenty writes a second are as good to read. */
const gatherMs = 50;
/** pino's sink takes less than 16 384 here. */
const gatherBytes = 16_000;

/**
 * Where a server's lines go: written in the background, those of 50 ms together. `flush` writes the rest at once, and happens by
 * itself when the process exits, also by an exception that nobody caught.
 *
 * @param fd 1 or 2
 */
export function openLogSink(fd: number): { write(line: string): void; flush(): void } {
  const sink = destination({
    dest: fd,
    sync: false,
    minLength: gatherBytes,
    maxLength: 8 * 1024 * 1024,
  });
  // A closed pipe (`serve | head`) must not end a gateway that has calls in flight.
  sink.on('error', () => {});
  let timer: NodeJS.Timeout | null = null;
  const writeGathered = (): void => {
    timer = null;
    try {
      sink.flush();
    } catch {
      // The sink is closed for good. A log that cannot be written must not end the process from a timer.
    }
  };
  const flush = (): void => {
    try {
      sink.flushSync();
    } catch {
      // Not ready yet, or the reader is gone: nothing is left to be told.
    }
  };
  process.once('exit', flush);
  return Object.freeze({
    write(line: string) {
      sink.write(line);
      timer ??= setTimeout(writeGathered, gatherMs).unref();
    },
    flush,
  });
}
