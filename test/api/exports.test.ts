import { get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sql } from 'kysely';
import t from 'tap';
import { newId } from '../../src/ids.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const me = await world.callerOf(owner);
const members = await Promise.all(['ann', 'bob', 'cid'].map((name) => world.newUser(owner, 'member', name)));
const other = await world.newWorkspace('other');
const stranger = await world.callerOf(other.adminToken);
const keyOf = new Map<string, string>();
for (const { id, token } of members) {
  const shared = members.map((member) => member.id).filter((one) => one !== id);
  const stored = { name: 'k', provider: 'openai', value: newKey(), sharedWith: shared };
  keyOf.set(id, (await call(token, 'POST', '/api/api-keys', stored)).json.id);
}
const tokenOf = new Map<string, string>();
const tags = [['red'], ['red', 'blue'], []];
for (const [i, { id }] of members.entries()) {
  const made = await call(owner, 'POST', '/api/tokens', { name: 'g', userId: id, tags: tags[i] });
  tokenOf.set(id, made.json.id);
}

/** The same traffic each time. */
let state = 42;
function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}
const pick = <T>(...from: readonly T[]): T => from[random(from.length)] as T;

const start = Date.parse('2026-02-27T21:00:00.000Z');
const period = 'from=2026-02-27T21:00:00Z&to=2026-03-03T00:00:00Z';
/** One millisecond more, and nothing in it: only single events can be cut there. */
const unaligned = 'from=2026-02-27T20:59:59.999Z&to=2026-03-03T00:00:00Z';

for (let i = 0; i < 240; i += 1) {
  const userId = pick<string | null>(...members.map(({ id }) => id), null);
  const at = new Date(start + random(75 * 3_600_000)).toISOString();
  const callId = newId('call');
  const attempts = 1 + random(2);
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    const isLast = attempt === attempts;
    const isKnown = isLast && random(4) > 0;
    const identity = {
      callId,
      attempt,
      workspaceId: i % 40 === 0 ? stranger.workspaceId : me.workspaceId,
      tokenId: userId === null ? null : (tokenOf.get(userId) ?? null),
      userId,
      keyId: pick<string | null>(...keyOf.values(), null),
      keyVersion: 1,
      provider: pick('openai', 'anthropic', 'custom'),
      keySource: 'own',
      operation: 'openai.chat',
      model: pick<string | null>('gpt-4o', '=cmd|’ /C calc’!A0', '@x,"y"', null, '\u0000nul'),
      isStream: false,
      startedAt: at,
    };
    const begin = await world.journal.append('use.begin', identity);
    await world.journal.append('use.end', {
      ...identity,
      final: isLast,
      beginSeq: begin.seq,
      beginStream: begin.stream,
      receipt: begin.text,
      endedAt: at,
      outcome: isLast ? pick('ok', 'ok', 'UPSTREAM_AUTH', 'crash') : 'UPSTREAM_UNREACHABLE',
      status: 200,
      endReason: 'complete',
      upstreamRequestId: null,
      firstByteMs: 1,
      totalMs: 2,
      requestBytes: 3,
      responseBytes: 4,
      usage: isKnown
        ? {
            inputTokens: random(1e6),
            cachedInputTokens: random(9),
            cacheWriteInputTokens: null,
            outputTokens: random(1e5),
            reasoningTokens: null,
          }
        : null,
      usageSource: isKnown ? 'provider' : 'unknown',
      // What a provider writes looks as much like our own members as it likes.
      providerUsage: isKnown ? { outcome: 'forged', provider: 'forged', actor: { id: me.id } } : null,
      costNanoUsd: isKnown && random(3) > 0 ? String(9_007_199_254_740_993n + BigInt(random(1e9))) : null,
      priceVersion: null,
    });
  }
}
await world.shipper.flush();

