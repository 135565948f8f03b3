import { mkdir, readdir, readFile, rename, rmdir, writeFile } from 'node:fs/promises';
import t from 'tap';
import type { Store } from '../../src/db/store.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { settleCrashed } from '../../src/journal/recovery.ts';
import { createShipper, type Shipper, type ShipperOptions } from '../../src/journal/shipper.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { testDatabase } from '../support/database.ts';
import {
  begin,
  end,
  folder,
  linesOf,
  newCall,
  openTestJournal,
  relay,
  segmentsOf,
  workspaceId,
} from './fixture.ts';

t.setTimeout(90_000);

interface Teardown {
  teardown(work: () => Promise<unknown>): void;
}

function shipperOf(
  t: Teardown,
  store: Pick<Store, 'asSystem'>,
  journal: Journal,
  more: Partial<ShipperOptions> = {},
): Shipper {
  const shipper = createShipper({ store, journal, clock: Date.now, intervalMs: 10, ...more });
  t.teardown(() => shipper.stop());
  return shipper;
}

const count = (store: Store, table: 'journal' | 'usage_events'): Promise<number> =>
  store.asSystem(async (tx) => {
    const row = await tx
      .selectFrom(table)
      .select(({ fn }) => fn.countAll<bigint>().as('rows'))
      .executeTakeFirstOrThrow();
    return Number(row.rows);
  });

t.test('lines, usage rows and hourly sums arrive as the records say', async (t) => {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir);
  const startedAt = '2026-11-22T13:59:59.900Z';
  const call = newCall(startedAt);
  const receipt = await journal.append('use.begin', begin(call));
  await journal.append(
    'use.end',
    end(call, receipt, {
      final: false,
      outcome: 'UPSTREAM_OVERLOADED',
      status: 503,
      usage: null,
      usageSource: 'unknown',
      costNanoUsd: null,
    }),
  );
  await relay(journal, { ...call, attempt: 2 }, { keyFingerprint: 'f00d5ea1f00d5ea1' });
  await relay(journal, newCall(startedAt), {
    outcome: 'UPSTREAM_STREAM_BROKEN',
    endReason: 'upstream_broken',
    usage: null,
    usageSource: 'unknown',
    costNanoUsd: null,
  });
  await shipperOf(t, store, journal).flush();

  const lines = await linesOf(dir);
  const rows = await store.asSystem((tx) => tx.selectFrom('journal').selectAll().orderBy('seq').execute());
  t.same(
    rows.map(({ line }) => line),
    lines,
  );
  t.match(rows[1], {
    stream: journal.stream,
    seq: 1n,
    workspace_id: workspaceId,
    event: 'use.begin',
    call_id: call.callId,
    key_id: 'key_1',
    token_id: 'tok_1',
    user_id: 'usr_1',
  });
  t.equal(rows[1]?.hash.toString('hex'), JSON.parse(lines[1] as string).hash);

  const attempts = await store.asSystem((tx) =>
    tx.selectFrom('usage_events').selectAll().where('call_id', '=', call.callId).orderBy('attempt').execute(),
  );
  t.match(attempts[0], {
    attempt: 1,
    final: false,
    key_fingerprint: null, // recorded before records had it
    input_tokens: null,
    output_tokens: null,
    cost_nano_usd: null,
    usage_source: 'unknown',
    outcome: 'UPSTREAM_OVERLOADED',
    status: 503,
  });
  t.match(attempts[1], {
    attempt: 2,
    final: true,
    key_fingerprint: 'f00d5ea1f00d5ea1',
    input_tokens: 10n,
    cache_write_input_tokens: null,
    output_tokens: 20n,
    cost_nano_usd: 125000n,
    first_byte_ms: 13,
    total_ms: 250,
    provider_usage: { prompt_tokens: 10 },
  });

  const hours = await store.asWorkspace(workspaceId, (tx) =>
    tx.selectFrom('usage_hourly').selectAll().execute(),
  );
  t.equal(hours.length, 1);
  t.match(hours[0], {
    hour: new Date('2026-11-22T13:00:00Z'),
    calls: 2n,
    attempts: 3n,
    failed: 1n,
    input_tokens: 10n,
    cached_input_tokens: 4n,
    output_tokens: 20n,
    unknown_usage_calls: 1n,
    cost_nano_usd: 125000n,
    unknown_cost_calls: 1n,
  });
  t.match(await verifyJournal({ dir, store }), {
    ok: true,
    streams: 1,
    records: 7,
    openCalls: 0,
    problems: [],
  });
});

