import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Kysely, PostgresDialect } from 'kysely';
import { Migrator } from 'kysely/migration';
import pg from 'pg';
import t, { type Test } from 'tap';
import * as ground from '../../migrations/0001_ground.ts';
import * as months from '../../migrations/0002_months.ts';
import { clientConfig, type ConnectionOptions, withClient } from '../../src/db/connection.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import { migrate, schemaState } from '../../src/db/migrate.ts';
import { openStore } from '../../src/db/store.ts';
import { emptyDatabase, testDatabase } from '../support/database.ts';

const files = readdirSync(new URL('../../migrations/', import.meta.url))
  .map((name) => path.basename(name, '.ts'))
  .toSorted();

async function run(
  connection: ConnectionOptions,
  ...statements: string[]
): Promise<Record<string, unknown>[]> {
  return withClient(connection, async (client) => {
    let rows: Record<string, unknown>[] = [];
    for (const statement of statements) ({ rows } = await client.query(statement));
    return rows;
  });
}

/** Everything that the catalogue knows of our schema, to see whether anything was touched. */
const inventory = `select relname, relkind, xmin::text from pg_class where relnamespace = 'public'::regnamespace order by 1`;

t.test('an empty database gets every migration file, once', async (t) => {
  const connection = await emptyDatabase(t);
  t.same(await schemaState(connection), { version: null, pending: files });
  t.same(await migrate(connection), { applied: files, version: files.at(-1) });
  t.same(await schemaState(connection), { version: files.at(-1), pending: [] });
  const before = await run(connection, inventory);
  t.same(await migrate(connection), { applied: [], version: files.at(-1) });
  t.same(await run(connection, inventory), before);
});

t.test('of several migrators at once one does it, and the others find it done', async (t) => {
  const connection = await emptyDatabase(t);
  const results = await Promise.all([1, 2, 3, 4].map(() => migrate(connection)));
  t.same(
    results.filter(({ applied }) => applied.length > 0).map(({ applied }) => applied),
    [files],
  );
});

t.test('a database that is newer than the code is refused and left untouched', async (t) => {
  const { connection } = await testDatabase(t);
  await run(connection, `insert into kysely_migration values ('9999_future', '2099-01-01T00:00:00.000Z')`);
  const before = await run(connection, inventory);
  const refusal = {
    code: 'CONFIG_INVALID',
    message: /newer than this program: it has migration 9999_future/,
  };
  await t.rejects(migrate(connection), refusal);
  await t.rejects(schemaState(connection), refusal);
  t.same(await run(connection, inventory), before);
});

t.test('a migration that fails says why and leaves nothing', async (t) => {
  const connection = await emptyDatabase(t);
  await run(connection, 'create table tokens (mine text)');
  const before = await run(connection, inventory);
  await t.rejects(migrate(connection), { code: '42P07', message: /tokens/ });
  t.same(await run(connection, inventory), before);
});

t.test('settings of the server that stand in the way are told, or overruled', async (t) => {
  const connection = await emptyDatabase(t);
  const [{ name } = {}] = await run(connection, 'select current_database() as name');
  const settings = (...words: string[]) =>
    run(connection, ...words.map((word) => `alter database ${String(name)} ${word}`));
  await settings('set search_path = nowhere');
  await t.rejects(migrate(connection), { code: 'CONFIG_INVALID', message: /search_path/ });
  await settings('reset search_path', 'set default_transaction_read_only = on');
  await t.rejects(migrate(connection), { message: /cannot execute CREATE TABLE in a read-only transaction/ });
  await withClient(connection, async (client) => {
    await client.query('set default_transaction_read_only = off');
    await client.query(`alter database ${String(name)} reset all`);
    await client.query(`alter database ${String(name)} set row_security = off`);
  });
  t.same((await migrate(connection)).applied, files);
});

