import t from 'tap';
import { newId } from '../../src/ids.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const me = await world.callerOf(owner);
const member = await world.newUser(owner, 'member');
const other = await world.newWorkspace('other');

interface Use {
  userId?: string;
  workspaceId?: string;
  startedAt: string;
  outcome?: string;
  model?: string | null;
  usage?: { inputTokens: number; outputTokens: number } | null;
  costNanoUsd?: string | null;
  keyId?: string | null;
  attempts?: number;
  tokenId?: string;
}

/** A call as the gateway records it. */
async function use(input: Use): Promise<string> {
  const callId = newId('call');
  const attempts = input.attempts ?? 1;
  const { usage = { inputTokens: 10, outputTokens: 5 }, costNanoUsd = null } = input;
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    const isLast = attempt === attempts;
    const identity = {
      callId,
      attempt,
      workspaceId: input.workspaceId ?? me.workspaceId,
      tokenId: input.tokenId ?? newId('tok'),
      userId: input.userId ?? me.userId,
      keyId: input.keyId ?? null,
      keyVersion: 1,
      provider: 'openai',
      keySource: 'own',
      operation: 'openai.chat',
      model: input.model ?? 'gpt-4o',
      isStream: true,
      startedAt: input.startedAt,
    };
    const begin = await world.journal.append('use.begin', identity);
    await world.journal.append('use.end', {
      ...identity,
      final: isLast,
      beginSeq: begin.seq,
      beginStream: begin.stream,
      receipt: begin.text,
      endedAt: new Date(Date.parse(input.startedAt) + 900).toISOString(),
      outcome: isLast ? (input.outcome ?? 'ok') : 'UPSTREAM_UNREACHABLE',
      status: isLast ? 200 : null,
      endReason: 'complete',
      upstreamRequestId: 'req_1',
      firstByteMs: 100,
      totalMs: 900,
      requestBytes: 300,
      responseBytes: 700,
      usage:
        isLast && usage !== null
          ? { ...usage, cachedInputTokens: 2, cacheWriteInputTokens: 0, reasoningTokens: null }
          : null,
      usageSource: isLast && usage !== null ? 'provider' : 'unknown',
      providerUsage: isLast && usage !== null ? { prompt_tokens: usage.inputTokens } : null,
      costNanoUsd: isLast ? costNanoUsd : null,
      priceVersion: null,
    });
  }
  return callId;
}

const retried = await use({ startedAt: '2026-03-01T10:15:00.000Z', attempts: 2 });
await use({ startedAt: '2026-03-01T10:45:00.000Z', costNanoUsd: '9007199254740993' });
await use({ startedAt: '2026-03-01T11:30:00.000Z', outcome: 'UPSTREAM_AUTH', usage: null });
await use({ startedAt: '2026-03-02T00:00:00.000Z', userId: member.id, model: 'gpt-4.1' });
await use({
  startedAt: '2026-03-01T10:20:00.000Z',
  workspaceId: (await world.callerOf(other.adminToken)).workspaceId,
});
await world.shipper.flush();

const march = 'from=2026-03-01T00:00:00Z&to=2026-03-03T00:00:00Z';

t.test('sums tell calls, attempts and what nobody knows', async (t) => {
  const { json } = await call(owner, 'GET', `/api/usage?${march}`);
  t.match(json, { from: '2026-03-01T00:00:00.000Z', to: '2026-03-03T00:00:00.000Z', groupBy: 'day' });
  t.same(json.totals, {
    calls: 4,
    attempts: 5,
    failed: 1,
    inputTokens: 30,
    cachedInputTokens: 6,
    cacheWriteInputTokens: 0,
    outputTokens: 15,
    reasoningTokens: 0,
    unknownUsageCalls: 1,
    costNanoUsd: '9007199254740993',
    unknownCostCalls: 3,
  });
  t.same(
    json.data.map((row: { group: string; calls: number }) => [row.group, row.calls]),
    [
      ['2026-03-01', 3],
      ['2026-03-02', 1],
    ],
  );
});

t.test('every grouping adds up to the totals, by hours and by minutes', async (t) => {
  for (const period of [march, 'from=2026-03-01T00:00:01Z&to=2026-03-02T23:59:59Z']) {
    for (const groupBy of ['hour', 'day', 'key', 'token', 'user', 'provider', 'model']) {
      const { json } = await call(owner, 'GET', `/api/usage?${period}&groupBy=${groupBy}`);
      const sum = (name: string) =>
        json.data.reduce((all: number, row: Record<string, number>) => all + (row[name] ?? 0), 0);
      for (const name of ['calls', 'attempts', 'inputTokens', 'unknownUsageCalls'])
        t.equal(sum(name), json.totals[name], `${groupBy} ${name}`);
    }
  }
  const hours = (await call(owner, 'GET', `/api/usage?${march}&groupBy=hour`)).json.data;
  t.same(
    hours.map((row: { group: string }) => row.group),
    ['2026-03-01T10:00:00.000Z', '2026-03-01T11:00:00.000Z', '2026-03-02T00:00:00.000Z'],
  );
  const keys = (await call(owner, 'GET', `/api/usage?${march}&groupBy=key`)).json.data;
  t.equal(keys[0].group, null, 'no key is no text');
});

