import { sql } from 'kysely';
import type { PoolClient } from 'pg';
import t from 'tap';
import { isDatabaseGone, withClient } from '../../src/db/connection.ts';
import { ensureMonths, monthOf } from '../../src/db/months.ts';
import { readAtOnce, scopedKysely } from '../../src/db/scoped-driver.ts';
import { openStore } from '../../src/db/store.ts';
import { newId } from '../../src/ids.ts';
import { testDatabase } from '../support/database.ts';
import { journalLine as line } from '../support/rows.ts';

const code = (wanted: string) => ({ code: wanted });

t.test(
  'the journal refuses update, delete and truncate, also to its owner and on a partition by name',
  async (t) => {
    const { store, owner } = await testDatabase(t);
    const month = monthOf(new Date());
    await store.asSystem((tx) =>
      tx
        .insertInto('journal')
        .values([line(null, 0n, month), line(null, 1n, '2001-01-01')])
        .execute(),
    );
    const part = `journal_${month.slice(0, 7).replace('-', '_')}`;
    for (const table of ['journal', 'journal_default', part]) {
      for (const act of [`update ${table} set line = 'x'`, `delete from ${table}`, `truncate ${table}`]) {
        await t.rejects(owner(act), code('23001'), act);
      }
    }
    for (const act of [sql`update journal set line = 'x'`, sql`delete from journal`, sql`truncate journal`]) {
      await t.rejects(
        store.asSystem((tx) => act.execute(tx)),
        code('42501'),
      );
    }
    t.equal((await store.asSystem((tx) => tx.selectFrom('journal').select('seq').execute())).length, 2);
  },
);

t.test(
  'months get partitions once, also when several nodes make them, within bounds and by the system alone',
  async (t) => {
    const { store, owner } = await testDatabase(t);
    const ahead = new Date(Date.now() + 200 * 86_400_000);
    await Promise.all([1, 2, 3, 4].map(() => ensureMonths(store, ahead)));
    const month = monthOf(ahead);
    await store.asSystem((tx) =>
      tx
        .insertInto('journal')
        .values(line(null, 0n, month))
        .execute(),
    );
    const parts = await owner<{ name: string }>(
      `select relname as name from pg_class where relname like 'journal_%' and relispartition and relkind = 'r' order by 1`,
    );
    t.equal(parts.length, 5, 'default, this month, the next, and the two asked for');
    const [place] = await store.asSystem(
      async (tx) =>
        (await sql<{ part: string }>`select tableoid::regclass::text as part from journal`.execute(tx)).rows,
    );
    t.equal(place?.part, `journal_${month.slice(0, 7).replace('-', '_')}`);
    await t.rejects(
      owner(`update ${place?.part} set line = 'x'`),
      code('23001'),
      'a new partition is append-only too',
    );
    await t.rejects(ensureMonths(store, new Date('2100-01-01')), code('22003'));
    await t.rejects(
      store.asWorkspace(newId('ws'), (tx) => sql`select create_month_partitions(current_date)`.execute(tx)),
      code('42501'),
    );
  },
);

t.test('a month whose rows lie in the default partition stays there', async (t) => {
  const { store } = await testDatabase(t);
  const ahead = new Date(Date.now() + 200 * 86_400_000);
  await store.asSystem((tx) =>
    tx
      .insertInto('journal')
      .values(line(null, 0n, monthOf(ahead)))
      .execute(),
  );
  await ensureMonths(store, ahead);
  t.equal((await store.asSystem((tx) => tx.selectFrom('journal').select('seq').execute())).length, 1);
});

t.test('64-bit numbers, dates, times, bytes and JSON come back as what they went in', async (t) => {
  const { store } = await testDatabase(t);
  const big = 9_007_199_254_740_993n;
  await store.asSystem((tx) =>
    tx
      .insertInto('journal')
      .values(line(null, big, '2026-01-01'))
      .execute(),
  );
  const row = await store.asSystem((tx) => tx.selectFrom('journal').selectAll().executeTakeFirstOrThrow());
  t.equal(row.seq, big);
  t.equal(row.month, '2026-01-01');
  t.equal(row.at.toISOString(), '2026-01-01T00:00:00.123Z');
  t.same(row.hash, Buffer.alloc(32, 3));
  const { rows } = await store.asSystem((tx) =>
    sql<{
      list: bigint[];
      money: string;
      json: unknown;
    }>`select array[1, null, ${big}]::int8[] as list, 1.50::numeric as money,
      ${JSON.stringify(['a'])}::jsonb as json`.execute(tx),
  );
  t.same(rows, [{ list: [1n, null, big], money: '1.50', json: ['a'] }]);
});

t.test('a server that writes its dates in another form is asked for ours', async (t) => {
  const { owner, connection } = await testDatabase(t);
  const [{ name } = { name: '' }] = await owner<{ name: string }>('select current_database() as name');
  await owner(`alter database ${name} set datestyle = 'German'`);
  const store = openStore({ connection });
  t.teardown(() => store.close());
  const at = '2027-03-02T01:00:00.123Z';
  const read = sql<{ at: Date; day: string }>`select ${at}::timestamptz as at, date '2027-03-02' as day`;
  const { rows } = await store.asSystem((tx) => read.execute(tx));
  // The driver makes null of a time in another form: a token would have no expiry, and a checkpoint no time.
  t.strictSame(rows, [{ at: new Date(at), day: '2027-03-02' }]);
});

t.test('rows are hidden without an error, whatever the server makes of row_security', async (t) => {
  const { owner, connection } = await testDatabase(t);
  const [{ name } = { name: '' }] = await owner<{ name: string }>('select current_database() as name');
  await owner(`alter database ${name} set row_security = off`);
  const store = openStore({ connection });
  t.teardown(() => store.close());
  const read = store.asWorkspace('ws_nobody', (tx) => tx.selectFrom('workspaces').select('id').execute());
  t.strictSame(await read, []);
});

