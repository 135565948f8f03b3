/** Lets so many pieces of work run at a time; the others wait in the order in which they came, and not for ever. */
export interface Share {
  /** @throws ETIMEDOUT: no place became free, and nothing was begun. */
  run<T>(work: () => Promise<T>): Promise<T>;
  waiting(): number;
}

/**
 * @param most at least 1
 * @param patienceMs for a place. With a database that answers nothing each place is held up to its deadline: hundreds who wait would
 *   otherwise be told so many times that deadline later.
 */
export function createShare(most: number, patienceMs: number): Share {
  const queue: (() => void)[] = [];
  let running = 0;

  function place(): Promise<void> {
    return new Promise((resolve, reject) => {
      const take = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        queue.splice(queue.indexOf(take), 1);
        const error = new Error(`no connection to the database was free within ${patienceMs} ms`);
        reject(Object.assign(error, { code: 'ETIMEDOUT' }));
      }, patienceMs);
      queue.push(take);
    });
  }

  return Object.freeze<Share>({
    async run<T>(work: () => Promise<T>): Promise<T> {
      // Whoever ends hands his place on, so that nobody who comes at that moment takes it first.
      if (running < most) running += 1;
      else await place();
      try {
        return await work();
      } finally {
        const next = queue.shift();
        if (next === undefined) running -= 1;
        else next();
      }
    },
    waiting: () => queue.length,
  });
}
