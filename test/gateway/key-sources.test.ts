import t, { type Test } from 'tap';
import { secretCopy } from '../../src/secret.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { type Answer, scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

/** How the provider fails, by the name of the key. */
const failures: Readonly<Record<string, Answer>> = {
  refused: { status: 401, body: { error: { code: 'invalid_api_key' } } },
  forbidden: { status: 403, body: {} },
  limited: { status: 429, body: {} },
  empty: { status: 402, body: {} },
  failing: { status: 500, body: {} },
};
/** Answers which key paid, without saying it. */
const upstream = await scriptUpstream(t, {
  script: (seen, answer) => {
    const paid = String(seen.headers.authorization).replace(/^Bearer sk-test-(\w+)-.*$/, '$1');
    if (paid !== 'broken') return failures[paid] ?? { body: { paid } };
    answer.socket?.resetAndDestroy();
    return undefined;
  },
});
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin, groq: upstream.origin },
  settings: { SALLYPORT_ALLOW_ORIGINS: upstream.origin },
});
const api: typeof gateway.api = (...asked) => gateway.api(...asked);
const valueOf = (name: string): string => `sk-test-${name}-0123456789abcdef0123456789abcdef`;

interface Person {
  readonly id: string;
  readonly token: string;
}

async function person(name: string, adminToken?: string): Promise<Person> {
  const { body: user } = await api('POST', '/users', { name }, adminToken);
  const { body: token } = await api(
    'POST',
    '/tokens',
    { name, userId: user.id, requestsPerMinute: 1_000_000 },
    adminToken,
  );
  return { id: user.id, token: token.token };
}

async function store(name: string, more: object, adminToken?: string): Promise<string> {
  const made = await api(
    'POST',
    '/api-keys',
    { name, provider: 'openai', value: valueOf(name), ...more },
    adminToken,
  );
  if (made.status !== 201) throw new Error(JSON.stringify(made.body));
  return made.body.id;
}

/** Whose key paid and by which right, or why there was no call: `ann own`, `KEY_MISSING`. */
async function pays(token: string, path = '/v1/chat/completions', model = 'gpt-4o'): Promise<string> {
  const answer = await ask(gateway.origin + path, { headers: { 'x-api-key': token }, body: { model } });
  const code = answer.header('x-sallyport-code');
  return code ?? `${answer.json().paid} ${answer.header('x-sallyport-key-source')}`;
}

/** What an act changed is in force within a second, on whatever was cached. */
async function becomes(
  t: Pick<Test, 'equal'>,
  token: string,
  expected: string,
  ...rest: string[]
): Promise<void> {
  const from = performance.now();
  let found = await pays(token, ...rest);
  while (found !== expected && performance.now() - from < 1000) found = await pays(token, ...rest);
  t.equal(found, expected);
}

const ann = await person('ann');
const ben = await person('ben');

t.test('a call is paid by the user’s own key, else a shared, else a managed one', async (t) => {
  t.equal(await pays(ann.token), 'KEY_MISSING');
  await gateway.app.keys.importManaged(
    await gateway.app.operatorCaller(),
    'openai',
    secretCopy(Buffer.from(valueOf('env'))),
  );
  await becomes(t, gateway.token, 'env managed');
  t.equal(await pays(ann.token), 'KEY_MISSING', 'a managed key is the operator’s alone at first');
  await api('PATCH', '/workspaces/current', { managedKeys: true });
  await becomes(t, ann.token, 'env managed');
  await store('team', { userId: ben.id, sharedWith: 'workspace' });
  await becomes(t, ann.token, 'team shared');
  t.equal(await pays(ben.token), 'team own', 'to its own user it is his own');
  const own = await store('ann', { userId: ann.id });
  await becomes(t, ann.token, 'ann own');
  t.equal(await pays(ben.token), 'team own', 'and nobody else’s');

  await api('PATCH', `/api-keys/${own}`, { isActive: false });
  await becomes(t, ann.token, 'KEY_DISABLED');
  await api('PATCH', `/api-keys/${own}`, { isActive: true });
  await becomes(t, ann.token, 'ann own');
  await api('DELETE', `/api-keys/${own}`);
  await becomes(t, ann.token, 'team shared');
});

