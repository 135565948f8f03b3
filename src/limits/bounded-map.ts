/**
 * A map of at most `max` entries. A new one pushes out the oldest of the first few that was not set since it was looked at last and that
 * `mayGo` lets go, or the oldest that it lets go if all were set; if none may, the map grows by one: what may not go is bounded elsewhere
 * (a lease by the open calls). Setting one anew marks it and moves nothing: roster.ts says what a map costs that is rebuilt all the time.
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
    let spare: string | null = null;
    for (const [key, entry] of entries) {
      if (entries.size < max) return;
      if (looked === looks) break;
      looked += 1;
      const isFree = mayGo(entry.value);
      if (isFree) spare ??= key;
      entries.delete(key);
      // One that has to stay goes to the young end, so that the next search starts behind it.
      if (entry.isYoung || !isFree) entries.set(key, entry);
      entry.isYoung = false;
    }
    // All were young: whoever sets all anew again and again does not make the map grow.
    if (spare !== null) entries.delete(spare);
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
