import type { Fields } from '../journal/journal.ts';
import { Roster } from '../roster.ts';

/**
 * The ends of uses. An end never holds back an answer's last byte, and is never given up while this process lives: one that the
 * journal refuses (gate closed) waits here and is tried again. What is lost in a crash the next boot settles as `crash`.
 */
export interface Ends {
  write(fields: Fields): void;
  /** Resolves when nothing waits any more, or the journal refuses what is left. */
  flush(): Promise<void>;
  stop(): void;
}

export interface EndsDeps {
  readonly append: (event: 'use.end', fields: Fields) => Promise<unknown>;
  readonly isOpen: () => boolean;
  readonly retryMs?: number;
}

export function createEnds({ append, isOpen, retryMs = 1000 }: EndsDeps): Ends {
  const waiting: Fields[] = [];
  const underway = new Roster<Promise<unknown>>();
  let timer: NodeJS.Timeout | null = null;

  const retry = (): void => {
    timer = null;
    if (!isOpen()) return later();
    for (const fields of waiting.splice(0)) write(fields);
  };
  const later = (): void => {
    timer ??= setTimeout(retry, retryMs).unref();
  };
  function write(fields: Fields): void {
    const appended = append('use.end', fields);
    const seat = underway.add(appended);
    appended.then(
      () => seat.leave(),
      () => {
        seat.leave();
        waiting.push(fields);
        later();
      },
    );
  }
  return Object.freeze<Ends>({
    write,
    async flush() {
      if (isOpen()) for (const fields of waiting.splice(0)) write(fields);
      await Promise.allSettled(underway.all());
    },
    stop() {
      if (timer !== null) clearTimeout(timer);
    },
  });
}
