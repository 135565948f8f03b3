import { sql } from 'kysely';
import t from 'tap';
import { type ConnectionOptions, withClient } from '../../src/db/connection.ts';
import { openStore, type Store } from '../../src/db/store.ts';
import { newId } from '../../src/ids.ts';
import { testDatabase } from '../support/database.ts';
import { insertToken, insertWorkspace, journalLine as line } from '../support/rows.ts';

async function twoWorkspaces(store: Store) {
  const [mine, other] = [newId('ws'), newId('ws')];
  const prefixes = { mine: 'spt_aaaaaaaaaaaa', other: 'spt_bbbbbbbbbbbb' };
  for (const [workspaceId, prefix] of [
    [mine, prefixes.mine],
    [other, prefixes.other],
  ] as const) {
    await store.asWorkspace(workspaceId, async (tx) => {
      const { userId } = await insertWorkspace(tx, workspaceId);
      await insertToken(tx, { workspaceId, userId, prefix });
    });
  }
  return { mine, other, prefixes };
}

const code = (wanted: string) => ({ code: wanted });

/** What role `sallyport_app` finds with these settings; null leaves a setting unset. */
async function found(
  connection: ConnectionOptions,
  settings: Record<string, string | null>,
): Promise<number> {
  return withClient(connection, async (client) => {
    await client.query("begin; select set_config('role', 'sallyport_app', true)");
    for (const [name, value] of Object.entries(settings)) {
      if (value !== null) await client.query('select set_config($1, $2, true)', [name, value]);
    }
    let rows = 0;
    for (const table of ['workspaces', 'users', 'tokens', 'journal']) {
      rows += (await client.query(`select from ${table}`)).rowCount ?? 0;
    }
    return rows;
  });
}

t.test(
  'a workspace sees its own rows alone, and can neither read, change nor plant those of another',
  async (t) => {
    const { store } = await testDatabase(t);
    const { mine, other } = await twoWorkspaces(store);
    await store.asSystem((tx) =>
      tx
        .insertInto('journal')
        .values([line(mine, 0n, '2026-01-01'), line(other, 1n, '2026-01-01'), line(null, 2n, '2026-01-01')])
        .execute(),
    );
    await store.asWorkspace(mine, async (tx) => {
      for (const table of ['users', 'tokens', 'journal'] as const) {
        const rows = await tx.selectFrom(table).select('workspace_id').execute();
        t.same(rows, [{ workspace_id: mine }], table);
      }
      t.same(await tx.selectFrom('workspaces').select('id').execute(), [{ id: mine }]);
      const { numUpdatedRows } = await tx
        .updateTable('tokens')
        .set({ name: 'x' })
        .where('workspace_id', '=', other)
        .executeTakeFirstOrThrow();
      t.equal(numUpdatedRows, 0n);
    });
    const plant = store.asWorkspace(mine, (tx) =>
      tx
        .insertInto('users')
        .values({ id: newId('usr'), workspace_id: other, name: 'planted' })
        .execute(),
    );
    await t.rejects(plant, code('42501'));
    const move = store.asWorkspace(mine, (tx) =>
      tx.updateTable('users').set({ workspace_id: other }).execute(),
    );
    await t.rejects(move, code('42501'));
    t.equal((await store.asSystem((tx) => tx.selectFrom('users').select('id').execute())).length, 2);
  },
);

t.test('an empty or unset workspace and an empty or unset look-up name nothing', async (t) => {
  const { store, connection } = await testDatabase(t);
  await twoWorkspaces(store);
  await store.asSystem((tx) =>
    tx
      .insertInto('journal')
      .values(line(null, 0n, '2026-01-01'))
      .execute(),
  );
  for (const workspace of ['', null]) {
    for (const lookup of ['', null]) {
      t.equal(await found(connection, { 'sallyport.workspace': workspace, 'sallyport.lookup': lookup }), 0);
    }
  }
  await t.rejects(
    store.asWorkspace('', async () => {}),
    TypeError,
  );
  await t.rejects(
    store.asLookup('', async () => {}),
    TypeError,
  );
  await t.rejects(
    store.asWorkspace("x'; drop table users; --", async () => {}),
    TypeError,
    'an id has no space',
  );
  t.equal(
    await store
      .asWorkspace("'||'", (tx) => tx.selectFrom('users').selectAll().execute())
      .then((rows) => rows.length),
    0,
  );
});