type Row = Record<string, unknown> & { bucket: string | null; group: string | null };
const sumNames = [
  'calls',
  'attempts',
  'failed',
  'inputTokens',
  'cachedInputTokens',
  'cacheWriteInputTokens',
  'outputTokens',
  'reasoningTokens',
  'unknownUsageCalls',
  'costNanoUsd',
  'unknownCostCalls',
];
function added(rows: readonly Record<string, unknown>[]): Record<string, string> {
  return Object.fromEntries(
    sumNames.map((name) => [
      name,
      String(rows.reduce((sum, row) => sum + BigInt((row[name] as string | null) ?? 0), 0n)),
    ]),
  );
}
const usage = async (query: string, token = owner) => (await call(token, 'GET', `/api/usage?${query}`)).json;

t.test('every grouping in every bucket adds up to the calls, by hours as by single events', async (t) => {
  const calls = (await exported(owner, `/api/usage/calls?${period}&format=jsonl`)).map((one) => ({
    ...one,
    calls: Number(one['final']),
    attempts: 1,
    failed: Number(one['final'] === true && one['outcome'] !== 'ok'),
    unknownUsageCalls: Number(one['final'] === true && one['usageSource'] === 'unknown'),
    unknownCostCalls: Number(one['final'] === true && one['costNanoUsd'] === null),
  }));
  t.ok(calls.length > 300);
  const whole = added(calls);
  for (const groupBy of ['hour', 'day', 'month', 'key', 'token', 'user', 'provider', 'model', 'tag']) {
    for (const bucket of ['', '&bucket=hour', '&bucket=day', '&bucket=month']) {
      const query = `groupBy=${groupBy}${bucket}`;
      const [hourly, single] = [await usage(`${period}&${query}`), await usage(`${unaligned}&${query}`)];
      t.same(hourly.data, single.data, query);
      t.same(hourly.totals, single.totals, query);
      t.same(added([hourly.totals]), whole, query);
      t.equal(hourly.isCut, false);
      if (groupBy !== 'tag') t.same(added(hourly.data), whole, query);
    }
  }
  t.same(
    (await usage(`${period}&groupBy=month`)).data.map((row: Row) => row.group),
    ['2026-02', '2026-03'],
  );
});

t.test('all users’ totals and what is nobody’s are the workspace’s', async (t) => {
  const all = await usage(`${period}&groupBy=user`);
  const parts = [all.data.find((row: Row) => row.group === null)];
  for (const { id, token } of members) {
    const [his, told] = [await usage(`${period}&userId=${id}`, token), await usage(`${period}&userId=${id}`)];
    t.same(his.totals, told.totals, 'a member is told of himself what the owner is told of him');
    parts.push(his.totals);
  }
  t.same(added(parts), added([all.totals]));
  const own = new Set(members.map(({ id }) => id));
  for (const { id, token } of members) {
    const seen = await exported(token, `/api/usage/calls?${period}&format=jsonl`);
    t.ok(
      seen.every((one) => one['userId'] === id || one['keyId'] === keyOf.get(id)),
      'his own, and his key’s',
    );
    t.ok(seen.some((one) => own.has(String(one['userId'])) && one['userId'] !== id));
  }
});

t.test('a tag’s group has every call of its tokens, and totals each call once', async (t) => {
  const { data, totals } = await usage(`${period}&groupBy=tag`);
  const of = (tag: string | null) => data.find((row: Row) => row.group === tag)?.calls ?? 0;
  const filtered = async (tag: string) => (await usage(`${period}&tag=${tag}`)).totals.calls;
  t.equal(of('red'), await filtered('red'));
  t.equal(of('blue'), await filtered('blue'));
  t.equal(of('red') + of(null), totals.calls, 'who is blue is red too');
  const bob = members[0];
  const seen = (await usage(`${period}&groupBy=tag`, bob?.token)).data.map((row: Row) => row.group);
  t.same(
    new Set(seen),
    new Set(['red', null]),
    'others’ tags are none of his business, though his key was used',
  );
});