t.test('what is no time is told to be none, once', async (t) => {
  for (const from of ['gestern', 'now', 'yesterday evening', '2026-02-30']) {
    const { status, json } = await call(owner, 'GET', `/api/usage?from=${encodeURIComponent(from)}`);
    t.equal(status, 400);
    t.same(
      json.errors,
      [{ path: '/from', message: 'has to be a time of RFC 3339: 2027-12-31T23:59:59Z' }],
      from,
    );
  }
});

t.test('a period that ends within an hour is cut there', async (t) => {
  const { json } = await call(owner, 'GET', '/api/usage?from=2026-03-01T10:00:00Z&to=2026-03-01T10:30:00Z');
  t.equal(json.totals.calls, 1);
  t.equal(json.totals.costNanoUsd, null, 'unknown is not nothing');
  for (const query of [
    'from=2026-03-02&to=2026-03-01',
    'from=yesterday',
    'groupBy=week',
    'from=2026-02-30',
  ]) {
    t.equal((await call(owner, 'GET', `/api/usage?${query}`)).status, 400, query);
  }
});

t.test('calls are told one by one, with all their attempts', async (t) => {
  const list = await call(owner, 'GET', `/api/usage/calls?${march}&limit=2`);
  t.equal(list.json.data.length, 2);
  t.equal(list.json.data[0].startedAt, '2026-03-02T00:00:00.000Z', 'newest first');
  const seen = new Set(
    list.json.data.map((row: { id: string; attempt: number }) => `${row.id} ${row.attempt}`),
  );
  let cursor = list.json.nextCursor;
  while (cursor !== null) {
    const page = (await call(owner, 'GET', `/api/usage/calls?${march}&limit=1&cursor=${cursor}`)).json;
    for (const row of page.data) seen.add(`${row.id} ${row.attempt}`);
    cursor = page.nextCursor;
  }
  t.equal(seen.size, 5);
  const one = await call(owner, 'GET', `/api/usage/calls/${retried}`);
  t.same(
    one.json.attempts.map((row: { attempt: number; final: boolean }) => [row.attempt, row.final]),
    [
      [1, false],
      [2, true],
    ],
  );
  t.match(one.json.attempts[0], { inputTokens: null, usageSource: 'unknown', providerUsage: null });
  t.match(one.json.attempts[1], {
    inputTokens: 10,
    reasoningTokens: null,
    providerUsage: { prompt_tokens: 10 },
  });
  t.equal((await call(owner, 'GET', '/api/usage/calls?outcome=UPSTREAM_AUTH')).json.data.length, 1);
});

t.test('a member sees his own uses, another workspace none', async (t) => {
  t.equal((await call(member.token, 'GET', `/api/usage?${march}`)).json.totals.calls, 1);
  t.equal((await call(member.token, 'GET', `/api/usage/calls?${march}`)).json.data.length, 1);
  t.equal((await call(member.token, 'GET', `/api/usage/calls/${retried}`)).status, 404);
  t.equal((await call(other.adminToken, 'GET', `/api/usage/calls/${retried}`)).status, 404);
  t.equal((await call(other.adminToken, 'GET', `/api/usage?${march}`)).json.totals.calls, 1);
  const acts = (await call(member.token, 'GET', '/api/audit')).json.data;
  t.ok(acts.length > 0);
  t.ok(acts.every((entry: { record: { userId: string } }) => entry.record.userId === member.id));
});

t.test('whose key it is sees what others did with it', async (t) => {
  const sharer = await world.newUser(owner, 'member', 'sharer');
  const made = await call(sharer.token, 'POST', '/api/api-keys', {
    name: 'k',
    provider: 'openai',
    value: newKey(),
    sharedWith: [member.id],
  });
  const callId = await use({ startedAt: '2026-04-01T10:00:00.000Z', keyId: made.json.id, userId: member.id });
  await world.shipper.flush();
  for (const token of [sharer.token, member.token, owner]) {
    t.equal((await call(token, 'GET', `/api/usage/calls/${callId}`)).status, 200);
    t.equal((await call(token, 'GET', `/api/usage?from=2026-04-01&to=2026-04-02`)).json.totals.calls, 1);
    t.equal((await call(token, 'GET', `/api/audit?callId=${callId}`)).json.data.length, 2);
  }
  const stranger = await world.newUser(owner, 'member', 'stranger');
  t.equal((await call(stranger.token, 'GET', `/api/usage/calls/${callId}`)).status, 404);
  t.same((await call(stranger.token, 'GET', `/api/audit?callId=${callId}`)).json.data, []);
  const stats = (await call(sharer.token, 'GET', '/api/api-keys/stats?from=2026-04-01&to=2026-04-02')).json;
  t.match(stats, { data: [{ keyId: made.json.id, calls: 1, inputTokens: 10 }], totals: { calls: 1 } });
});

