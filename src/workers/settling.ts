import type { Log } from '../telemetry/log.ts';

/** Settles what workers left that died, while the gateway goes on. */
export interface Settling {
  someoneDied(): void;
  stop(): Promise<void>;
}

/** The server ends a statement after half a minute: then no transaction of a worker that has died can come through any more. */
const sureAfterMs = 40_000;
/** Between two looks at what could not be settled at once. */
const lookMs = 5000;

export function createSettling(deps: {
  readonly settle: (isSure: boolean) => Promise<number>;
  readonly now: () => number;
  readonly log: Log;
}): Settling {
  const { settle, now, log } = deps;
  let diedAt = 0;
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> = Promise.resolve();
  let isStopped = false;

  /** Calls end at once; an act whose row is not there waits until it cannot come any more. */
  async function look(): Promise<void> {
    const isSure = now() - diedAt >= sureAfterMs;
    const waiting = await settle(isSure).catch((error: unknown) => {
      log.warn('journal.not-settled', { error });
      return 1;
    });
    if (waiting > 0 || !isSure) schedule(lookMs);
  }

  function schedule(ms: number): void {
    if (isStopped) return;
    if (timer !== null) clearTimeout(timer);
    timer = setTimeout(() => {
      running = running.then(look);
    }, ms).unref();
  }

  return Object.freeze<Settling>({
    someoneDied() {
      diedAt = now();
      schedule(0);
    },
    async stop() {
      isStopped = true;
      if (timer !== null) clearTimeout(timer);
      await running;
    },
  });
}