t.test('a transaction past its deadline is cut, and the next one goes through', async (t) => {
  const { connection } = await testDatabase(t);
  const store = openStore({ connection, maxConnections: 1, deadlineMs: 100 });
  t.teardown(() => store.close());
  const error: unknown = await store
    .asSystem((tx) => sql`select pg_sleep(20)`.execute(tx))
    .catch((error: unknown) => error);
  t.equal(isDatabaseGone(error), true);
  await store.ping();
});

t.test('a connection that the server ends fails its transaction alone', async (t) => {
  const { connection } = await testDatabase(t);
  const store = openStore({ connection, maxConnections: 1 });
  t.teardown(() => store.close());
  const ended = store.asSystem(async (tx) => {
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(tx);
    await withClient(connection, (client) =>
      client.query('select pg_terminate_backend($1, 2000)', [rows[0]?.pid]),
    );
    await tx.selectFrom('epoch').selectAll().execute();
  });
  const error: unknown = await ended.catch((error: unknown) => error);
  t.equal(isDatabaseGone(error), true);
  t.same(await store.asSystem((tx) => tx.selectFrom('epoch').select('value').execute()), [{ value: 0n }]);
});

t.test('an opening that fails leaves no open transaction on its connection', async (t) => {
  const { connection } = await testDatabase(t);
  await withClient(connection, async (client) => {
    const scope = { role: 'no_such_role' as 'sallyport_app', workspace: '', lookup: '' };
    const refused = scopedKysely(client as unknown as PoolClient, scope)
      .transaction()
      .execute(async (tx) => tx.selectFrom('epoch').selectAll().execute());
    await t.rejects(refused, code('22023'), 'BEGIN passes, the role does not exist');
    const { rows } = await client.query('select now() = statement_timestamp() as "isOutside"');
    t.same(rows, [{ isOutside: true }]);
  });
});

t.test(
  'what is read at once leaves no open transaction, nor its role, whether it fails or not',
  async (t) => {
    const { connection, store } = await testDatabase(t);
    await store.asSystem((tx) => tx.updateTable('epoch').set({ value: 7n }).execute());
    t.equal(await store.readEpoch(), 7n);
    await withClient(connection, async (client) => {
      const scope = { role: 'sallyport_app', workspace: '', lookup: '' } as const;
      const read = (statement: string) => readAtOnce(client as unknown as PoolClient, scope, statement);
      const state = async () =>
        (
          await client.query(
            'select now() = statement_timestamp() as outside, current_user = session_user as unscoped',
          )
        ).rows;
      t.same(await read('select current_user::text as role'), [{ role: 'sallyport_app' }]);
      t.same(await state(), [{ outside: true, unscoped: true }]);
      await t.rejects(read('select 1 / 0'), code('22012'));
      t.same(await state(), [{ outside: true, unscoped: true }]);
    });
  },
);

t.test('a database that is not there is told from one that refuses', async (t) => {
  const absent = openStore({ connection: { host: '/nonexistent', user: 'a', database: 'b' } });
  t.teardown(() => absent.close());
  t.equal(isDatabaseGone(await absent.ping().catch((error: unknown) => error)), true);
  const { store } = await testDatabase(t);
  t.equal(
    isDatabaseGone(
      await store.asSystem((tx) => sql`select nothing`.execute(tx)).catch((error: unknown) => error),
    ),
    false,
  );
});

t.test(
  'the admin side waits for its own, in its order, and leaves three connections to others',
  async (t) => {
    const { connection } = await testDatabase(t);
    // One place for it: of two at a time either may begin first.
    const store = openStore({ connection, maxConnections: 4 });
    t.teardown(() => store.close());
    const { unhurried } = store;
    const gate = Promise.withResolvers<void>();
    const order: number[] = [];
    const held = unhurried.asSystem(() => gate.promise);
    const queued = [1, 2, 3].map((n) => unhurried.asSystem(async () => void order.push(n)));
    const failing = unhurried.asSystem(() => Promise.reject(new Error('of the work')));
    failing.catch(() => {});
    await Promise.all([1, 2, 3].map(() => store.ping()));
    t.equal(store.connections().waiting, 4);
    t.same(order, []);
    gate.resolve();
    await Promise.all([held, ...queued]);
    await t.rejects(failing, { message: 'of the work' });
    t.same(order, [1, 2, 3]);
    t.equal(await unhurried.asSystem(async () => 'free again'), 'free again');
    t.equal(store.connections().waiting, 0);
  },
);

t.test(
  'whoever waits for the admin side’s connections is told after a while that there is none',
  async (t) => {
    const { connection } = await testDatabase(t);
    const store = openStore({ connection, maxConnections: 4, deadlineMs: 1000 });
    t.teardown(() => store.close());
    const { unhurried } = store;
    const gate = Promise.withResolvers<void>();
    const held = unhurried.asSystem(() => gate.promise);
    let isBegun = false;
    const waiting = [1, 2, 3].map(() => unhurried.asSystem(async () => void (isBegun = true)));
    t.equal(store.connections().waiting, 3);
    for (const one of waiting) {
      const error = await one.catch((reason: unknown) => reason);
      t.match(error, code('ETIMEDOUT'));
      t.ok(isDatabaseGone(error));
    }
    t.equal(store.connections().waiting, 0);
    t.notOk(isBegun);
    gate.resolve();
    await Promise.allSettled([held]);
    t.equal(await unhurried.asSystem(async () => 'free again'), 'free again', 'no place was lost');
  },
);
