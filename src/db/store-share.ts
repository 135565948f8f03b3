/** Lets so many pieces of work run at a time; the others wait in the order in which they came. */
export interface Share {
  run<T>(work: () => Promise<T>): Promise<T>;
  waiting(): number;
}

/** @param most at least 1 */
export function createShare(most: number): Share {
  const queue: (() => void)[] = [];
  let running = 0;

  return Object.freeze<Share>({
    async run<T>(work: () => Promise<T>): Promise<T> {
      // Whoever ends hands his place on, so that nobody who comes at that moment takes it first.
      if (running < most) running += 1;
      else await new Promise<void>((resolve) => void queue.push(resolve));
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