t.test('the audit shows uses and acts, each line as it stands in the file', async (t) => {
  const begin = (await call(owner, 'GET', `/api/audit?callId=${retried}&event=use.begin`)).json.data;
  t.equal(begin.length, 2);
  t.match(begin[0], {
    event: 'use.begin',
    callId: retried,
    provider: 'openai',
    outcome: null,
    actor: { type: 'token', id: /^tok_/ },
  });
  const lines = world
    .journalText()
    .split('\n')
    .filter((line) => line.includes(retried));
  t.ok(lines.some((line) => JSON.parse(line).hash === begin[0].hash));
  t.same(
    begin[0].record,
    JSON.parse(lines.find((line) => JSON.parse(line).hash === begin[0].hash) as string),
  );
  const created = (await call(owner, 'GET', `/api/audit?event=user.create.done&userId=${member.id}`)).json
    .data;
  t.match(created, [{ actor: { type: 'admin', id: me.id } }]);
  const ids = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const page = (await call(owner, 'GET', `/api/audit?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`))
      .json;
    ids.push(...page.data.map((entry: { hash: string }) => entry.hash));
    cursor = page.nextCursor as string | null;
  }
  t.equal(new Set(ids).size, ids.length, 'pages neither repeat nor skip');
  t.ok(ids.length > 10);
});

t.test('a cursor that somebody made up is refused, and nothing fails of it', async (t) => {
  const cursorOf = (place: unknown) => Buffer.from(JSON.stringify(place)).toString('base64url');
  const times = ['2026-99-99T10:10:10.000Z', '2026-01-01T::::::::.000Z', '9999-12-31T24:60:60.000Z'];
  for (const place of [
    ...times.map((time) => [time, 'n1:b1', '1']),
    ...times.map((time) => [time, newId('call'), '1']),
    ['2026-01-01T10:10:10.000Z', 'n1:b1', '9'.repeat(19)],
    [],
    {},
    null,
    [[]],
  ]) {
    for (const list of ['audit', 'usage/calls', 'users', 'tokens', 'api-keys', 'members']) {
      const answer = await call(owner, 'GET', `/api/${list}?cursor=${cursorOf(place)}`);
      t.equal(answer.status, 400, `${list} ${JSON.stringify(place)}`);
    }
  }
});

t.test('usage is found by the tags of tokens, and others’ tags by nobody who sees them not', async (t) => {
  const tokenOf = async (userId: string, tags: string[]): Promise<string> =>
    (await call(owner, 'POST', '/api/tokens', { name: 'tagged', userId, tags })).json.id;
  const [mine, his] = [await tokenOf(me.userId, ['team-a', 'batch']), await tokenOf(member.id, ['team-a'])];
  await use({ startedAt: '2026-04-01T10:00:00.000Z', tokenId: mine });
  await use({ startedAt: '2026-04-01T11:00:00.000Z', tokenId: his, userId: member.id });
  const key = (
    await call(member.token, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', value: newKey() })
  ).json.id;
  await use({ startedAt: '2026-04-01T12:00:00.000Z', tokenId: mine, keyId: key });
  await world.shipper.flush();
  const day = 'from=2026-04-01&to=2026-04-02';
  const count = async (token: string, tag: string): Promise<number[]> => [
    (await call(token, 'GET', `/api/usage?${day}&tag=${tag}`)).json.totals.calls,
    (await call(token, 'GET', `/api/usage?from=2026-04-01T00:00:01Z&to=2026-04-02&tag=${tag}`)).json.totals
      .calls,
    (await call(token, 'GET', `/api/usage/calls?${day}&tag=${tag}`)).json.data.length,
  ];
  t.same(await count(owner, 'team-a'), [3, 3, 3]);
  t.same(await count(owner, 'batch'), [2, 2, 2]);
  t.same(await count(owner, 'none'), [0, 0, 0]);
  t.same(await count(member.token, 'team-a'), [1, 1, 1]);
  t.same(await count(member.token, 'batch'), [0, 0, 0], 'though his key was used');
  const listed = (await call(owner, 'GET', '/api/tokens?tag=batch')).json.data;
  t.same(
    listed.map(({ id }: { id: string }) => id),
    [mine],
  );
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});