t.test('a key that fails, expires or is disabled is never replaced by one of another source', async (t) => {
  const eli = await person('eli');
  t.equal(await pays(eli.token), 'team shared', 'what he would fall back to');
  let last = '';
  for (const [name, code] of [
    ['refused', 'UPSTREAM_AUTH'],
    ['forbidden', 'UPSTREAM_AUTH'],
    ['limited', 'UPSTREAM_RATE_LIMITED'],
    ['empty', null],
    ['failing', 'UPSTREAM_ERROR'],
    ['broken', 'UPSTREAM_ERROR'],
  ] as const) {
    const { store: database } = gateway.database;
    await database.asWorkspace(gateway.workspaceId, (tx) =>
      tx.deleteFrom('provider_keys').where('user_id', '=', eli.id).execute(),
    );
    last = await store(name, { userId: eli.id });
    const before = upstream.requests.length;
    const answer = await ask(`${gateway.origin}/v1/chat/completions`, {
      headers: { 'x-api-key': eli.token },
      body: { model: 'gpt-4o' },
    });
    t.match(
      [answer.header('x-sallyport-key'), answer.header('x-sallyport-key-source')],
      [last, 'own'],
      `${name} ${answer.header('x-sallyport-code')}`,
    );
    const seen = upstream.requests.slice(before).map(({ headers }) => headers.authorization);
    t.ok(seen.length > 0);
    t.same([...new Set(seen)], [`Bearer ${valueOf(name)}`], 'no other key left');
    await gateway.shipped();
    const { body } = await api('GET', `/usage/calls?keyId=${last}`);
    t.match(body.data[0], { keySource: 'own', userId: eli.id, outcome: code ?? /./ });
  }
  await api('PATCH', `/api-keys/${last}`, { expiresAt: '2020-01-01T00:00:00Z' });
  await becomes(t, eli.token, 'KEY_EXPIRED');
});

t.test('a key with power over the account pays for nothing, whoever has it', async (t) => {
  const zoe = await person('zoe');
  const { body } = await api('POST', '/api-keys', {
    name: 'admin',
    provider: 'openai',
    value: 'sk-admin-0123456789abcdef0123456789abcdef',
    userId: zoe.id,
    sharedWith: 'workspace',
  });
  t.equal(body.purpose, 'usage');
  t.equal(await pays(zoe.token), 'team shared', 'it is not her key for calls');
  const { body: bound } = await api('POST', '/tokens', { name: 'x', userId: zoe.id, keyIds: [body.id] });
  t.equal(await pays(bound.token), 'KEY_MISSING');
  t.notOk(upstream.requests.some(({ headers }) => String(headers.authorization).includes('sk-admin-')));
});

t.test('a key shared with some is theirs alone, and no longer when it is taken back', async (t) => {
  const cid = await person('cid');
  const dot = await person('dot');
  const id = await store('some', { userId: ben.id, provider: 'groq', force: true, sharedWith: [cid.id] });
  const groq = ['/v1/chat/completions', 'groq/llama'] as const;
  await becomes(t, cid.token, 'some shared', ...groq);
  t.equal(await pays(dot.token, ...groq), 'KEY_MISSING');
  await api('PATCH', `/api-keys/${id}`, { sharedWith: [dot.id] });
  await becomes(t, dot.token, 'some shared', ...groq);
  t.equal(await pays(cid.token, ...groq), 'KEY_MISSING');
  await api('PATCH', `/api-keys/${id}`, { sharedWith: null });
  await becomes(t, dot.token, 'KEY_MISSING', ...groq);
  await becomes(t, ben.token, 'some own', ...groq);
  const files = await ask(`${gateway.origin}/groq/openai/v1/files`, { headers: { 'x-api-key': ben.token } });
  t.equal(files.status, 200);
});

t.test('a further shared key does not take over from the one that pays already', async (t) => {
  const [ida, jon] = [await person('ida'), await person('jon')];
  t.equal(await pays(jon.token), 'team shared');
  const late = await store('late', { userId: ida.id, sharedWith: 'workspace' });
  t.equal(await pays(jon.token), 'team shared');
  await api('DELETE', `/api-keys/${late}`);
});

