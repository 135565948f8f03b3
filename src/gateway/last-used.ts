import { sql } from 'kysely';
import type { Store } from '../db/store.ts';

/** When each key and token was last used: kept in memory and written in batches, because no call waits for a database. */
export interface LastUsed {
  note(tokenId: string | null, keyId: string | null, at: number): void;
  flush(): Promise<void>;
  start(): void;
  stop(): void;
}

export function createLastUsed({
  store,
  intervalMs = 2000,
}: {
  store: Pick<Store, 'asSystem'>;
  intervalMs?: number;
}): LastUsed {
  let tokens = new Map<string, number>();
  let keys = new Map<string, number>();
  let timer: NodeJS.Timeout | null = null;

  async function flush(): Promise<void> {
    if (tokens.size + keys.size === 0) return;
    const [movedTokens, movedKeys] = [tokens, keys];
    tokens = new Map();
    keys = new Map();
    try {
      // One behind the other: whoever erases a person holds his keys and then asks for his tokens.
      await write('tokens', movedTokens);
      await write('provider_keys', movedKeys);
    } catch {
      // The database is away. These times say when, not whether: the journal has every use, so the loss of a few is borne.
    }
  }

  async function write(table: 'tokens' | 'provider_keys', moved: ReadonlyMap<string, number>): Promise<void> {
    if (moved.size === 0) return;
    const ids = [...moved.keys()];
    const times = [...moved.values()].map((at) => new Date(at));
    // Locked in one order: two processes that noted the same ones in another would wait for each other, and a change of such a token for both.
    await store.asSystem((tx) =>
      sql`with locked as materialized (
          select id from ${sql.table(table)} where id = any(${ids}::text[]) order by id for no key update)
        update ${sql.table(table)} t set last_used_at = greatest(t.last_used_at, u.at)
        from locked join unnest(${ids}::text[], ${times}::timestamptz[]) as u(id, at) on u.id = locked.id
        where t.id = locked.id`.execute(tx),
    );
  }
  return Object.freeze<LastUsed>({
    note(tokenId, keyId, at) {
      if (tokenId !== null) tokens.set(tokenId, at);
      if (keyId !== null) keys.set(keyId, at);
    },
    flush,
    start: () => {
      timer ??= setInterval(() => void flush(), intervalMs).unref();
    },
    stop: () => {
      if (timer !== null) clearInterval(timer);
    },
  });
}
