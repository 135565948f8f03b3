import { Connection } from './connection.ts';
import type { Connector } from './guard.ts';

/** Idle connections kept per origin, and all connections per origin. */
const maxIdle = 256;
const maxConnections = 16_384;

export interface Lane {
  /** The warmest free connection, or a new one; null at the bound. `isFresh`: a new one in any case. */
  take(isFresh?: boolean): Connection | null;
  readonly busy: number;
  readonly idle: number;
  /** Destroys every connection; calls on them fail with ABORTED. */
  close(): Promise<void>;
}

/**
 * The connections to one origin. Free ones are a stack: the last used is taken first, the others grow old and close, and a dispatch
 * costs the same with 5 000 streams held (undici's Pool walks all of them: GATEWAY.md, "Hot path").
 *
 * @param onOpen   A connection was made.
 * @param onEmpty  No connection is left: the lane can be forgotten.
 */
export function createLane(
  origin: string,
  connector: Connector,
  { onOpen, onEmpty }: { readonly onOpen: () => void; readonly onEmpty: () => void },
): Lane {
  const url = new URL(origin);
  const free: Connection[] = [];
  const all = new Set<Connection>();

  const events = {
    onFree(connection: Connection): void {
      free.push(connection);
      if (free.length > maxIdle) void free[0]?.destroy();
    },
    onGone(connection: Connection): void {
      all.delete(connection);
      const at = free.lastIndexOf(connection);
      if (at >= 0) free.splice(at, 1);
      if (all.size === 0) onEmpty();
    },
  };

  return Object.freeze({
    take(isFresh = false): Connection | null {
      const warm = isFresh ? undefined : free.pop();
      if (warm !== undefined) return warm;
      if (all.size >= maxConnections) return null;
      const fresh = new Connection(url, connector, events);
      all.add(fresh);
      onOpen();
      return fresh;
    },
    get busy() {
      return all.size - free.length;
    },
    get idle() {
      return free.length;
    },
    async close(): Promise<void> {
      await Promise.all([...all].map((connection) => connection.destroy()));
    },
  });
}