t.test('what is kept in the account of a shared key is nobody’s to look at', async (t) => {
  const eve = await person('eve');
  for (const [method, path] of [
    ['GET', '/v1/files'],
    ['GET', '/openai/v1/files/f1/content'],
    ['POST', '/v1/batches'],
    ['DELETE', '/openai/v1/files/f1'],
    ['GET', '/v1/responses/r1'],
  ] as const) {
    const answer = await ask(gateway.origin + path, {
      method,
      headers: { 'x-api-key': eve.token, 'x-sallyport-provider': 'openai' },
      ...(method === 'POST' ? { body: {} } : {}),
    });
    t.match(
      { status: answer.status, code: answer.header('x-sallyport-code') },
      { status: 403, code: 'ENDPOINT_FORBIDDEN' },
      path,
    );
  }
  t.equal(await pays(eve.token), 'team shared');
});

t.test('a custom name is looked for among one’s own and shared keys', async (t) => {
  const custom = { provider: 'custom', origins: [upstream.origin] };
  const fay = await person('fay');
  const refused = await api('POST', '/api-keys', {
    name: 'lab',
    value: valueOf('lab'),
    ...custom,
    userId: ben.id,
  });
  t.ok([201, 403].includes(refused.status));
  await api('POST', '/api-keys', {
    name: 'lab',
    value: valueOf('fay'),
    ...custom,
    userId: fay.id,
    basePath: '/v1',
  });
  await becomes(t, fay.token, 'fay own', '/custom/lab/x', 'm');
  t.equal(await pays(fay.token, '/v1/chat/completions', 'lab/m'), 'fay own');
  t.equal(await pays(ann.token, '/custom/lab/x', 'm'), 'KEY_MISSING');
  t.equal(
    await pays(ann.token, '/v1/chat/completions', 'lab/m'),
    'MODEL_UNKNOWN',
    'another’s names are no names here',
  );
});

t.test('a token goes no further than its bounds', async (t) => {
  const gil = await person('gil');
  const first = await store('first', { userId: gil.id });
  const second = await store('second', { userId: gil.id });
  const mint = async (more: object): Promise<string> =>
    (await api('POST', '/tokens', { name: 'x', userId: gil.id, ...more })).body.token;
  t.match(await pays(await mint({})), /^(?:first|second) own$/, 'either, by weight');
  t.equal(await pays(await mint({ keyIds: [first] })), 'first own');
  t.equal(await pays(await mint({ providers: ['groq'] })), 'FORBIDDEN');
  t.equal(await pays(await mint({ models: ['gpt-4o-mini'] })), 'MODEL_FORBIDDEN');
  t.equal(
    await pays(await mint({ models: ['gpt-*'], keyIds: [second], providers: ['openai'] })),
    'second own',
  );
});

t.test('two workspaces know nothing of each other', async (t) => {
  const { body: other } = await api('POST', '/workspaces', { name: 'other' });
  const hal = await person('hal', other.adminToken);
  t.equal(await pays(hal.token), 'KEY_MISSING', 'neither shared nor managed keys cross over');
  t.equal(await pays(other.token), 'KEY_MISSING');
  const key = await store('hal', { userId: hal.id, sharedWith: 'workspace' }, other.adminToken);
  await becomes(t, hal.token, 'hal own');
  await becomes(t, other.token, 'hal shared');
  t.equal(await pays(ann.token), 'team shared');

  for (const [method, path, body] of [
    ['GET', `/api-keys/${key}`, undefined],
    ['PATCH', `/api-keys/${key}`, { isActive: false }],
    ['DELETE', `/api-keys/${key}`, undefined],
    ['GET', `/users/${hal.id}`, undefined],
    ['DELETE', `/users/${hal.id}`, undefined],
    ['POST', '/api-keys/test', { keyId: key }],
    ['POST', '/tokens', { name: 'x', userId: hal.id }],
  ] as const)
    t.equal((await api(method, path, body)).status, 404, `${method} ${path}`);
  const bound = await api('POST', '/tokens', { name: 'x', keyIds: [key] });
  t.ok(
    bound.status === 404 || (await pays(bound.body.token)) === 'KEY_MISSING',
    'its key in a bound of ours grants nothing',
  );
  t.equal(await pays(hal.token), 'hal own', 'nothing of it was changed');

  await gateway.shipped();
  const { body: usage } = await api('GET', '/usage?groupBy=user', undefined, other.adminToken);
  const groups = usage.data.map(({ group }: { group: string }) => group);
  t.ok(groups.includes(hal.id) && !groups.includes(ann.id));
  const { body: audit } = await api('GET', '/audit?limit=200', undefined, other.adminToken);
  t.notMatch(JSON.stringify(audit), new RegExp(`${gateway.workspaceId}|${ann.id}|${ben.id}`));
});