t.test('a key without a value, from before values had an age, gets none', async (t) => {
  const connection = await emptyDatabase(t);
  const pool = new pg.Pool(clientConfig(connection));
  const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) });
  const before = { getMigrations: async () => ({ '0001_ground': ground, '0002_months': months }) };
  t.equal((await new Migrator({ db, provider: before }).migrateToLatest()).error, undefined);
  await db.destroy();
  const key = (id: string, auth: string): string =>
    `insert into provider_keys (id, workspace_id, user_id, name, provider, source, protection, auth, origins, base_path, operator_origin, version, is_active, mac)
     values ('${id}', 'ws', 'usr', '${id}', 'custom', 'own', 'standard', '${auth}', array['https://a.example.com'], '/v1', false, 1, true, 'x')`;
  const force = (how: string): string[] =>
    ['workspaces', 'users', 'provider_keys'].map((table) => `alter table ${table} ${how} row level security`);
  await run(
    connection,
    ...force('no force'),
    `insert into workspaces (id, name) values ('ws', 'w')`,
    `insert into users (id, workspace_id, name) values ('usr', 'ws', 'u')`,
    key('a', 'bearer'),
    key('b', 'none'),
    ...force('force'),
  );
  await migrate(connection);
  t.same(
    await run(
      connection,
      ...force('no force'),
      'select id, rotate_after_days as days from provider_keys order by id',
    ),
    [
      { id: 'a', days: 180 },
      { id: 'b', days: null },
    ],
  );
});

/** A cluster of its own, for what concerns its roles. */
async function cluster(t: Test) {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'sallyport-roles-'));
  const server = await startEmbedded({ dataDir, settings: { fsync: 'off' } });
  t.teardown(async () => {
    await server.stop();
    await rm(dataDir, { recursive: true });
  });
  return {
    superuser: server.maintenance,
    as: (user: string, database: string): ConnectionOptions => ({
      host: server.maintenance.host,
      user,
      database,
    }),
  };
}

const sees = async (connection: ConnectionOptions, t: Test): Promise<unknown> => {
  const store = openStore({ connection });
  t.teardown(() => store.close());
  return store.asSystem((tx) => tx.selectFrom('epoch').select('value').execute());
};

t.test('roles of a cluster', async (t) => {
  const { superuser, as } = await cluster(t);
  await run(
    superuser,
    'create role weak login',
    'create role one login createrole',
    'create role two login createrole',
    'create role runtime login',
    ...['weak', 'one', 'two'].map((user) => `create database ${user} owner ${user}`),
    ...['three', 'four'].map((name) => `create database ${name} owner one`),
  );

  await t.test('a user who may not create roles is told what a superuser has to do', async (t) => {
    const refusal = {
      code: 'CONFIG_INVALID',
      message: /weak may not create the roles sallyport_app and sallyport_system/,
    };
    await t.rejects(migrate(as('weak', 'weak')), refusal);
    t.same(await run(as('weak', 'weak'), inventory), []);
  });

  await t.test('one URL is enough: an owner with CREATEROLE makes the roles and takes them', async (t) => {
    // Several of his databases at once: the roles are the cluster's, and the makers must not trip over each other.
    const all = await Promise.all(['one', 'three', 'four'].map((database) => migrate(as('one', database))));
    t.same(
      all.map(({ applied }) => applied),
      [files, files, files],
    );
    t.same(await sees(as('one', 'one'), t), [{ value: 0n }]);
    const inherits = await run(
      as('one', 'one'),
      `select pg_has_role('sallyport_system', 'USAGE') as "hasRights"`,
    );
    t.same(inherits, [{ hasRights: false }], 'without taking the role it has none of its rights');
  });

  await t.test('roles that another owner made can be taken once a superuser has granted them', async (t) => {
    const error = (await migrate(as('two', 'two')).catch((error: unknown) => error)) as {
      code: string;
      fix: string;
    };
    t.equal(error.code, 'CONFIG_INVALID');
    t.same(await run(as('two', 'two'), inventory), []);
    await run(superuser, error.fix.replace('As a superuser: ', ''));
    await migrate(as('two', 'two'));
    t.same(await sees(as('two', 'two'), t), [{ value: 0n }]);
  });

  await t.test('a user of his own serves the calls where the owner is kept apart', async (t) => {
    await t.rejects(sees(as('runtime', 'one'), t), { code: '42501' });
    await migrate(as('one', 'one'), { runtimeUser: 'runtime' });
    t.same(await sees(as('runtime', 'one'), t), [{ value: 0n }]);
    await t.rejects(run(as('runtime', 'one'), 'select from epoch'), { code: '42501' });
    await t.rejects(run(as('runtime', 'one'), 'drop table epoch'), { code: '42501' });
  });

  await t.test('a role that passes row security by is refused', async (t) => {
    await run(superuser, 'alter role sallyport_app bypassrls');
    const error = (await migrate(as('one', 'one')).catch((error: unknown) => error)) as {
      code: string;
      fix: string;
    };
    t.equal(error.code, 'CONFIG_INVALID');
    await run(superuser, error.fix);
    t.same((await migrate(as('one', 'one'))).applied, []);
  });
});
