import { setTimeout as delay } from 'node:timers/promises';

/**
 * The version row of the database, polled. Whatever changes who may do what moves it in its own transaction, so a node that has
 * seen the newest epoch has nothing out of date, and one that cannot read it knows that it is stale. A hint (db/epoch-hints.ts) makes
 * it read sooner, and is needed by nobody.
 */
export interface Epoch {
  readonly value: () => bigint;
  /** Milliseconds since the row was last read. */
  readonly ageMs: () => number;
  /** No answer for over a second. */
  readonly isStale: () => boolean;
  /**
   * Whether it is stale because the database does not answer. A process that was too busy to ask, as just after its start, asks now,
   * and waits for 5 s at most.
   */
  readonly staysStale: () => Promise<boolean>;
  readonly poll: () => Promise<void>;
  /** Reads it after now: a poll that is under way may have asked before. */
  readonly refresh: () => Promise<void>;
  readonly start: () => void;
  readonly stop: () => void;
}

export interface EpochDeps {
  readonly read: () => Promise<bigint>;
  /** ms since the epoch. */
  readonly now: () => number;
  /** ms that only grow (performance.now). */
  readonly tick: () => number;
  /** After every successful read, so that what failed at a move is tried again. */
  readonly onRead: () => void;
  readonly intervalMs?: number;
}

const staleAfterMs = 1000;
/** As long as a connection to the database may take. */
const patienceMs = 5000;

export async function createEpoch({ read, now, tick, onRead, intervalMs = 250 }: EpochDeps): Promise<Epoch> {
  let value = await read();
  let [readAt, readTick] = [now(), tick()];
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> | null = null;
  /** The last answer was none. */
  let isAway = false;

  const pollOnce = async (): Promise<void> => {
    const [startedAt, startedTick] = [now(), tick()];
    try {
      const next = await read();
      // The age counts from the question, not from the answer: what changed in between is not in it.
      [readAt, readTick] = [startedAt, startedTick];
      value = next;
      isAway = false;
      onRead();
    } catch {
      isAway = true;
      // The database is away: ageMs() says so to whoever depends on it, and the next poll tries again.
    }
  };
  const poll = (): Promise<void> => {
    running ??= pollOnce().finally(() => {
      running = null;
    });
    return running;
  };
  const refresh = async (): Promise<void> => {
    await running;
    await poll();
  };
  // The larger of two: a clock that is set back would let AUTH_STALE_SECONDS begin anew, and one that only grows stands still while the
  // machine sleeps.
  const ageMs = (): number => Math.max(now() - readAt, tick() - readTick);
  return Object.freeze<Epoch>({
    value: () => value,
    ageMs,
    isStale: () => ageMs() > staleAfterMs,
    async staysStale() {
      if (!isAway) await Promise.race([refresh(), delay(patienceMs, undefined, { ref: false })]);
      return ageMs() > staleAfterMs;
    },
    poll,
    refresh,
    start: () => {
      timer ??= setInterval(() => void poll(), intervalMs).unref();
    },
    stop: () => {
      if (timer !== null) clearInterval(timer);
      timer = null;
    },
  });
}
