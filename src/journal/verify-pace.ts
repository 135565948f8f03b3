import { setImmediate, setTimeout as sleep } from 'node:timers/promises';

/** Lets calls have their turn while the journal is gone through beside them. */
export interface Pace {
  /** Call it every few records: it waits when it is time to. */
  turn(): Promise<void>;
}

const turnMs = 4;

/** @param share of one core that may be taken, above 0 up to 1. */
export function createPace(share = 1): Pace {
  let turnedAt = performance.now();
  return Object.freeze({
    async turn() {
      const workedMs = performance.now() - turnedAt;
      if (workedMs < turnMs) return;
      await (share >= 1 ? setImmediate() : sleep(workedMs * (1 / share - 1)));
      turnedAt = performance.now();
    },
  });
}
