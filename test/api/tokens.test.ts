import t from 'tap';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;

t.test('a token is shown once, with limits by default', async (t) => {
  const made = await call(owner, 'POST', '/api/tokens', { name: 'app' });
  t.equal(made.status, 201);
  t.match(made.json, {
    kind: 'gateway',
    token: /^spt_[0-9A-Za-z]{61}$/,
    requestsPerMinute: 600,
    concurrentCalls: 100,
    status: 'active',
    providers: null,
    models: null,
    keyIds: null,
    revokedAt: null,
  });
  t.equal(made.json.prefix, made.json.token.slice(0, 16));
  const read = await call(owner, 'GET', `/api/tokens/${made.json.id}`);
  const { token, ...rest } = made.json;
  t.same(read.json, rest);
  t.notMatch((await call(owner, 'GET', '/api/tokens')).text, token);
  const stored = await world.store.asSystem((tx) =>
    tx.selectFrom('tokens').selectAll().where('id', '=', made.json.id).executeTakeFirstOrThrow(),
  );
  t.notMatch(JSON.stringify(stored), token.slice(16, 59), 'its secret is not in the database');
});

t.test('a replay shows the token and not its secret', async (t) => {
  const headers = { 'idempotency-key': 'mint-1' };
  const first = await call(owner, 'POST', '/api/tokens', { name: 'once' }, headers);
  const again = await call(owner, 'POST', '/api/tokens', { name: 'once' }, headers);
  t.equal(again.status, 201);
  const { token, ...rest } = first.json;
  t.ok(token);
  t.same(again.json, rest);
  t.equal((await call(owner, 'POST', '/api/tokens', { name: 'twice' }, headers)).json.code, 'CONFLICT');
  const other = await world.newUser(owner, 'member');
  t.ok(
    (await call(other.token, 'POST', '/api/tokens', { name: 'once' }, headers)).json.token,
    'another caller’s key is another',
  );
  world.time.now += 25 * 3600 * 1000;
  t.ok(
    (await call(owner, 'POST', '/api/tokens', { name: 'once' }, headers)).json.token,
    'a day later it is forgotten',
  );
});