t.test(
  'a look-up finds the one token of that exact prefix, to read only, and nothing of its workspace',
  async (t) => {
    const { store } = await testDatabase(t);
    const { mine, prefixes } = await twoWorkspaces(store);
    await store.asLookup(prefixes.mine, async (tx) => {
      const tokens = await tx
        .selectFrom('tokens')
        .select(['prefix', 'workspace_id', 'requests_per_minute'])
        .execute();
      t.same(tokens, [{ prefix: prefixes.mine, workspace_id: mine, requests_per_minute: 600 }]);
      t.same(await tx.selectFrom('users').selectAll().execute(), []);
      const { numUpdatedRows } = await tx
        .updateTable('tokens')
        .set({ revoked_at: null })
        .executeTakeFirstOrThrow();
      t.equal(numUpdatedRows, 0n);
    });
    for (const near of ['spt_%', 'spt_aaaaaaaaaaa', 'SPT_AAAAAAAAAAAA', 'spt_aaaaaaaaaaaa_']) {
      t.same(await store.asLookup(near, (tx) => tx.selectFrom('tokens').select('id').execute()), [], near);
    }
  },
);

t.test('what a stranger left in a pooled session does not widen the view', async (t) => {
  const { connection, store } = await testDatabase(t);
  const { mine, prefixes } = await twoWorkspaces(store);
  const pooled = openStore({ connection, maxConnections: 1 });
  t.teardown(() => pooled.close());
  await pooled.asSystem(async (tx) => {
    await sql`select set_config('sallyport.workspace', ${mine}, false), set_config('sallyport.lookup', ${prefixes.mine}, false)`.execute(
      tx,
    );
  });
  const other = newId('ws');
  t.same(await pooled.asWorkspace(other, (tx) => tx.selectFrom('tokens').select('id').execute()), []);
  t.same(
    await pooled.asLookup('spt_cccccccccccc', (tx) => tx.selectFrom('tokens').select('id').execute()),
    [],
  );
});

t.test('the owner of the tables sees no row without taking a role', async (t) => {
  const { store, owner } = await testDatabase(t);
  const [user] = await owner<{ isSuperuser: boolean }>(
    'select rolsuper as "isSuperuser" from pg_roles where rolname = current_user',
  );
  await twoWorkspaces(store);
  // TEST_DATABASE_URL may name a superuser, whom row security does not bind.
  const hidden = user?.isSuperuser === true ? [] : ['workspaces', 'users', 'tokens'];
  for (const table of [...hidden, 'usage_events', 'usage_events_default']) {
    t.same(await owner(`select * from ${table}`), [], table);
  }
});

t.test('a workspace cannot write its journal or usage, and no role reaches a partition', async (t) => {
  const { store } = await testDatabase(t);
  const { mine } = await twoWorkspaces(store);
  await t.rejects(
    store.asWorkspace(mine, (tx) =>
      tx
        .insertInto('journal')
        .values(line(mine, 0n, '2026-01-01'))
        .execute(),
    ),
    code('42501'),
  );
  for (const table of ['journal_default', 'usage_events_default']) {
    for (const as of [
      store.asSystem,
      <T>(work: Parameters<typeof store.asSystem<T>>[0]) => store.asWorkspace(mine, work),
    ]) {
      await t.rejects(
        as((tx) => sql`select from ${sql.table(table)}`.execute(tx)),
        code('42501'),
        table,
      );
    }
  }
});

t.test('a token cannot belong to a user of another workspace', async (t) => {
  const { store } = await testDatabase(t);
  const { mine, other } = await twoWorkspaces(store);
  const stranger = await store.asWorkspace(other, (tx) =>
    tx.selectFrom('users').select('id').executeTakeFirstOrThrow(),
  );
  const borrow = store.asWorkspace(mine, (tx) =>
    insertToken(tx, { workspaceId: mine, userId: stranger.id, prefix: 'spt_dddddddddddd' }),
  );
  await t.rejects(borrow, code('23503'));
});

t.test('a user who is deleted takes his tokens along', async (t) => {
  const { store } = await testDatabase(t);
  const { mine, prefixes } = await twoWorkspaces(store);
  await store.asWorkspace(mine, (tx) => tx.deleteFrom('users').execute());
  t.same(await store.asLookup(prefixes.mine, (tx) => tx.selectFrom('tokens').selectAll().execute()), []);
  t.equal(
    (await store.asLookup(prefixes.other, (tx) => tx.selectFrom('tokens').selectAll().execute())).length,
    1,
  );
});
