import type { Client } from 'pg';
import { type ConnectionOptions, withClient } from './connection.ts';

/** What founds a deployment anew, in an order in which each table's references come before it. */
export const foundingTables = [
  'deployment',
  'workspaces',
  'workspace_keys',
  'users',
  'memberships',
  'tokens',
  'seals',
  'provider_keys',
  'provider_key_versions',
  'model_aliases',
  'price_overrides',
  'webhooks',
  'signing_keys',
] as const;

export type FoundingTable = (typeof foundingTables)[number];

export const isFoundingTable = (name: unknown): name is FoundingTable =>
  (foundingTables as readonly unknown[]).includes(name);

/** The database as it was at one moment, however long reading takes. */
export interface Snapshot {
  /** Rows as JSON texts of PostgreSQL's own making: bytea is `\x…`, times are ISO 8601 with an offset. A few hundred at a time. */
  rows(table: FoundingTable): AsyncGenerator<readonly string[]>;
  rootKeyIds(): Promise<string[]>;
  /** The newest thousand streams of the journal, as far as shipped. */
  journalHeads(): Promise<{ stream: string; nextSeq: string; headHash: string }[]>;
  /** The newest migration. */
  schemaVersion(): Promise<string>;
}

const pageRows = 500;

/** Rows of every workspace, to read only: the role `sallyport_system` in a REPEATABLE READ transaction. */
export async function withSnapshot<T>(
  connection: ConnectionOptions,
  work: (snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  return withClient(connection, async (client) => {
    await client.query('begin isolation level repeatable read read only');
    const schema = await schemaVersion(client);
    await client.query('set local role sallyport_system');
    const result = await work(snapshotOf(client, schema));
    await client.query('commit');
    return result;
  });
}

/** Asked before the role is taken: the table of migrations is its owner's alone. */
async function schemaVersion(client: Client): Promise<string> {
  const { rows } = await client.query<{ name: string }>('select max(name) as name from kysely_migration');
  return rows[0]?.name ?? '';
}

function snapshotOf(client: Client, schema: string): Snapshot {
  return Object.freeze<Snapshot>({
    async *rows(table) {
      await client.query(
        `declare page no scroll cursor for select to_jsonb(one)::text as row from ${table} as one`,
      );
      try {
        for (;;) {
          const { rows } = await client.query<{ row: string }>(`fetch ${pageRows} from page`);
          if (rows.length === 0) return;
          yield rows.map(({ row }) => row);
        }
      } finally {
        // Also where the reader wanted the first row alone; after an error it is closed already.
        await client.query('close page').catch(() => {});
      }
    },
    async rootKeyIds() {
      const { rows } = await client.query<{ id: string }>(
        `select root_key_id as id from workspace_keys
         union select root_key_id from signing_keys where root_key_id is not null order by 1`,
      );
      return rows.map(({ id }) => id);
    },
    async journalHeads() {
      const { rows } = await client.query<{ stream: string; nextSeq: string; headHash: string }>(
        `select stream, next_seq::text as "nextSeq", encode(head_hash, 'hex') as "headHash"
         from journal_streams order by updated_at desc, stream limit 1000`,
      );
      return rows;
    },
    schemaVersion: async () => schema,
  });
}
