/**
 * What was not asked for lately goes first, and a hard age: what is older is gone, however often it is asked for. `sweep` drops what nobody
 * asks for any more, so that an idle process holds nothing. Asking marks an entry and moves nothing (second chance): a map whose entries
 * were put in anew with each call would be rebuilt all the time (roster.ts says what that costs).
 */
export interface KeyCache<T> {
  get(id: string): T | undefined;
  set(id: string, value: T): void;
  deleteWhere(isGone: (id: string) => boolean): void;
  sweep(): void;
  clear(): void;
  readonly size: number;
  readonly counts: CacheCounts;
}

/** Since the start; `entries` now. */
export interface CacheCounts {
  readonly entries: number;
  readonly hits: number;
  readonly misses: number;
}

export function createKeyCache<T>(options: {
  readonly limit: number;
  readonly maxAgeMs: number;
  readonly clock: () => number;
}): KeyCache<T> {
  const { limit, maxAgeMs, clock } = options;
  const entries = new Map<string, { readonly value: T; readonly madeAt: number; isUsed: boolean }>();
  let hits = 0;
  let misses = 0;
  // A clock set back must not prolong a life, so both directions count.
  const isOld = (madeAt: number): boolean => Math.abs(clock() - madeAt) >= maxAgeMs;

  /** Ends: the second time round none is marked. */
  function makeRoom(): void {
    for (const [id, entry] of entries) {
      entries.delete(id);
      if (!entry.isUsed) return;
      entry.isUsed = false;
      entries.set(id, entry);
    }
  }

  return Object.freeze({
    get(id: string): T | undefined {
      const entry = entries.get(id);
      if (entry === undefined || isOld(entry.madeAt)) {
        entries.delete(id);
        misses += 1;
        return undefined;
      }
      hits += 1;
      entry.isUsed = true;
      return entry.value;
    },
    set(id: string, value: T): void {
      entries.delete(id);
      // Before it comes in: where all others are marked, it would be the first without.
      if (entries.size >= limit) makeRoom();
      entries.set(id, { value, madeAt: clock(), isUsed: false });
    },
    deleteWhere(isGone: (id: string) => boolean): void {
      for (const id of entries.keys()) if (isGone(id)) entries.delete(id);
    },
    sweep(): void {
      for (const [id, { madeAt }] of entries) if (isOld(madeAt)) entries.delete(id);
    },
    clear: () => entries.clear(),
    get size() {
      return entries.size;
    },
    get counts() {
      return { entries: entries.size, hits, misses };
    },
  });
}