t.test('appends prompt shipping by themselves', async (t) => {
  const { store } = await testDatabase(t);
  const journal = await openTestJournal(t, await folder(t));
  const shipped = Promise.withResolvers<void>();
  const watched: Pick<Store, 'asSystem'> = {
    async asSystem(work) {
      const result = await store.asSystem(work);
      if ((await count(store, 'usage_events')) > 0) shipped.resolve();
      return result;
    },
  };
  shipperOf(t, watched, journal).start();
  await relay(journal);
  const since = performance.now();
  await shipped.promise;
  t.ok(performance.now() - since < 2000);
});

t.test('two shippers at once, and one that ships again from the beginning, never double a row', async (t) => {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir, { segmentBytes: 100_000 });
  const alarms: unknown[] = [];
  const onAlarm = (fault: unknown): void => void alarms.push(fault);
  const shippers = [shipperOf(t, store, journal, { onAlarm }), shipperOf(t, store, journal, { onAlarm })];
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(Array.from({ length: 200 }, () => relay(journal)));
    await Promise.all(shippers.map((shipper) => shipper.flush()));
  }
  await shipperOf(t, store, journal, { onAlarm }).flush();
  t.same(alarms, []);
  t.equal(await count(store, 'journal'), 2001);
  t.equal(await count(store, 'usage_events'), 1000);
  t.match(await verifyJournal({ dir, store }), { ok: true, records: 2001, problems: [] });
});

t.test('an attempt that ends twice has one row, and is in the sums once, as it ended first', async (t) => {
  const { store } = await testDatabase(t);
  const journal = await openTestJournal(t, await folder(t));
  const shipper = shipperOf(t, store, journal);
  const call = (): ReturnType<typeof newCall> => newCall('2026-11-22T13:00:00.000Z');
  const [known, fresh] = [call(), call()];
  await relay(journal, known);
  await shipper.flush();
  // Its second end comes with one that is new, and with both ends of another.
  await relay(journal, known, { costNanoUsd: '7' });
  await relay(journal, fresh);
  await relay(journal, fresh, { costNanoUsd: '7' });
  await relay(journal, call());
  await shipper.flush();
  t.equal(await count(store, 'journal'), 11);
  t.equal(await count(store, 'usage_events'), 3);
  const hours = await store.asWorkspace(workspaceId, (tx) =>
    tx.selectFrom('usage_hourly').selectAll().execute(),
  );
  t.equal(
    hours.reduce((sum, { calls }) => sum + calls, 0n),
    3n,
  );
  t.equal(
    hours.reduce((sum, { cost_nano_usd: cost }) => sum + cost, 0n),
    375_000n,
  );
});

t.test(
  'the database fails in every place of a batch: lag says so, and nothing is lost or doubled',
  async (t) => {
    const { store } = await testDatabase(t);
    const dir = await folder(t);
    const journal = await openTestJournal(t, dir);
    let left = 0;
    // Refused before the transaction, or cut after its COMMIT with the answer lost.
    const flaky: Pick<Store, 'asSystem'> = {
      async asSystem(work) {
        left -= 1;
        if (left === 0) throw new Error('database gone');
        const result = await store.asSystem(work);
        if (left === 1) {
          left = 0;
          throw new Error('the answer to COMMIT was lost');
        }
        return result;
      },
    };
    const shipper = shipperOf(t, flaky, journal);
    for (let fails = 1; fails < 8; fails += 1) {
      await Promise.all(Array.from({ length: 50 }, () => relay(journal)));
      left = fails;
      await shipper.flush().catch(() => undefined);
    }
    left = 1;
    await relay(journal);
    await t.rejects(shipper.flush());
    t.match(shipper.lag(), { records: 2 });
    t.ok(shipper.lag().bytes > 500);
    left = 0;
    await shipper.flush();
    t.same(shipper.lag(), { records: 0, bytes: 0, seconds: 0 });
    t.match(await verifyJournal({ dir, store }), { ok: true, records: 1 + 7 * 100 + 2 });
  },
);

