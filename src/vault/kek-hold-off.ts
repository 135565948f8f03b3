import { KekError } from './kek-provider.ts';

/** The first pause after a failure, and the longest. */
const [firstMs, longestMs] = [1000, 30_000];

export interface HoldOff {
  /** Runs `work`, or rejects at once with what the last attempt said while the pause lasts. @throws {KekError} */
  run<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * Keeps a key service that fails from being asked by everybody at once: after a failure that holds for all (KekError.isWide) there is a
 * pause, 1 s and doubling to 30 s, shortened by up to a half at random so that nodes do not come back together. After the pause one
 * caller asks, and the others wait for nobody: they are told so. A success ends it.
 *
 * @param random  [0, 1)
 */
export function createHoldOff(deps: {
  readonly clock: () => number;
  readonly random: () => number;
}): HoldOff {
  const { clock, random } = deps;
  let failures = 0;
  let pauseMs = 0;
  let pausedAt = 0;
  let isProbing = false;
  let last: KekError | null = null;

  // A clock set back must not prolong the pause, so both directions count.
  const leftMs = (): number => pauseMs - Math.abs(clock() - pausedAt);

  return Object.freeze({
    async run<T>(work: () => Promise<T>): Promise<T> {
      if (last !== null) {
        const retryAfterMs = Math.max(leftMs(), 0);
        if (retryAfterMs > 0 || isProbing) {
          throw new KekError(last.code, last.message, {
            isWide: true,
            retryAfterMs: Math.max(retryAfterMs, firstMs),
            cause: last.cause,
          });
        }
      }
      const before = failures;
      const isProbe = last !== null;
      if (isProbe) isProbing = true;
      try {
        const result = await work();
        last = null;
        failures = 0;
        return result;
      } catch (error) {
        if (!(error instanceof KekError) || !error.isWide) {
          // It answered: of this record it said no, and to the next it may say yes.
          last = null;
          failures = 0;
          throw error;
        }
        // Calls that were under way together fail together, and count once.
        if (before === failures) {
          pauseMs = Math.min(longestMs, firstMs * 2 ** Math.min(failures, 10)) * (1 - random() / 2);
          pausedAt = clock();
          failures += 1;
        }
        last = error;
        throw new KekError(error.code, error.message, {
          isWide: true,
          retryAfterMs: Math.max(leftMs(), firstMs),
          cause: error.cause,
        });
      } finally {
        if (isProbe) isProbing = false;
      }
    },
  });
}
