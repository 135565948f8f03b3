import { type RawBuilder, sql } from 'kysely';
import t from 'tap';
import { testDatabase } from '../support/database.ts';
import type { Store } from '../../src/db/store.ts';
import { hourlyRows } from '../../src/journal/hourly-rows.ts';
import { hourlyTypes, names } from '../../src/journal/usage-columns.ts';
import { checkSums } from '../../src/journal/verify-sums.ts';
import { openTable } from '../../src/journal/verify-table.ts';

const run = (store: Store, statement: RawBuilder<unknown>) => store.asSystem((tx) => statement.execute(tx));

/** So many uses of a workspace, one every so many seconds from then on. */
const uses = (workspace: string, from: string, count: number, everySeconds: number) => sql`
  insert into usage_events (month, workspace_id, call_id, attempt, final, started_at, ended_at, token_id, user_id, key_id, provider, model,
    operation, is_stream, outcome, end_reason, usage_source, input_tokens, request_bytes, response_bytes, total_ms, receipt)
  select date_trunc('month', at, 'UTC') at time zone 'UTC', ${workspace}, ${`call ${workspace} ${from} `} || i, 1, true, at, at, 'tok_' || i % 3, null,
    'key_1', 'openai', 'gpt-4o', 'openai.chat', true, 'ok', 'complete', 'provider', i, 1, 1, 1, 'r'
  from generate_series(0, ${count - 1}::integer) as i, lateral (select ${from}::timestamptz + i * ${everySeconds}::integer * interval '1 second' as at) as a`;

const sumUp = sql`insert into usage_hourly (${names(hourlyTypes)}) select ${names(hourlyTypes)} from (${hourlyRows(sql`true`)}) as expected`;

async function faultsOf(
  store: Pick<Store, 'asSystem'>,
  most?: number,
  since: string | null = null,
  retired: readonly string[] = [],
): Promise<readonly string[]> {
  const faults: string[] = [];
  const report = ({ message }: { readonly message: string }) => {
    faults.push(
      message.replace(/^The sums of (.*):00:00\.000Z in (.*) are not those of usage_events\.$/, '$1 $2'),
    );
  };
  await checkSums(store, since === null ? null : new Date(since), retired, report, most);
  return faults;
}

const thisMonth = `${new Date().toISOString().slice(0, 7)}-01`;

t.test('what is wrong with sums is found in pieces of any size, in the order of hours', async (t) => {
  const { store } = await testDatabase(t);
  // A month without a partition of its own, too, and one workspace whose name begins with another's.
  for (const [workspace, from, count] of [
    ['ws_a', `${thisMonth}T00:10:00Z`, 40],
    ['ws_a', '2020-02-03T00:00:00Z', 10],
    ['ws_ab', `${thisMonth}T02:00:00Z`, 9],
    ['ws_b', '2020-03-31T22:00:00Z', 12],
    ['ws_c', `${thisMonth}T03:00:00Z`, 1],
  ] as const)
    await run(store, uses(workspace, from, count, 1200));
  await run(store, sumUp);
  for (const most of [1, 4, 1000]) t.same(await faultsOf(store, most), [], `${most}`);

  await run(
    store,
    sql`update usage_hourly set input_tokens = input_tokens + 1
    where workspace_id = 'ws_a' and hour = ${`${thisMonth}T05:00:00Z`} and token_id = 'tok_1'`,
  );
  await run(store, sql`delete from usage_hourly where workspace_id = 'ws_ab' or workspace_id = 'ws_c'`);
  await run(store, sql`delete from usage_events where workspace_id = 'ws_b' and started_at >= '2020-04-01'`);
  // Sums of a month and a workspace that have no rows at all, before, among and behind the others.
  for (const [workspace, hour] of [
    ['ws_0', '2019-01-01T00:00:00Z'],
    ['ws_a', '2019-05-05T05:00:00Z'],
    ['ws_aa', '2021-01-01T00:00:00Z'],
    ['ws_z', '2022-01-01T00:00:00Z'],
  ])
    await run(
      store,
      sql`insert into usage_hourly values (${workspace}, ${hour}, 't', 'u', 'k', 'p', 'm', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)`,
    );
  const young = [
    `${thisMonth}T02 ws_ab`,
    `${thisMonth}T03 ws_ab`,
    `${thisMonth}T03 ws_c`,
    `${thisMonth}T04 ws_ab`,
    `${thisMonth}T05 ws_a`,
  ];
  const all = [
    '2019-01-01T00 ws_0',
    '2019-05-05T05 ws_a',
    '2020-04-01T00 ws_b',
    '2020-04-01T01 ws_b',
    '2021-01-01T00 ws_aa',
    '2022-01-01T00 ws_z',
    ...young,
  ];
  for (const most of [1, 4, 1000]) {
    t.same(await faultsOf(store, most), all, `pieces of ${most}`);
    t.same(
      await faultsOf(store, most, `${thisMonth}T03:59:00Z`),
      young.slice(1),
      `pieces of ${most} from then on`,
    );
    const retired = ['2019-01-01', '2020-04-01', thisMonth];
    t.same(
      await faultsOf(store, most, null, retired),
      ['2019-05-05T05 ws_a', '2021-01-01T00 ws_aa', '2022-01-01T00 ws_z'],
      `pieces of ${most} without months that were dropped`,
    );
  }
});

t.test('no transaction of comparing and counting reads more for there being more rows', async (t) => {
  const { store } = await testDatabase(t);
  for (const month of [thisMonth, '2020-02-01']) await run(store, uses('ws_a', month, 5000, 16));
  await run(store, uses('ws_b', thisMonth, 1000, 16));
  await run(store, sumUp);
  /** Entries of indexes and rows of tables that this connection has read. */
  const reads = sql<{ count: bigint }>`
    select sum(pg_stat_get_xact_tuples_returned(oid)) as count from pg_class where relname ~ '^usage_(events|hourly)'`;
  let most = 0;
  const watched: Pick<Store, 'asSystem'> = {
    asSystem: (work) =>
      store.asSystem(async (tx) => {
        const count = async () => Number((await reads.execute(tx)).rows[0]?.count);
        const before = await count();
        const result = await work(tx);
        most = Math.max(most, (await count()) - before);
        return result;
      }),
  };
  t.same(await faultsOf(watched, 500), []);
  t.ok(most > 500 && most < 4000, `${most}`);

  most = 0;
  t.equal((await openTable(watched, 500)).usageRows(), null, 'more than are counted');
  t.ok(most < 4000, `${most}`);
  t.equal((await openTable(store, 11_000)).usageRows(), 11_000);
});
