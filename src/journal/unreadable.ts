/** Streams whose files could not be read. It may pass (a permission mended, a disk back), so each is tried again, later and later. */
export interface Unreadable {
  /** To be passed over for now. */
  has(stream: string): boolean;
  add(stream: string): void;
  delete(stream: string): void;
}

/** From the first to the longest: whoever is told at each try reads a line a minute, not four a second. */
const [firstWaitMs, longestWaitMs] = [1000, 60_000];

/** @param clock milliseconds since the epoch */
export function createUnreadable(clock: () => number): Unreadable {
  const waits = new Map<string, { readonly since: number; readonly waitMs: number }>();
  return Object.freeze<Unreadable>({
    has(stream: string) {
      const wait = waits.get(stream);
      if (wait === undefined) return false;
      const waitedMs = clock() - wait.since;
      // A clock that was set back must not make it wait for as long.
      return waitedMs >= 0 && waitedMs < wait.waitMs;
    },
    add(stream: string) {
      const last = waits.get(stream)?.waitMs ?? firstWaitMs / 2;
      waits.set(stream, { since: clock(), waitMs: Math.min(last * 2, longestWaitMs) });
    },
    delete: (stream: string) => void waits.delete(stream),
  });
}