t.test('records that are written and not acknowledged are not shipped', async (t) => {
  const { store } = await testDatabase(t);
  const journal = await openTestJournal(t, await folder(t));
  await relay(journal);
  const behind: Journal = {
    ...journal,
    own: () => journal.own().map((head) => ({ ...head, seq: head.seq - 1 })),
  };
  await shipperOf(t, store, behind).flush();
  t.equal(await count(store, 'journal'), 2);
  t.equal(await count(store, 'usage_events'), 0);
});

t.test('streams of dead processes are shipped, and deleted once they are settled', async (t) => {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  const dead = await openTestJournal(t, dir, { segmentBytes: 5000 });
  await Promise.all(Array.from({ length: 30 }, () => relay(dead)));
  for (let i = 0; i < 10; i += 1) await relay(dead);
  await dead.append('use.begin', begin(newCall()));
  await dead.close();
  const journal = await openTestJournal(t, dir);
  const shipper = shipperOf(t, store, journal);
  await shipper.flush();
  t.equal(await count(store, 'usage_events'), 40);
  t.ok(
    (await readdir(dir)).some((name) => name.includes(dead.stream.replace(':', '.'))),
    'its open call is not settled yet',
  );
  await settleCrashed({ journal, lookup: () => Promise.reject(new Error('not asked for')) });
  await shipper.flush();
  t.notOk((await readdir(dir)).some((name) => name.includes(dead.stream.replace(':', '.'))));
  t.equal(await count(store, 'usage_events'), 41);
  t.match(await verifyJournal({ dir, store }), { ok: true, streams: 2, openCalls: 0 });
});

t.test('a living stream’s segments go when they are shipped and no open call stands in them', async (t) => {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir, { segmentBytes: 3000 });
  for (let i = 0; i < 5; i += 1) await relay(journal);
  const call = newCall();
  const receipt = await journal.append('use.begin', begin(call));
  for (let i = 0; i < 5; i += 1) await relay(journal);
  const shipper = shipperOf(t, store, journal);
  await shipper.flush();
  const held = (await segmentsOf(dir)).length;
  t.ok(held > 2);
  t.ok((await linesOf(dir)).some((line) => line.includes(call.callId)));
  await journal.append('use.end', end(call, receipt));
  await shipper.flush();
  t.equal((await segmentsOf(dir)).length, 1);
  t.match(await verifyJournal({ dir, store }), { ok: true, records: 23 });
});

t.test('a file that does not fit what was shipped raises an alarm and stops this stream alone', async (t) => {
  const { owner, store } = await testDatabase(t);
  const dir = await folder(t);
  const first = await openTestJournal(t, dir);
  await relay(first);
  await first.close();
  const journal = await openTestJournal(t, dir);
  const position = { stream: first.stream, next_seq: 2n, head_hash: Buffer.alloc(32, 7), closed: false };
  await store.asSystem((tx) => tx.insertInto('journal_streams').values(position).execute());
  const alarms: unknown[] = [];
  const shipper = shipperOf(t, store, journal, { onAlarm: (fault) => void alarms.push(fault) });
  await relay(journal);
  await shipper.flush();
  await shipper.flush();
  t.match(alarms, [{ stream: first.stream, kind: 'mismatch' }]);
  t.equal(alarms.length, 1);
  t.equal(await count(store, 'journal'), 3, 'the other stream is shipped');
  await t.rejects(owner('update journal set line = line'), /append-only/);
});

const same = (row: object, values: readonly unknown[]): boolean =>
  JSON.stringify(Object.values(row)) === JSON.stringify(values);

