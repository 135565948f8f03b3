import { pino } from 'pino';
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
