import path from 'node:path';
import pg from 'pg';
import { clientConfig, type SocketConnection } from './connection.ts';
import { type WalPlace, walPlace } from './wal-names.ts';

/** The WAL of a running embedded server, held for whoever copies it. */
export interface HeldWal {
  /** Folder of the segments. */
  readonly dir: string;
  readonly systemIdentifier: string;
  /** What is flushed now, and the server's time. Rejects when the server has gone. */
  position(): Promise<{ readonly place: WalPlace; readonly lsn: string; readonly at: Date }>;
  /** Lets go of the segments before this LSN. */
  release(lsn: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * A replication slot of this session keeps the segments that nobody has copied; it ends with the session, so that a copier that
 * dies fills no disk.
 */
export async function holdWal(maintenance: SocketConnection, databaseDir: string): Promise<HeldWal> {
  const client = new pg.Client(clientConfig(maintenance));
  client.on('error', () => {});
  const slot = `sallyport_wal_${process.pid}`;
  try {
    await client.connect();
    await client.query('select pg_create_physical_replication_slot($1, true, true)', [slot]);
    const systemIdentifier = await systemIdentifierOf(client);
    return Object.freeze<HeldWal>({
      dir: path.join(databaseDir, 'pg_wal'),
      systemIdentifier,
      async position() {
        const found = await client.query<{ lsn: string; at: Date; timeline: number }>(
          `select lsn::text, clock_timestamp() as at,
                  ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int as timeline
           from pg_current_wal_flush_lsn() as lsn`,
        );
        const { lsn, at, timeline } = found.rows[0] as { lsn: string; at: Date; timeline: number };
        return { place: walPlace(lsn, timeline), lsn, at };
      },
      async release(lsn) {
        await client.query('select pg_replication_slot_advance($1, $2::pg_lsn)', [slot, lsn]);
      },
      close: async () => client.end().catch(() => {}),
    });
  } catch (error) {
    await client.end().catch(() => {});
    throw error;
  }
}

/** Of database and server: `initdb` gives it, copies keep it. */
export async function systemIdentifierOf(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ system: string }>(
    'select system_identifier::text as system from pg_control_system()',
  );
  return rows[0]?.system ?? '';
}
