import { setTimeout as pause } from 'node:timers/promises';
import { runningDatabase } from '../../src/db/embedded-running.ts';
import { openStore } from '../../src/db/store.ts';

/** What a `use.begin` or `use.end` says, as far as it is compared here. */
export interface UseLine {
  readonly event: string;
  readonly callId: string;
  readonly attempt: number;
  readonly model: string | null;
  readonly final?: boolean;
  readonly outcome?: string;
  readonly receipt?: string;
}

export interface Books {
  readonly begins: readonly UseLine[];
  readonly ends: readonly UseLine[];
  /** `<call id> <attempt> <outcome>` of each usage row. */
  readonly rows: readonly string[];
}

/** The database's books of a running installation, read beside the gateway. */
export async function readBooks(dataDir: string): Promise<Books> {
  const connection = runningDatabase(dataDir);
  if (connection === null) throw new Error('the database does not run');
  const store = openStore({ connection, maxConnections: 1 });
  try {
    return await store.asSystem(async (tx) => {
      const lines = await tx
        .selectFrom('journal')
        .select('line')
        .where('event', 'in', ['use.begin', 'use.end'])
        .execute();
      const uses = lines.map(({ line }) => JSON.parse(line) as UseLine);
      const rows = await tx.selectFrom('usage_events').select(['call_id', 'attempt', 'outcome']).execute();
      return {
        begins: uses.filter(({ event }) => event === 'use.begin'),
        ends: uses.filter(({ event }) => event === 'use.end'),
        rows: rows.map((row) => `${row.call_id} ${row.attempt} ${row.outcome}`),
      };
    });
  } finally {
    await store.close();
  }
}

/** Resolves when a gateway has shipped all that it wrote. */
export async function untilShipped(origin: string): Promise<void> {
  for (; ; await pause(20)) {
    const text = await (await fetch(`${origin}/metrics`)).text();
    if (/^sallyport_journal_lag_records 0$/m.test(text)) return;
  }
}

/** The database server's process. */
export { readPidFile } from '../../src/db/embedded-pidfile.ts';
