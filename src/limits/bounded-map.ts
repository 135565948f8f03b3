/**
 * A map of at most `max` entries. A new one pushes out the oldest that `mayGo` lets go; if none of the first few may, the map grows by
 * one: what may not go is bounded elsewhere (a lease by the open calls).
 */
export interface BoundedMap<V> {
  get(key: string): V | undefined;
  /** Also makes the entry the youngest. */
  set(key: string, value: V): void;
  delete(key: string): void;
  readonly size: number;
}

const looks = 32;

export function createBoundedMap<V>(max: number, mayGo: (value: V) => boolean): BoundedMap<V> {
  const entries = new Map<string, V>();

  const makeRoom = (): void => {
    let looked = 0;
    for (const [key, value] of entries) {
      if (entries.size < max || looked === looks) return;
      looked += 1;
      entries.delete(key);
      // One that has to stay goes to the young end, so that the next search starts behind it.
      if (!mayGo(value)) entries.set(key, value);
    }
  };

  return Object.freeze({
    get: (key: string) => entries.get(key),
    set(key: string, value: V): void {
      if (!entries.delete(key) && entries.size >= max) makeRoom();
      entries.set(key, value);
    },
    delete(key: string): void {
      entries.delete(key);
    },
    get size() {
      return entries.size;
    },
  });
}