t.test('records are found by their own members, whatever a provider wrote', async (t) => {
  const count = async (query: string, token = owner) =>
    (await call(token, 'GET', `/api/audit?${query}&limit=200`)).json.data.length;
  t.equal(await count('provider=forged'), 0);
  t.equal(await count('outcome=forged'), 0);
  t.ok((await count('outcome=UPSTREAM_AUTH')) > 0);
  t.ok((await count('provider=anthropic&event=use.*')) > 0);
  const acts = (await call(owner, 'GET', '/api/audit?event=key.*&limit=200')).json.data;
  t.ok(acts.length >= 6 && acts.every((one: { event: string }) => one.event.startsWith('key.')));
  for (const event of ['*', 'k*.x', '*.*', 'key*', '**']) {
    t.equal((await call(owner, 'GET', `/api/audit?event=${event}`)).status, 400, event);
  }
  t.equal(await count('event=%25'), 0);
  t.equal(await count(`provider=${encodeURIComponent(`x' or 1=1--`.replaceAll(' ', '_'))}`), 0);
});

t.test('a member finds his own acts, also of what is gone, and nobody else’s', async (t) => {
  const [ann, bob] = members;
  const made = await call(ann?.token ?? '', 'POST', '/api/api-keys', {
    name: 'gone',
    provider: 'openai',
    value: newKey(),
  });
  await call(ann?.token ?? '', 'DELETE', `/api/api-keys/${made.json.id}`);
  await world.shipper.flush();
  const acts = async (token: string | undefined) =>
    (await call(token ?? '', 'GET', `/api/audit?event=key.*&keyId=${made.json.id}`)).json.data.length;
  t.equal(await acts(ann?.token), 4);
  t.equal(await acts(bob?.token), 0);
  t.equal(await acts(other.adminToken), 0);
  for (const path of ['audit', 'usage/calls']) {
    const theirs = await exported(
      bob?.token ?? '',
      `/api/${path}?keyId=${keyOf.get(ann?.id ?? '')}&format=jsonl`,
    );
    const his = theirs.map((one) => (one['record'] as Record<string, unknown> | undefined) ?? one);
    t.ok(
      his.every((one) => one['userId'] === bob?.id),
      `${path}: of another’s key his own uses alone`,
    );
    t.same(await exported(other.adminToken, `/api/${path}?userId=${me.userId}&format=jsonl`), []);
  }
});

t.test('an export has what the pages have, in both forms, and is on record', async (t) => {
  const pages: unknown[] = [];
  let cursor = '';
  do {
    const { json } = await call(owner, 'GET', `/api/audit?to=2027-01-01&limit=200&event=use.*${cursor}`);
    pages.push(...json.data);
    cursor = json.nextCursor === null ? '' : `&cursor=${json.nextCursor}`;
  } while (cursor !== '');
  const accept = { accept: 'application/x-ndjson' };
  t.same(await exported(owner, '/api/audit?to=2027-01-01&event=use.*', accept), pages);
  const answer = await world.app.inject({
    url: '/api/audit?to=2027-01-01&event=use.*&format=csv',
    headers: bearer(owner),
  });
  t.match(answer.headers, {
    'content-type': 'text/csv; charset=utf-8',
    'content-disposition': 'attachment; filename="audit.csv"',
  });
  const rows = parseCsv(answer.payload);
  t.equal(rows.length, pages.length + 1);
  t.same(rows[0]?.slice(0, 4), ['at', 'stream', 'seq', 'event']);
  t.same(JSON.parse(rows[1]?.at(-1) ?? ''), (pages[0] as { record: unknown }).record);

  const calls = parseCsv(
    (await world.app.inject({ url: `/api/usage/calls?${period}&format=csv`, headers: bearer(owner) }))
      .payload,
  );
  const models = new Set(calls.map((row) => row[calls[0]?.indexOf('model') ?? 0]));
  t.ok(models.has(`'=cmd|’ /C calc’!A0`) && models.has(`'@x,"y"`), 'no cell begins like a formula');
  const groups = parseCsv(
    (await world.app.inject({ url: `/api/usage?${period}&groupBy=model&format=csv`, headers: bearer(owner) }))
      .payload,
  );
  t.same(groups[0], ['bucket', 'group', ...sumNames]);
  t.ok(groups.flat().every((text) => !/^[=+\-@\t]/.test(text)));

  await world.shipper.flush();
  const [record] = (await call(owner, 'GET', '/api/audit?event=export.audit&limit=1')).json.data;
  t.match(record, {
    actor: { type: 'admin', id: me.id },
    record: { format: 'csv', filter: { others: ['event', 'to'] } },
  });
  for (const query of ['format=csv&limit=5', 'format=jsonl&cursor=W10', 'format=xml'])
    t.equal((await call(owner, 'GET', `/api/audit?${query}`)).status, 400, query);
});

t.test(
  'an export goes at the pace of its client, and ends when he leaves or may see it no longer',
  async (t) => {
    const auditor = await world.newUser(owner, 'auditor');
    const rows = 20_000;
    await world.store.asSystem((tx) =>
      sql`insert into journal (month, stream, seq, workspace_id, at, event, hash, line)
      select '2026-01-01', 'bulk:1', i, ${me.workspaceId}, '2026-01-02'::timestamptz + i * interval '1 ms', 'x.bulk', '\\x00',
        json_build_object('at', '', 'filling', repeat('x', 1000)) from generate_series(1, ${rows}::int) as i`.execute(
        tx,
      ),
    );
    await world.app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = world.app.server.address() as AddressInfo;
    const path = '/api/audit?format=jsonl&event=x.*';
    const ask = (token = owner) =>
      new Promise<IncomingMessage>((resolve, reject) => {
        get({ port, path, headers: bearer(token), agent: false }, resolve).once('error', reject);
      });
    const held = [await ask(), await ask()];
    t.match(await call(owner, 'GET', path), { status: 429, json: { code: 'RATE_LIMITED' } });
    held.push(await ask(auditor.token), await ask(auditor.token));
    t.equal((await call(members[0]?.token ?? '', 'GET', path)).status, 429, 'nor more than four a workspace');
    t.equal((await call(other.adminToken, 'GET', path)).status, 200, 'which another one does not feel');
    for (const answer of held) answer.once('error', () => {}).destroy();
    // Their places are free as soon as the gateway has seen them leave.
    const placed = async (token: string): Promise<IncomingMessage> => {
      for (;;) {
        const one = await ask(token);
        if (one.statusCode !== 429) return one;
        one.resume();
      }
    };
    const answer = await placed(owner);
    t.equal(answer.statusCode, 200);
    let [lines, most] = [0, 0];
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      lines += chunk.toString('latin1').split('\n').length - 1;
      most = Math.max(most, process.memoryUsage().arrayBuffers);
    }
    t.equal(lines, rows);
    t.ok(most < 64 * 1024 * 1024, `${most} bytes`);

    const cut = await placed(auditor.token);
    await call(owner, 'DELETE', `/api/tokens/${auditor.tokenId}`);
    world.time.now += 60_000;
    await t.rejects(async () => {
      for await (const chunk of cut) void chunk;
    }, 'a token that was revoked meanwhile gets no more');

    const second = await world.newUser(owner, 'auditor', 'guy');
    const cutToo = await placed(second.token);
    await call(owner, 'DELETE', `/api/tokens/${second.tokenId}`);
    world.time.now -= 3_600_000;
    await t.rejects(async () => {
      for await (const chunk of cutToo) void chunk;
    }, 'nor where the clock was set back');
    world.time.now += 3_600_000;
    t.match(world.faults.splice(0), []);
  },
);

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});

function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

async function exported(
  token: string,
  url: string,
  headers: Record<string, string> = {},
): Promise<Record<string, unknown>[]> {
  const answer = await world.app.inject({ url, headers: { ...bearer(token), ...headers } });
  t.equal(answer.statusCode, 200, url);
  return answer.payload
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/** RFC 4180, read back. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [[]];
  for (const [, quoted, plain = '', end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    rows.at(-1)?.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === '\r\n') rows.push([]);
  }
  return rows.slice(0, -1);
}