t.test('a token names only keys that its user may use', async (t) => {
  const member = await world.newUser(owner, 'member');
  const mine = (
    await call(owner, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', value: newKey() })
  ).json.id;
  t.equal((await call(owner, 'POST', '/api/tokens', { name: 'x', keyIds: [mine] })).status, 201);
  t.equal(
    (await call(owner, 'POST', '/api/tokens', { name: 'x', keyIds: [mine], userId: member.id })).status,
    404,
  );
  await call(owner, 'PATCH', `/api/api-keys/${mine}`, { sharedWith: [member.id] });
  t.equal(
    (await call(owner, 'POST', '/api/tokens', { name: 'x', keyIds: [mine], userId: member.id })).status,
    201,
  );
});

t.test('what a token may be given has bounds', async (t) => {
  for (const more of [
    { requestsPerMinute: 0 },
    { requestsPerMinute: 1.5 },
    { requestsPerMinute: '600' },
    { concurrentCalls: 1e9 },
    { kind: 'root' },
    { providers: 'openai' },
    { models: [''] },
    { models: Array.from({ length: 201 }, (_, i) => `m${i}`) },
    { expiresAt: 'tomorrow' },
    { expiresAt: 1 },
    { name: '' },
    { name: 'x'.repeat(201) },
    { workspaceId: 'ws_x' },
    { endpoints: ['openai chat'] },
    { endpoints: Array.from({ length: 101 }, (_, i) => `e${i}`) },
    { networks: ['example.com'] },
    { tags: ['two words'] },
    { tags: Array.from({ length: 17 }, (_, i) => `t${i}`) },
    { policy: { maxAttempts: 0 } },
    { policy: { maxAttempts: 11 } },
    { policy: { maxattempts: 2 } },
    { policy: { retryStale: 'no' } },
    { policy: { fallbackModels: Array.from({ length: 9 }, (_, i) => `m${i}`) } },
    { policy: { fallbackModels: ['two words'] } },
    { policy: { timeouts: { connectMs: 0 } } },
    { policy: { timeouts: { totalMs: -1 } } },
    { policy: { timeouts: { wholeMs: 5 } } },
    { policy: { onDisconnect: { type: 'abort', maxSeconds: 5 } } },
    { policy: { onDisconnect: { type: 'drain', maxSeconds: 601 } } },
    { policy: { onDisconnect: { type: 'drain', maxBytes: 1e9 } } },
    { policy: { onDisconnect: 'drain' } },
    { kind: 'admin', networks: ['10.0.0.0/8'] },
    { kind: 'admin', policy: {} },
    { kind: 'admin', endpoints: ['openai.*'] },
    { kind: 'admin', providers: ['openai'] },
    { kind: 'admin', models: ['gpt-4o'] },
    { kind: 'admin', keyIds: [] },
    { kind: 'admin', requestsPerMinute: 2 },
    { kind: 'admin', concurrentCalls: 2 },
    { expiresAt: '2020-01-01T00:00:00Z' },
    { expiresAt: new Date(world.time.now).toISOString() },
    { endpoints: ['openai.chat', 'foo'] },
    { endpoints: ['foo.*'] },
    { providers: ['OpenAI'] },
    { providers: ['custom'] },
    { providers: ['gemini'] },
  ]) {
    const answer = await call(owner, 'POST', '/api/tokens', { name: 'x', ...more });
    t.equal(answer.status, 400, JSON.stringify(more).slice(0, 60));
  }
});

t.test('what an admin token would not keep to, and what no call could meet, is named', async (t) => {
  const said = async (more: object) =>
    (await call(owner, 'POST', '/api/tokens', { name: 'x', ...more })).json.errors?.[0];
  t.match(await said({ kind: 'admin', models: ['gpt-4o'] }), {
    path: '/models',
    message: 'is for gateway tokens only',
  });
  t.match(await said({ endpoints: ['openai.*', 'openai.chats'] }), {
    path: '/endpoints/1',
    message: /did you mean openai\.chat\?/,
  });
  t.match(await said({ providers: ['OpenAI'] }), { path: '/providers/0', message: /did you mean openai\?/ });
  t.match(await said({ expiresAt: '2020-01-01' }), { path: '/expiresAt', message: /in the future/ });
  const named = await call(owner, 'POST', '/api/tokens', {
    name: 'x',
    providers: ['groq', 'my-llm'],
    endpoints: ['*', 'ollama.*', 'openai.stored_chat', 'google.other'],
  });
  t.equal(named.status, 201, 'the key of a custom provider may come later');
  const admin = { name: 'x', kind: 'admin', models: null, tags: ['ci'] };
  t.equal((await call(owner, 'POST', '/api/tokens', admin)).status, 201);
});

t.test(
  'a provider’s name that is probably another’s is refused, and one of a key to come is not',
  async (t) => {
    const making = async (who: string, providers: readonly string[], more: object = {}, headers = {}) =>
      call(who, 'POST', '/api/tokens', { name: 'x', providers, ...more }, headers);
    const custom = async (who: string, name: string): Promise<string> => {
      const origins = ['https://llm.example.com'];
      const key = { name, provider: 'custom', value: newKey(), origins };
      return (await call(who, 'POST', '/api/api-keys', key)).json.id;
    };
    for (const [wrong, right] of [
      ['opnai', 'openai'],
      ['opeani', 'openai'],
      ['openai2', 'openai'],
      ['antropic', 'anthropic'],
      ['grok', 'groq'],
    ] as const) {
      const refused = await making(owner, ['openai', wrong]);
      t.match(refused, { status: 400, json: { code: 'REQUEST_INVALID' } }, wrong);
      t.match(refused.json.errors, [
        { path: '/providers/1', message: new RegExp(`did you mean ${right}\\?`) },
      ]);
    }
    for (const later of ['my-llm', 'openai-eu', 'azure', 'mistral', 'ai'])
      t.equal((await making(owner, [later])).status, 201, later);

    // What there is may be named, also where it looks like another.
    await custom(owner, 'grok');
    t.equal((await making(owner, ['grok', 'groq'])).status, 201);

    // A custom name is known to whoever may use its key.
    const member = await world.newUser(owner, 'member');
    const replayed = { 'idempotency-key': 'before-its-time' };
    t.equal((await making(owner, ['olama'], {}, replayed)).status, 201);
    const made = await custom(owner, 'ollama');
    t.match((await making(owner, ['olama'])).json.errors, [{ message: /did you mean ollama\?/ }]);
    t.equal((await making(owner, ['olama'], {}, replayed)).status, 201, 'a replay makes nothing');
    t.equal((await making(owner, ['olama'], { userId: member.id })).status, 201);
    t.equal((await making(member.token, ['olama'])).status, 201);
    const shared = { sharedWith: 'workspace' };
    t.equal((await call(owner, 'PATCH', `/api/api-keys/${made}`, shared)).status, 200);
    t.match((await making(member.token, ['olama'])).json.errors, [{ message: /did you mean ollama\?/ }]);
  },
);

t.test('a replay is answered when what it made has expired', async (t) => {
  const headers = { 'idempotency-key': 'short-lived' };
  const body = { name: 'short', expiresAt: new Date(world.time.now + 60_000).toISOString() };
  t.equal((await call(owner, 'POST', '/api/tokens', body, headers)).status, 201);
  world.time.now += 60_000;
  t.match(await call(owner, 'POST', '/api/tokens', body, headers), {
    status: 201,
    json: { status: 'expired' },
  });
});

t.test('a token says whole what it may reach and how its calls are carried', async (t) => {
  const plain = await call(owner, 'POST', '/api/tokens', { name: 'plain', policy: null });
  const timeouts = {
    connectMs: null,
    firstByteMs: null,
    betweenBytesMs: null,
    totalMs: null,
    writeIdleMs: null,
  };
  t.match(plain.json, { endpoints: null, networks: null, tags: null });
  const usual = {
    fallbackModels: [],
    maxAttempts: 3,
    retryStale: true,
    timeouts,
    onDisconnect: { type: 'abort' },
  };
  t.same(plain.json.policy, usual);
  const made = await call(owner, 'POST', '/api/tokens', {
    name: 'whole',
    endpoints: ['openai.chat', 'google.*'],
    networks: ['10.0.0.0/8', '192.0.2.7', '2001:DB8:0:0::/32', '2001:db8::/32', '::1'],
    tags: ['team-a', 'batch'],
    policy: {
      maxAttempts: 5,
      fallbackModels: ['groq/llama', 'fast'],
      timeouts: { firstByteMs: 250, totalMs: 0, connectMs: null },
      onDisconnect: { type: 'drain', maxSeconds: 30 },
    },
  });
  t.match(made, {
    status: 201,
    json: {
      endpoints: ['openai.chat', 'google.*'],
      networks: ['10.0.0.0/8', '192.0.2.7/32', '2001:db8::/32', '::1/128'],
      tags: ['team-a', 'batch'],
    },
  });
  t.same(made.json.policy, {
    fallbackModels: ['groq/llama', 'fast'],
    maxAttempts: 5,
    retryStale: true,
    timeouts: { ...timeouts, firstByteMs: 250, totalMs: 0 },
    onDisconnect: { type: 'drain', maxSeconds: 30, maxBytes: 10_000_000 },
  });
  const { token: _, ...rest } = made.json;
  t.same((await call(owner, 'GET', `/api/tokens/${made.json.id}`)).json, rest);
});

t.test('a policy that was written round the gateway hides no other token', async (t) => {
  const { id } = (await call(owner, 'POST', '/api/tokens', { name: 'broken' })).json;
  await world.tamper('tokens', `update tokens set policy = '{' where id = '${id}'`);
  t.equal((await call(owner, 'GET', '/api/tokens')).status, 200);
  t.match((await call(owner, 'GET', `/api/tokens/${id}`)).json, { policy: { maxAttempts: 3 } });
});

t.test('networks are kept in one form, and what is none is refused by its place', async (t) => {
  for (const network of [
    '10.1.2.3/8',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0/8',
    '010.0.0.0/8',
    'fe80::1%eth0',
    '::ffff:10.0.0.1',
    '::ffff:0a00:1',
    '2001:db8::1/32',
    '2001:db8::/129',
    '10.0.0.0/8/8',
    ' 10.0.0.0/8',
    '1.2.3.4@::1',
  ]) {
    const answer = await call(owner, 'POST', '/api/tokens', { name: 'x', networks: ['::1', network] });
    t.equal(answer.status, 400, network);
    t.match(answer.json.errors[0].path, /^\/networks\/1/, network);
  }
});

t.test('lists go by user and status', async (t) => {
  const member = await world.newUser(owner, 'member');
  const make = async (more: object) =>
    (await call(owner, 'POST', '/api/tokens', { name: 'x', userId: member.id, ...more })).json.id;
  const active = await make({ expiresAt: '2099-01-01T00:00:00Z' });
  const soon = new Date(world.time.now + 60_000).toISOString();
  const expired = await make({ expiresAt: soon });
  const revoked = await make({ expiresAt: soon });
  world.time.now += 60_000;
  await call(owner, 'DELETE', `/api/tokens/${revoked}`);
  const ids = async (query: string) =>
    (await call(owner, 'GET', `/api/tokens?userId=${member.id}&${query}`)).json.data.map(
      (token: { id: string }) => token.id,
    );
  t.same(await ids('status=active'), [active, member.tokenId]);
  t.same(await ids('status=expired'), [expired]);
  t.same(await ids('status=revoked'), [revoked]);
  t.same(await ids('limit=2'), [revoked, expired]);
});

t.test('users carry a product’s own ids', async (t) => {
  const made = await call(owner, 'POST', '/api/users', {
    name: 'Ann',
    externalId: 'cust-1',
    email: 'ann@example.com',
  });
  t.equal(made.status, 201);
  t.equal(
    (await call(owner, 'POST', '/api/users', { name: 'Bea', externalId: 'cust-1' })).json.code,
    'CONFLICT',
  );
  t.same((await call(owner, 'GET', '/api/users?externalId=cust-1')).json.data, [made.json]);
  t.equal((await call(owner, 'GET', `/api/members/${made.json.id}`)).json.role, 'member');
  t.equal((await call(owner, 'POST', '/api/users', { name: 'Eve', email: 'no address' })).status, 400);
  t.notMatch(
    world.journalText(),
    /ann@example\.com|cust-1|Ann/,
    'names and addresses stay out of what is never erased',
  );
});

t.test('the operator at the socket is known without a token', async (t) => {
  const operator = { ...(await world.callerOf(owner)), type: 'cli', id: 'cli' } as const;
  const app = await world.serve({ callers: world.callers, callerOf: () => operator });
  const made = await app.inject({ method: 'POST', url: '/api/users', payload: { name: 'by socket' } });
  t.equal(made.statusCode, 201);
  t.match(world.journalText(), new RegExp(`"id":"cli","type":"cli"[^\n]*"event":"user.create`));
});

t.test('a workspace that stores no keys takes neither a new one nor a new value', async (t) => {
  const key = await call(owner, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', value: newKey() });
  await world.store.asWorkspace((await world.callerOf(owner)).workspaceId, (tx) =>
    tx.updateTable('workspaces').set({ store_keys: false }).execute(),
  );
  const more = { name: 'k', provider: 'openai', value: newKey() };
  t.equal((await call(owner, 'POST', '/api/api-keys', more)).status, 403);
  t.equal((await call(owner, 'PATCH', `/api/api-keys/${key.json.id}`, { value: newKey() })).status, 403);
  t.equal((await call(owner, 'PATCH', `/api/api-keys/${key.json.id}`, { isActive: false })).status, 200);
});