t.test('what clients and providers put into a record never stops shipping', async (t) => {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir);
  const monsters = [
    { model: 'a\u0000b', providerUsage: { 'x\u0000': '\\u0000\u0000', n: 1e308 } },
    { model: '\ud800', providerUsage: { a: '\udfff' } },
    { model: 'ü'.repeat(100_000), upstreamRequestId: '😀'.repeat(5000) },
    {
      usage: {
        inputTokens: 1e300,
        cachedInputTokens: -1,
        cacheWriteInputTokens: 0.5,
        outputTokens: 2 ** 53,
        reasoningTokens: 0,
      },
    },
    {
      usage: [1],
      startedAt: 'yesterday',
      endedAt: '+275760-09-13T00:00:00Z',
      status: 1e9,
      totalMs: 1e12,
      firstByteMs: -3,
      keyVersion: 2 ** 40,
    },
    { usageSource: 'guessed', costNanoUsd: '9'.repeat(30), requestBytes: -1 },
    { workspaceId: null },
    { callId: null },
    { attempt: 'x' },
    { provider: null, outcome: null, operation: null, endReason: null },
    { model: "'); drop table journal; --", tokenId: '{","}' },
    { model: 'NULL', tokenId: 'null', userId: '', keyId: ' ' },
    { model: 'a\\"b\\', tokenId: '\\', userId: 'two\nlines', keyId: '"{}"' },
  ];
  for (const monster of monsters) await relay(journal, newCall(), monster);
  await shipperOf(t, store, journal).flush();
  t.equal(await count(store, 'journal'), 1 + 2 * monsters.length);
  t.equal(await count(store, 'usage_events'), monsters.length - 3);
  const rows = await store.asSystem((tx) =>
    tx.selectFrom('usage_events').select(['model', 'token_id', 'user_id', 'key_id']).execute(),
  );
  for (const { model = '', tokenId = '', userId = '', keyId = '' } of monsters.slice(-2))
    t.ok(
      rows.some((row) => same(row, [model, tokenId, userId, keyId])),
      `${model} arrives as it is`,
    );
  const { problems } = await verifyJournal({ dir, store });
  // The ends that lost their call's name have no begin, and their begins no end.
  t.same(
    problems.filter(({ kind }) => kind !== 'missing'),
    [],
  );
});

t.test('a backlog of 20 000 records is caught up with', async (t) => {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir, { sync: 'relaxed' });
  for (let i = 0; i < 10; i += 1) await Promise.all(Array.from({ length: 1000 }, () => relay(journal)));
  const since = performance.now();
  await shipperOf(t, store, journal).flush();
  const rate = 20_000 / ((performance.now() - since) / 1000);
  t.comment(`${Math.round(rate)} records a second`);
  t.equal(await count(store, 'usage_events'), 10_000);
  // Seven shipments and more, made in the memory of two.
  t.match(await verifyJournal({ dir, store }), { ok: true, records: 20_001, problems: [] });
  // The bar is 20 000 on a machine that does nothing else (bench/ship.ts); here other tests run beside it.
  t.ok(rate > 1000, `${rate}`);
});

t.test('months without a partition are shipped all the same, and stay where they are', async (t) => {
  const { owner, store } = await testDatabase(t);
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir);
  const errors: unknown[] = [];
  const now = new Date();
  // By this clock the database makes none: it is years ahead, then back, after rows of the next month were there before its partition.
  const next = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1));
  const part = (month: Date): string => `journal_${month.toISOString().slice(0, 7).replace('-', '_')}`;
  await owner(`drop table ${part(next)}`);
  let at = Date.UTC(2077, 4, 31, 23, 59, 59);
  const options = { clock: () => at, onError: (error: unknown) => void errors.push(error) };
  const shipper = shipperOf(t, store, journal, options);
  await relay(journal);
  await shipper.flush();
  t.match(errors, [{ code: '22003' }]);
  await owner('revoke execute on function create_month_partitions(date) from sallyport_system');
  at = next.getTime();
  const other = shipperOf(t, store, journal, options);
  await relay(journal);
  await other.flush();
  t.match(errors, [{ code: '22003' }, { code: '42501' }]);
  await owner('grant execute on function create_month_partitions(date) to sallyport_system');
  at += 86_400_000;
  const third = shipperOf(t, store, journal, options);
  await relay(journal);
  await third.flush();
  t.equal(errors.length, 2, 'a month whose rows lie in the default partition is left there');
  const months = await store.asSystem((tx) =>
    tx.selectFrom('journal').select('month').orderBy('seq').execute(),
  );
  t.same(new Set(months.map(({ month }) => month)), new Set(['2077-05-01', next.toISOString().slice(0, 10)]));
  t.equal(months.length, 7);
  t.match(await verifyJournal({ dir, store }), { ok: true, records: 7 });
});

