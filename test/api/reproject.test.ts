import t from 'tap';
import { newId } from '../../src/ids.ts';
import type { Difference } from '../../src/journal/reproject.ts';
import { checkSums } from '../../src/journal/verify-sums.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const me = await world.callerOf(owner);
const key = (await call(owner, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', value: newKey() }))
  .json.id;
const token = (await call(owner, 'POST', '/api/tokens', { name: 'g' })).json.id;

/** A call as the gateway records it: `failed` attempts before the last one, as fail-over makes them. */
async function use(
  more: { failed?: number; crashed?: boolean; realtime?: boolean; twice?: boolean; cost?: string } = {},
): Promise<string> {
  const callId = newId('call');
  const last = (more.failed ?? 0) + 1;
  for (let attempt = 1; attempt <= last; attempt += 1) {
    const isLast = attempt === last;
    const at = new Date(world.clock()).toISOString();
    const identity = {
      callId,
      attempt,
      workspaceId: me.workspaceId,
      tokenId: token,
      userId: me.userId,
      keyId: attempt % 2 === 1 ? key : null,
      keyVersion: 1,
      keySource: 'own',
      keyFingerprint: '0123456789abcdef',
      provider: 'openai',
      operation: more.realtime === true ? 'openai.realtime' : 'openai.chat',
      model: more.realtime === true ? 'gpt-realtime\u0000' : 'gpt-4o',
      isStream: true,
      startedAt: at,
    };
    const begin = await world.journal.append('use.begin', identity);
    const isCrash = isLast && more.crashed === true;
    const isKnown = isLast && !isCrash;
    const end = {
      ...identity,
      final: isLast,
      beginSeq: begin.seq,
      beginStream: begin.stream,
      receipt: begin.text,
      endedAt: new Date(world.clock()).toISOString(),
      outcome: isCrash ? 'crash' : isLast ? 'ok' : 'UPSTREAM_OVERLOADED',
      status: isKnown ? 200 : null,
      endReason: isCrash ? 'crash' : 'complete',
      upstreamRequestId: isKnown ? 'req_1' : null,
      firstByteMs: isKnown ? 3 : null,
      totalMs: isCrash ? null : 9,
      requestBytes: isCrash ? null : 300,
      responseBytes: isCrash ? null : 700,
      usage: isKnown
        ? {
            inputTokens: 11,
            cachedInputTokens: 2,
            cacheWriteInputTokens: null,
            outputTokens: 5,
            reasoningTokens: 1,
          }
        : null,
      usageSource: isKnown ? 'provider' : 'unknown',
      providerUsage: isKnown ? { responses: 3, word: '\u0000\ud83d', tokens: 1e300 } : null,
      costNanoUsd: isKnown ? (more.cost ?? '9007199254740993') : null,
      priceVersion: isKnown ? 'v1' : null,
    };
    await world.journal.append('use.end', end);
    if (more.twice === true)
      await world.journal.append('use.end', { ...end, outcome: 'crash', costNanoUsd: null });
  }
  return callId;
}

for (let i = 0; i < 4; i += 1) {
  await use();
  await use({ failed: 2 });
  await use({ crashed: true });
  await use({ failed: 1, crashed: true });
  await use({ realtime: true });
}
const [victim, second] = [await use(), await use({ twice: true })];
await world.shipper.flush();

const events = () =>
  world.store.asSystem((tx) =>
    tx.selectFrom('usage_events').selectAll().orderBy('call_id').orderBy('attempt').execute(),
  );
const sums = () =>
  world.store.asSystem((tx) =>
    tx.selectFrom('usage_hourly').selectAll().orderBy('hour').orderBy('key_id').orderBy('model').execute(),
  );
const uses = async () => ({
  key: (
    await world.store.asSystem((tx) =>
      tx.selectFrom('provider_keys').select('last_used_at').where('id', '=', key).executeTakeFirst(),
    )
  )?.last_used_at,
  token: (
    await world.store.asSystem((tx) =>
      tx.selectFrom('tokens').select('last_used_at').where('id', '=', token).executeTakeFirst(),
    )
  )?.last_used_at,
});

async function reproject(body: Record<string, unknown> = {}): Promise<Difference[]> {
  const differences: Difference[] = [];
  let cursor: string | null = null;
  do {
    const answer: { status: number; json: any } = await call(owner, 'POST', '/api/journal/reproject', {
      ...body,
      cursor,
    });
    if (answer.status !== 200) throw new Error(JSON.stringify(answer.json));
    differences.push(...answer.json.differences);
    cursor = answer.json.cursor;
  } while (cursor !== null);
  return differences;
}

await reproject();
const [rowsBefore, sumsBefore, usesBefore] = [await events(), await sums(), await uses()];

t.test('what the records say is there already, and nothing is touched', async (t) => {
  t.equal(rowsBefore.length, 4 * 8 + 2);
  t.same(
    usesBefore.key,
    rowsBefore
      .filter((row) => row.key_id === key)
      .map((row) => row.ended_at)
      .toSorted((a, b) => Number(a) - Number(b))
      .at(-1),
  );
  t.same(await reproject(), []);
  t.same([await events(), await sums(), await uses()], [rowsBefore, sumsBefore, usesBefore]);
});

t.test('whatever somebody did to rows and sums is mended, and months without records stay', async (t) => {
  const old = newId('call');
  const asOwner = (table: string, statement: string) => world.tamper(table, statement);
  const [ghost, hour] = [newId('call'), '2024-05-01T10:00:00Z'];
  const columns = Object.keys(rowsBefore[0] ?? {})
    .filter((name) => !['month', 'call_id', 'started_at'].includes(name))
    .join(', ');
  const copy = (month: string, id: string, at: string) =>
    `insert into usage_events (month, call_id, started_at, ${columns}) select ${month}, '${id}', ${at}, ${columns} from usage_events where call_id = '${victim}'`;
  await asOwner('usage_events', copy(`'2024-05-01'`, old, `'${hour}'`));
  await asOwner('usage_events', copy('month', ghost, 'started_at'));
  await asOwner(
    'usage_hourly',
    `insert into usage_hourly select workspace_id, '${hour}', 'old', user_id, key_id, provider, model, 1, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0 from usage_hourly limit 1`,
  );
  const kept = await sums();

  const touched = rowsBefore.filter((row) => row.call_id !== victim && row.call_id !== second);
  const [a, b, c, d] = [0, 5, 9, 13].map((i) => touched[i]?.call_id);
  await asOwner(
    'usage_events',
    `update usage_events set cost_nano_usd = 1, provider_usage = '{}' where call_id = '${a}'`,
  );
  await asOwner(
    'usage_events',
    `update usage_events set workspace_id = 'ws_other', final = not final where call_id = '${b}'`,
  );
  await asOwner('usage_events', `delete from usage_events where call_id = '${c}'`);
  await asOwner(
    'usage_events',
    `update usage_events set started_at = started_at + interval '1 ms' where call_id = '${d}'`,
  );
  await asOwner(
    'usage_hourly',
    `update usage_hourly set calls = calls + 1 where model = 'gpt-4o' and hour > '2025-01-01'`,
  );
  await asOwner('usage_hourly', `delete from usage_hourly where model <> 'gpt-4o'`);
  await asOwner(
    'usage_hourly',
    `insert into usage_hourly select workspace_id, '2199-01-01', token_id, user_id, key_id, provider, model, 1, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0 from usage_hourly where hour > '2025-01-01' limit 1`,
  );
  await asOwner('provider_keys', `update provider_keys set last_used_at = '2098-01-01' where id = '${key}'`);
  await asOwner('tokens', `update tokens set last_used_at = null where id = '${token}'`);
  const damaged = [await events(), await sums()];

  const told = await reproject({ dryRun: true });
  t.same([await events(), await sums()], damaged, 'a dry run only says it');
  const mended = await reproject();
  t.ok(told.length >= 7 && mended.length >= told.length - 1, `${told.length}, ${mended.length}`);
  const whats = mended.map((one) => `${one.table} ${'what' in one ? one.what : ''}`);
  for (const what of [
    'usage_events missing',
    'usage_events changed',
    'usage_events without a record',
    'usage_hourly ',
    'provider_keys ',
    'tokens ',
  ])
    t.ok(whats.includes(what), what);
  t.same(
    (await events()).filter((row) => row.call_id !== old),
    rowsBefore,
  );
  t.equal((await events()).length, rowsBefore.length + 1, 'a month without records keeps its row');
  t.same(await sums(), kept, 'and its sums');
  t.same(await uses(), usesBefore);
  t.same(await reproject(), []);
  await world.shipper.flush();
  const records = (await call(owner, 'GET', '/api/audit?event=journal.*&limit=200')).json.data;
  t.ok(records.some((one: { event: string }) => one.event === 'journal.reprojected'));
  t.notMatch(JSON.stringify(records), victim);
  await asOwner('usage_events', `delete from usage_events where call_id = '${old}'`);
  await asOwner('usage_hourly', `delete from usage_hourly where token_id = 'old'`);
});

t.test('it runs while records are shipped, and nothing is counted twice', async (t) => {
  await world.tamper('usage_hourly', 'update usage_hourly set attempts = attempts + 5');
  await world.tamper('usage_events', `delete from usage_events where outcome = 'ok'`);
  const run = { isDone: false };
  const shipping = (async () => {
    let calls = 0;
    for (; !run.isDone || calls < 40; calls += 1) {
      await use({ failed: calls % 2 });
      await world.shipper.flush();
    }
    return calls;
  })();
  for (let i = 0; i < 3; i += 1) await reproject();
  run.isDone = true;
  const calls = await shipping;
  t.ok(calls >= 40);
  const faults: unknown[] = [];
  await checkSums(world.store, null, [], (fault) => faults.push(fault));
  t.same(faults, []);
  t.equal((await events()).filter((row) => row.final).length, 4 * 5 + 2 + calls);
  t.ok((await reproject()).every(({ table }) => table !== 'usage_events' && table !== 'usage_hourly'));
  t.same(await reproject(), []);
});

t.test('costs that nobody can have paid stop no shipping', async (t) => {
  const most = '9223372036854775807';
  for (let i = 0; i < 2; i += 1) {
    await use({ cost: most });
    await use({ cost: most });
    await world.shipper.flush();
  }
  const [{ cost } = { cost: 0n }] = await world.store.asSystem((tx) =>
    tx
      .selectFrom('usage_hourly')
      .select(({ fn }) => fn.max('cost_nano_usd').as('cost'))
      .execute(),
  );
  t.equal(cost, BigInt(most), 'a sum stays where it can go no further');
  await reproject();
  t.same(await reproject(), []);
  t.equal((await call(owner, 'GET', '/api/usage')).status, 200);
});

t.test('nobody but the operator, and with no place of his own making', async (t) => {
  const peer = await world.newUser(owner, 'owner');
  t.equal((await call(peer.token, 'POST', '/api/journal/reproject', {})).status, 403);
  const cursorOf = (place: unknown) => Buffer.from(JSON.stringify(place)).toString('base64url');
  for (const place of [
    null,
    [],
    {},
    { phase: 'records', month: '2026-99-01', stream: '', seq: 0 },
    { phase: 'rows', month: '2026-01-01', callId: "'", attempt: 2 ** 40 },
    { phase: 'sums', from: '2026-13-01T00:00:00.000Z' },
    { phase: 'records', month: '2026-01-01', stream: '', seq: -1 },
  ])
    t.equal(
      (await call(owner, 'POST', '/api/journal/reproject', { cursor: cursorOf(place) })).status,
      400,
      JSON.stringify(place),
    );
  t.same(world.faults, []);
});
