import { destination, pino } from 'pino';
import { type LogFields, pickFields } from './log-fields.ts';
import { scrub } from './scrub.ts';

export type { LogFields } from './log-fields.ts';
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

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
  const at = (kind: Exclude<LogLevel, 'silent'>) => (event: string, fields?: LogFields) => {
    if (logger.isLevelEnabled(kind)) logger[kind](fields === undefined ? {} : pickFields(fields), event);
  };
  return Object.freeze({ debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') });
}

/**
 * Where a server's lines go: written in the background, what gathers during one write goes with the next. `flush` writes the
 * rest at once, for the way out.
 *
 * @param fd 1 or 2
 */
export function openLogSink(fd: number): { write(line: string): void; flush(): void } {
  const sink = destination({ dest: fd, sync: false, maxLength: 8 * 1024 * 1024 });
  // A closed pipe (`serve | head`) must not end a gateway that has calls in flight.
  sink.on('error', () => {});
  return Object.freeze({
    write: (line: string) => void sink.write(line),
    flush() {
      try {
        sink.flushSync();
      } catch {
        // Not ready yet, or the reader is gone: nothing is left to be told.
      }
    },
  });
}
