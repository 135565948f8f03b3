/** Runs each of many steps once in `periodMs`, spread over it as if each had begun at a time of its own. */
export interface Pacer {
  /** @param step returns whether it wants to be run again */
  add(step: () => boolean): void;
}

/** A step that comes too late by more than a period is left out: catching up would send two chunks at once. */
export function createPacer(periodMs: number): Pacer {
  const slots: Set<() => boolean>[] = Array.from({ length: periodMs }, () => new Set());
  let added = 0;
  let count = 0;
  let timer: NodeJS.Timeout | null = null;
  let done = 0;

  function tick(): void {
    const now = Math.floor(performance.now());
    if (now - done > periodMs) done = now - periodMs;
    for (; done < now; done += 1) {
      const slot = slots[done % periodMs] as Set<() => boolean>;
      for (const step of slot) {
        if (step()) continue;
        slot.delete(step);
        count -= 1;
      }
    }
    if (count > 0 || timer === null) return;
    clearInterval(timer);
    timer = null;
  }

  return Object.freeze({
    add(step: () => boolean): void {
      // 7 shares no factor with a period of 20: neighbours are far from each other, and each slot gets as many.
      slots[(added * 7) % periodMs]?.add(step);
      added += 1;
      count += 1;
      if (timer !== null) return;
      done = Math.floor(performance.now());
      timer = setInterval(tick, 1);
    },
  });
}
