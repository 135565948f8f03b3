import { setTimeout as delay } from 'node:timers/promises';

/** What is told of a server that does not stay. */
export interface ServerWatch {
  /** It has ended, or thrown all its sessions out after the crash of one of its processes. */
  readonly onLost: () => void;
  /** It is there again, with all that was committed. */
  readonly onBack: (found: { readonly pid: number; readonly durationMs: number }) => void;
  /** So many attempts in a row were in vain, or did not last. From here on it is tried once a minute. */
  readonly onFailed: (error: unknown, attempts: number) => void;
}

export interface KeeperDeps {
  readonly watch: ServerWatch;
  /** Resolves when our session with the server of this moment has ended. */
  readonly ended: () => Promise<void>;
  /** Finds the server, or starts it, and opens the session anew. @returns its pid. Rejects when it does not come up. */
  readonly revive: (signal: AbortSignal) => Promise<number>;
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<unknown>;
  readonly now?: () => number;
}

export interface Keeper {
  /** Lets the server be; resolves when nothing more is tried. */
  stop(): Promise<void>;
}

/** A server that stays for so long was none that crashes as soon as it is up. */
const steadyMs = 60_000;
const longestPauseMs = 60_000;
const attemptsBeforeFailed = 8;

/** None, then 200 ms, 400 ms … 12.8 s, and a minute when it has failed. */
export function pauseBefore(attempts: number): number {
  if (attempts === 0) return 0;
  return attempts < attemptsBeforeFailed ? 100 * 2 ** attempts : longestPauseMs;
}

/** Starts a server again whenever it has gone, until `stop`. */
export function keepServer({
  watch,
  ended,
  revive,
  pause = (ms, signal) => delay(ms, undefined, { signal, ref: false }),
  now = () => performance.now(),
}: KeeperDeps): Keeper {
  const stopped = new AbortController();
  const { signal } = stopped;
  const asked = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  /** In a row; one that came up counts until it has stayed. */
  let attempts = 0;

  async function bringBack(lostAt: number): Promise<void> {
    let last: unknown = new Error('It ends soon after each start.');
    let isTold = false;
    for (;;) {
      if (attempts >= attemptsBeforeFailed && !isTold) {
        isTold = true;
        watch.onFailed(last, attempts);
      }
      await pause(pauseBefore(attempts), signal);
      attempts += 1;
      try {
        const pid = await revive(signal);
        watch.onBack({ pid, durationMs: Math.round(now() - lostAt) });
        return;
      } catch (error) {
        if (signal.aborted) throw error;
        last = error;
      }
    }
  }

  async function run(): Promise<void> {
    let upAt = -steadyMs;
    for (;;) {
      await Promise.race([ended(), asked]);
      if (signal.aborted) return;
      const lostAt = now();
      if (lostAt - upAt >= steadyMs) attempts = 0;
      watch.onLost();
      await bringBack(lostAt);
      upAt = now();
    }
  }

  // It ends by `stop` alone: by an abort wherever it waits.
  const running = run().catch(() => {});
  return Object.freeze<Keeper>({
    async stop() {
      stopped.abort();
      await running;
    },
  });
}
