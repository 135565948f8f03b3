import { sql } from 'kysely';
import { mostConnections, type Store } from './store.ts';

/** The primary's, that of its lock, a command or two beside it, a backup, and those that the server keeps for itself. */
const reserved = mostConnections + 10;

/** What an embedded server needs for so many workers. One of each is for hints. */
export function connectionsOf(workers: number): number {
  return reserved + workers * (mostConnections + 1);
}

/**
 * How many connections each of several workers may have. An embedded server that was taken over may have been started for fewer; what
 * another server has is for whoever set it up to say.
 */
export async function connectionsEach(
  store: Pick<Store, 'asSystem'>,
  { workers, isEmbedded }: { readonly workers: number; readonly isEmbedded: boolean },
): Promise<number> {
  if (!isEmbedded) return mostConnections;
  const { rows } = await store.asSystem((tx) =>
    sql<{ max: number }>`select current_setting('max_connections')::integer as max`.execute(tx),
  );
  const each = Math.floor(((rows[0]?.max ?? 0) - reserved) / workers) - 1;
  return Math.max(2, Math.min(mostConnections, each));
}
