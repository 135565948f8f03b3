/**
 * A map of at most `max` entries. A new one pushes out the oldest that was not set since it was looked at last and that `mayGo` lets go; if
 * none of the first few may, the map grows by one: what may not go is bounded elsewhere (a lease by the open calls). Setting one anew
 * marks it and moves nothing: roster.ts says what a map costs that is rebuilt all the time.
 */
export interface BoundedMap<V> {
  get(key: string): V | undefined;
  /** An entry that is set anew is young again. */
  set(key: string, value: V): void;
  delete(key: string): void;
  values(): Iterable<V>;
  readonly size: number;
}

const looks = 32;

export function createBoundedMap<V>(max: number, mayGo: (value: V) => boolean): BoundedMap<V> {
  const entries = new Map<string, { value: V; isYoung: boolean }>();

  const makeRoom = (): void => {
    let looked = 0;
    for (const [key, entry] of entries) {
      if (entries.size < max || looked === looks) return;
      looked += 1;
      entries.delete(key);
      // One that has to stay goes to the young end, so that the next search starts behind it.
      if (entry.isYoung || !mayGo(entry.value)) entries.set(key, entry);
      entry.isYoung = false;
    }
  };

  return Object.freeze({
    get: (key: string) => entries.get(key)?.value,
    set(key: string, value: V): void {
      const known = entries.get(key);
      if (known !== undefined) {
        known.value = value;
        known.isYoung = true;
        return;
      }
      if (entries.size >= max) makeRoom();
      entries.set(key, { value, isYoung: false });
    },
    delete(key: string): void {
      entries.delete(key);
    },
    values: () => entries.values().map(({ value }) => value),
    get size() {
      return entries.size;
    },
  });
}