t.test(
  'files grow while the database is away up to nine tenths of their room, and the gate opens by itself',
  async (t) => {
    const { store } = await testDatabase(t);
    const gate: boolean[] = [];
    const room = { maxBytes: 700_000, onGate: (closed: boolean) => void gate.push(closed) };
    const dir = await folder(t);
    const journal = await openTestJournal(t, dir, { sync: 'relaxed', ...room });
    let isGone = true;
    let at = Date.now();
    const away: Pick<Store, 'asSystem'> = {
      asSystem: (work) =>
        isGone
          ? Promise.reject(Object.assign(new Error('away'), { code: 'ECONNREFUSED' }))
          : store.asSystem(work),
    };
    const shipper = shipperOf(t, away, journal, { clock: () => at });
    shipper.start();
    await relay(journal);
    await t.rejects(shipper.flush());
    while (journal.isOpen()) await relay(journal).catch(() => {});
    const [{ seq, bytes } = { seq: 0, bytes: 0 }] = journal.own();
    at += 90_000;
    t.match(shipper.lag(), { records: seq + 1, bytes });
    t.ok(shipper.lag().seconds >= 90, `${shipper.lag().seconds} s`);
    t.ok(bytes > 620_000 && bytes < 700_000, `${bytes} bytes`);
    // So it does for a start that finds the files, and no database.
    const found = shipperOf(t, away, await openTestJournal(t, dir, { maxBytes: 2_000_000 }), {
      clock: () => at,
    });
    await t.rejects(found.flush());
    t.equal(found.lag().records, 1, 'others’ streams are theirs to ship while they live');
    await t.rejects(relay(journal), { code: 'JOURNAL_UNAVAILABLE' });
    isGone = false;
    await shipper.flush();
    t.same(shipper.lag(), { records: 0, bytes: 0, seconds: 0 });
    t.same(gate, [true, false]);
    await relay(journal);
    await shipper.stop();
    await journal.close();
    isGone = true;
    const late = shipperOf(t, away, await openTestJournal(t, dir), { clock: () => Date.now() + 60_000 });
    await t.rejects(late.flush());
    t.ok(
      late.lag().records > 3 && late.lag().seconds > 59,
      'what a dead process left counts from its records on',
    );
  },
);

t.test('a tampered file is not shipped past the damage', async (t) => {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  const dead = await openTestJournal(t, dir);
  for (let i = 0; i < 3; i += 1) await relay(dead);
  await dead.close();
  const [path] = (await segmentsOf(dir)) as [string];
  const lines = (await readFile(path, 'utf8')).split('\n');
  lines[4] = (lines[4] as string).replace('"ok"', '"OK"').replace('"status":200', '"status":201');
  await writeFile(path, lines.join('\n'));
  const journal = await openTestJournal(t, dir);
  const alarms: unknown[] = [];
  await shipperOf(t, store, journal, { onAlarm: (fault) => void alarms.push(fault) }).flush();
  t.match(alarms, [{ stream: dead.stream, seq: 4, kind: 'hash' }]);
  t.equal(await count(store, 'journal'), 4 + 1);
});

for (const segment of ['first', 'middle'] as const) {
  t.test(`a stream whose ${segment} segment can’t be read keeps no other back`, async (t) => {
    const { store } = await testDatabase(t);
    const dir = await folder(t);
    const dead = await openTestJournal(t, dir, { segmentBytes: 1000 });
    for (let i = 0; i < 3; i += 1) await relay(dead);
    await dead.close();
    const segments = await segmentsOf(dir);
    const journal = await openTestJournal(t, dir);
    await relay(journal);
    const path = (segment === 'first' ? segments[0] : segments[2]) as string;
    await rename(path, `${path}.aside`);
    await mkdir(path);
    let now = Date.now();
    const told: unknown[] = [];
    const alarms: unknown[] = [];
    const shipper = shipperOf(t, store, journal, {
      clock: () => now,
      onAlarm: (fault) => void alarms.push(fault),
      onError: (error, stream) => void told.push([(error as { code?: string }).code, stream]),
    });
    await shipper.flush();
    t.equal(await count(store, 'usage_events'), 1, 'the living stream’s call is there');
    await shipper.flush();
    t.same(told, [['EISDIR', dead.stream]], 'told once');
    now += 1000;
    await shipper.flush();
    now += 1000;
    await shipper.flush();
    t.equal(told.length, 2, 'tried again later, and then later still');
    await rmdir(path);
    await rename(`${path}.aside`, path);
    now += 1000;
    await shipper.flush();
    t.equal(await count(store, 'usage_events'), 4);
    t.same([told.length, alarms], [2, []]);
    await settleCrashed({ journal, lookup: () => Promise.reject(new Error('not asked for')) });
    await shipper.flush();
    t.match(await verifyJournal({ dir, store }), { ok: true });
  });
}
