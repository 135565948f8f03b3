import { Kysely, type LogEvent, PostgresDialect, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import pg from 'pg';
import * as ground from '../../migrations/0001_ground.ts';
import * as months from '../../migrations/0002_months.ts';
import * as vault from '../../migrations/0003_vault.ts';
import * as gateway from '../../migrations/0004_gateway.ts';
import * as checkpoints from '../../migrations/0005_checkpoints.ts';
import * as retention from '../../migrations/0006_retention.ts';
import * as presumed from '../../migrations/0007_presumed.ts';
import * as usageCosts from '../../migrations/0008_usage_costs.ts';
import * as alerts from '../../migrations/0009_alerts.ts';
import * as personalData from '../../migrations/0010_personal_data.ts';
import * as epochHints from '../../migrations/0011_epoch_hints.ts';
import { SallyportError } from '../errors.ts';
import { clientConfig, type ConnectionOptions } from './connection.ts';
import { checkRoles, takeRoles } from './roles.ts';

/** Every migration, in order. Frozen once released: a change is a new file. */
const migrations: Readonly<Record<string, Migration>> = {
  '0001_ground': ground,
  '0002_months': months,
  '0003_vault': vault,
  '0004_gateway': gateway,
  '0005_checkpoints': checkpoints,
  '0006_retention': retention,
  '0007_presumed': presumed,
  '0008_usage_costs': usageCosts,
  '0009_alerts': alerts,
  '0010_personal_data': personalData,
  '0011_epoch_hints': epochHints,
};

const names = Object.keys(migrations);

export interface SchemaState {
  /** The newest migration that is applied, null in an empty database. */
  readonly version: string | null;
  /** What the code has and the database doesn't, oldest first. */
  readonly pending: readonly string[];
}

export interface MigrateOptions {
  /** A login role that serves calls while another owns the tables (DATABASE_MIGRATE_URL): it is let take the two roles. */
  readonly runtimeUser?: string;
}

/** PostgreSQL 15 to 18 are tested; older ones lack what the policies and partitions need. */
const oldestServer = 150_000;

/** SQLSTATE of whatever comes after an error in a transaction (PostgreSQL documentation, Appendix A). */
const transactionAborted = '25P02';

/** Any 64-bit number that nobody else uses in this database. Transaction-scoped: session locks don't survive a pooler. */
const migrationLock = 7_236_283_911_402_615n;

async function applied(db: Kysely<unknown>): Promise<string[]> {
  const { rows: tables } = await sql<{
    known: boolean;
  }>`select to_regclass('kysely_migration') is not null as known`.execute(db);
  if (tables[0]?.known !== true) return [];
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db);
  return rows.map((row) => row.name);
}

function stateOf(done: readonly string[]): SchemaState {
  const unknown = done.filter((name) => !names.includes(name));
  if (unknown.length > 0) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `The database is newer than this program: it has migration ${unknown.at(-1)}, this program ends at ${names.at(-1)}. Nothing was changed.`,
      { fix: 'Run the version that migrated it, or a newer one.' },
    );
  }
  return { version: done.at(-1) ?? null, pending: names.filter((name) => !done.includes(name)) };
}

async function checkServer(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<{
    version: number;
    text: string;
    encoding: string;
    schema: string | null;
  }>`select current_setting('server_version_num')::int as version, current_setting('server_version') as text,
       current_setting('server_encoding') as encoding, current_schema() as schema`.execute(db);
  const [server] = rows;
  if (server === undefined || server.version < oldestServer) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `PostgreSQL ${server?.text} is too old: 15 to 18 are supported.`,
    );
  }
  if (server.encoding !== 'UTF8') {
    throw new SallyportError(
      'CONFIG_INVALID',
      `The database's encoding is ${server.encoding}: it has to be UTF8.`,
      {
        fix: "create database sallyport encoding 'UTF8' template template0",
      },
    );
  }
  if (server.schema === null) {
    throw new SallyportError(
      'CONFIG_INVALID',
      'There is no schema for the tables: search_path names none that is there and may be used.',
      {
        fix: 'alter role … reset search_path for the user of the URL, or alter database; or make the schema, and grant usage and create on it.',
      },
    );
  }
}

async function run(db: Kysely<unknown>, pending: readonly string[]): Promise<void> {
  if (pending.length === 0) return;
  const { error } = await new Migrator({
    db,
    provider: { getMigrations: async () => migrations },
  }).migrateToLatest();
  if (error !== undefined) throw error;
}

/** A kysely as the connection's own user, without a role: it owns the tables, and forced row security hides their rows from it. */
async function asOwner<T>(
  connection: ConnectionOptions,
  work: (db: Kysely<unknown>) => Promise<T>,
): Promise<T> {
  const pool = new pg.Pool({ ...clientConfig(connection), max: 1 });
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  let first: unknown = null;
  const log = (event: LogEvent): void => {
    if (event.level === 'error') first ??= event.error;
  };
  try {
    return await work(new Kysely<unknown>({ dialect: new PostgresDialect({ pool }), log }));
  } catch (error) {
    // Migrator goes on after what failed, and reports the consequence.
    const isConsequence = error instanceof Error && 'code' in error && error.code === transactionAborted;
    throw isConsequence ? (first ?? error) : error;
  } finally {
    await pool.end();
  }
}

/**
 * Brings the database to this code, in one transaction under an advisory lock: another migrator waits, then finds nothing to do.
 * Afterwards the connection's user (and `runtimeUser`) may take the two roles.
 *
 * @throws {SallyportError} CONFIG_INVALID: a newer database (untouched), an old server, roles that can't be made or taken.
 */
export async function migrate(
  connection: ConnectionOptions,
  { runtimeUser }: MigrateOptions = {},
): Promise<{ applied: string[]; version: string }> {
  return asOwner(connection, (owner) =>
    owner.transaction().execute(async (tx) => {
      const db: Kysely<unknown> = tx;
      await checkServer(db);
      // Off by the server's own settings, it makes an error of each row that is hidden.
      await sql`set local row_security = on`.execute(db);
      await sql`select pg_advisory_xact_lock(${sql.lit(migrationLock)})`.execute(db);
      const { pending } = stateOf(await applied(db));
      await checkRoles(db);
      await run(db, pending);
      await takeRoles(db, runtimeUser);
      return { applied: [...pending], version: names.at(-1) as string };
    }),
  );
}

/** Reads only. @throws {SallyportError} CONFIG_INVALID when the database is newer than the code. */
export async function schemaState(connection: ConnectionOptions): Promise<SchemaState> {
  return asOwner(connection, async (db) => stateOf(await applied(db)));
}
