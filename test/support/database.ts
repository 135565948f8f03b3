import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import type pg from 'pg';
import { type ConnectionOptions, withClient } from '../../src/db/connection.ts';
import { migrate } from '../../src/db/migrate.ts';
import { openStore, type Store } from '../../src/db/store.ts';
import { databaseServer } from './database-server.ts';

export interface TestDatabase {
  readonly store: Store;
  readonly connection: ConnectionOptions;
  /** As the tables' owner, without a role: forced row security hides their rows from it unless it is a superuser. */
  readonly owner: <Row extends pg.QueryResultRow = Record<string, unknown>>(
    text: string,
    values?: unknown[],
  ) => Promise<Row[]>;
}

interface Teardown {
  teardown(work: () => Promise<void>): void;
}

/** The role that owns test databases on the embedded server, as in production no superuser. */
const embeddedOwner = 'sallyport';

/** SQLSTATE (PostgreSQL documentation, Appendix A). */
const deadlockDetected = '40P01';

export function inDatabase(server: ConnectionOptions, database: string): ConnectionOptions {
  if (!('url' in server)) return { host: server.host, user: embeddedOwner, database };
  const url = new URL(server.url);
  url.pathname = `/${database}`;
  return { url: url.href };
}

function create(server: ConnectionOptions, database: string, template: string): string {
  const owner = 'url' in server ? '' : ` owner ${embeddedOwner}`;
  return `create database ${database} template ${template}${owner}`;
}

/** Named by its owner and by what the migrations say: a changed one makes a new template beside those of other checkouts. */
function templateName(server: ConnectionOptions): string {
  const folder = new URL('../../migrations/', import.meta.url);
  const hash = createHash('sha256').update('url' in server ? new URL(server.url).username : embeddedOwner);
  for (const name of readdirSync(folder).toSorted()) hash.update(readFileSync(new URL(name, folder)));
  return `sallyport_template_${hash.digest('hex').slice(0, 12)}`;
}

/** Migrated once a server, under a lock; renamed when whole, so that a killed maker leaves no half template. */
async function makeTemplate(server: ConnectionOptions): Promise<string> {
  const name = templateName(server);
  await withClient(server, async (client) => {
    await client.query(`select pg_advisory_lock(hashtext('sallyport test template'))`);
    const { rowCount } = await client.query('select from pg_database where datname = $1', [name]);
    if (rowCount !== 0) return;
    await client.query(`drop database if exists ${name}_new`);
    await client.query(create(server, `${name}_new`, 'template0'));
    await migrate(inDatabase(server, `${name}_new`));
    await client.query(`alter database ${name}_new rename to ${name}`);
  });
  return name;
}

let template: Promise<string> | undefined;

/** An empty database of its own, not migrated, dropped with the test. */
export async function emptyDatabase(t: Teardown): Promise<ConnectionOptions> {
  return newDatabase(t, await databaseServer(), 'template0');
}

async function newDatabase(t: Teardown, server: ConnectionOptions, from: string): Promise<ConnectionOptions> {
  const name = `sallyport_test_${randomBytes(6).toString('hex')}`;
  await withClient(server, (client) => client.query(create(server, name, from)));
  t.teardown(async () => {
    await withClient(server, (client) => client.query(`drop database if exists ${name} with (force)`));
  });
  return inDatabase(server, name);
}

/** A migrated database of its own: the template's clone, dropped with the test. Tens of milliseconds. */
export async function testDatabase(t: Teardown): Promise<TestDatabase> {
  const server = await databaseServer();
  const connection = await newDatabase(t, server, await (template ??= makeTemplate(server)));
  const store = openStore({ connection });
  t.teardown(() => store.close());
  return Object.freeze<TestDatabase>({
    store,
    connection,
    owner: async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) => {
      for (;;) {
        try {
          const { rows } = await withClient(connection, (client) => client.query<Row>(text, values));
          return rows;
        } catch (error) {
          // `alter table` may meet the gateway's own statements crosswise. Whoever is chosen to give way has done nothing yet.
          if ((error as { code?: unknown }).code !== deadlockDetected) throw error;
        }
      }
    },
  });
}
