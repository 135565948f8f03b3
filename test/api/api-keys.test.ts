import { Readable } from 'node:stream';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { keyMacFields } from '../../src/vault/row-macs.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t, { allowOrigins: ['http://10.0.0.7:8000'] });
const owner = world.first.adminToken;
const { call } = world;

async function store(name: string, more: Record<string, unknown> = {}, token = owner) {
  const made = await call(token, 'POST', '/api/api-keys', {
    name,
    provider: 'openai',
    value: newKey(),
    ...more,
  });
  return made.json as { id: string; version: number; fingerprint: string } & Record<string, unknown>;
}

async function versionsOf(keyId: string): Promise<number[]> {
  const rows = await world.store.asSystem((tx) =>
    tx.selectFrom('provider_key_versions').select('version').where('key_id', '=', keyId).execute(),
  );
  return rows.map((row) => row.version);
}

t.test('the call that people paste works as it is', async (t) => {
  const value = newKey();
  const made = await call(
    owner,
    'POST',
    '/api/api-keys',
    `{"name":"My OpenAI Key","service":"openai","value":"${value}","description":"For GPT-4 usage","expiresAt":"2027-12-31T23:59:59Z"}`,
  );
  t.equal(made.status, 201);
  t.equal(made.headers.location, `/api/api-keys/${made.json.id}`);
  t.match(made.json, {
    name: 'My OpenAI Key',
    provider: 'openai',
    service: 'openai',
    description: 'For GPT-4 usage',
    source: 'own',
    protection: 'standard',
    auth: 'bearer',
    origins: ['https://api.openai.com'],
    version: 1,
    last4: value.slice(-4),
    fingerprint: /^[0-9a-f]{16}$/,
    isActive: true,
    status: 'active',
    expiresAt: '2027-12-31T23:59:59.000Z',
  });
  t.notMatch(made.text, value);
});

t.test('a value cannot be asked for', async (t) => {
  const key = await store('hidden');
  for (const url of [
    `/api/api-keys/${key.id}?includeValue=true`,
    '/api/api-keys?includeValue=true',
    `/api/api-keys/${key.id}?includeValue=1`,
  ]) {
    const answer = await call(owner, 'GET', url);
    t.equal(answer.status, 403, url);
    t.equal(answer.json.code, 'VALUE_NEVER_RETURNED');
  }
  t.equal((await call(owner, 'GET', `/api/api-keys/${key.id}?includeValue=false`)).status, 200);
});

t.test('a value of another shape is refused without being echoed, and stored when forced', async (t) => {
  const value = `gsk_${newKey()}`;
  const refused = await call(owner, 'POST', '/api/api-keys', { name: 'wrong', provider: 'openai', value });
  t.equal(refused.status, 422);
  t.equal(refused.json.code, 'KEY_FORMAT');
  t.match(refused.json.detail, /Invalid API key format: a key for openai looks like .*sk-/);
  t.notMatch(refused.text, value);
  const forced = await call(owner, 'POST', '/api/api-keys', {
    name: 'wrong',
    provider: 'openai',
    value,
    force: true,
  });
  t.equal(forced.status, 201);
  for (const bad of ['short', 'with space in it', 'x'.repeat(8193), 'ключ-ключ-ключ']) {
    const answer = await call(owner, 'POST', '/api/api-keys', {
      name: 'bad',
      provider: 'openai',
      value: bad,
      force: true,
    });
    t.equal(answer.status, 422, 'bounds hold with force too');
    t.notMatch(answer.text, bad);
  }
});

t.test('a value that is also the name or description is refused', async (t) => {
  const value = newKey();
  for (const field of ['name', 'description']) {
    const answer = await call(owner, 'POST', '/api/api-keys', {
      name: 'n',
      provider: 'openai',
      value,
      [field]: `x ${value}`,
    });
    t.equal(answer.status, 400);
    t.notMatch(answer.text, value);
  }
});

t.test('bodies that are not to the letter are refused and nothing of them comes back', async (t) => {
  const value = newKey();
  const bodies: [string, string][] = [
    ['unknown field', JSON.stringify({ name: 'a', provider: 'openai', value, colour: value })],
    ['value as a field name', JSON.stringify({ name: 'a', provider: 'openai', value, [value]: 1 })],
    ['value twice', `{"name":"a","provider":"openai","value":"${value}","value":"${value}"}`],
    [
      'value twice, once with escapes',
      `{"name":"a","provider":"openai","\\u0076alue":"${value}","value":"${value}"}`,
    ],
    ['value as an object', JSON.stringify({ name: 'a', provider: 'openai', value: { value } })],
    ['value in a list', JSON.stringify([{ value }])],
    ['not JSON', `{"name":"a","value":"${value}"`],
    ['no JSON at all', value],
    ['name of another type', JSON.stringify({ name: 5, provider: 'openai', value })],
    ['no name', JSON.stringify({ provider: 'openai', value })],
    ['prototype', `{"name":"a","provider":"openai","value":"${value}","__proto__":{"force":true}}`],
    ['unknown provider', JSON.stringify({ name: 'a', provider: 'acme', value })],
    [
      'provider and service differ',
      JSON.stringify({ name: 'a', provider: 'openai', service: 'groq', value }),
    ],
    [
      '30 February',
      JSON.stringify({ name: 'a', provider: 'openai', value, expiresAt: '2027-02-30T00:00:00Z' }),
    ],
    ['no value', JSON.stringify({ name: 'a', provider: 'openai' })],
    ['null value', JSON.stringify({ name: 'a', provider: 'openai', value: null })],
    [
      'origin of a known provider',
      JSON.stringify({ name: 'a', provider: 'openai', value, origins: ['https://evil.example.com'] }),
    ],
    [
      'base path of a known provider',
      JSON.stringify({ name: 'a', provider: 'openai', value, basePath: '/evil' }),
    ],
    [
      'header of a known provider',
      JSON.stringify({ name: 'a', provider: 'openai', value, auth: 'header:x-api-key' }),
    ],
    ['control characters', JSON.stringify({ name: 'a\u0000b', provider: 'openai', value })],
    ['empty', ''],
  ];
  for (const [what, body] of bodies) {
    const answer = await call(owner, 'POST', '/api/api-keys', body);
    t.equal(answer.status, 400, what);
    t.equal(answer.json.code, 'REQUEST_INVALID', what);
    t.notMatch(answer.text, value, what);
  }
  const large = await call(owner, 'POST', '/api/api-keys', {
    name: 'a',
    provider: 'openai',
    value,
    description: 'x'.repeat(70_000),
  });
  t.equal(large.status, 413);
  t.equal(large.json.code, 'BODY_TOO_LARGE');
  const form = await call(owner, 'POST', '/api/api-keys', `value=${value}`, {
    'content-type': 'application/x-www-form-urlencoded',
  });
  t.equal(form.status, 400);
});

t.test('validation names the fields', async (t) => {
  const answer = await call(owner, 'POST', '/api/api-keys', {
    provider: 'openai',
    value: newKey(),
    colour: 1,
    force: 'yes',
  });
  t.match(answer.json.errors, [
    { path: '/name', message: 'is required' },
    { path: '/colour', message: 'is not a known field' },
    { path: '/force' },
  ]);
});

t.test('over plain http a key is refused before its body is read', async (t) => {
  world.secure.isSecure = false;
  t.teardown(() => (world.secure.isSecure = true));
  let isRead = false;
  const payload = new Readable({
    read() {
      isRead = true;
      this.push(JSON.stringify({ name: 'a', provider: 'openai', value: newKey() }));
      this.push(null);
    },
  });
  const answer = await world.app.inject({
    method: 'POST',
    url: '/api/api-keys',
    headers: { authorization: `Bearer ${owner}`, 'content-type': 'application/json' },
    payload,
  });
  t.equal(answer.statusCode, 403);
  t.equal(answer.json().code, 'TLS_REQUIRED');
  t.notOk(isRead);
  for (const method of ['PUT', 'PATCH']) {
    t.equal(
      (await call(owner, method, `/api/api-keys/${newIdOf('key')}`, { value: newKey() })).json.code,
      'TLS_REQUIRED',
    );
  }
  t.equal((await call(owner, 'GET', '/api/api-keys')).status, 200);
});

t.test('a new value makes a new version, and shreds the one before', async (t) => {
  const key = await store('replaced');
  t.same(await versionsOf(key.id), [1]);
  const changed = await call(owner, 'PUT', `/api/api-keys/${key.id}`, { value: newKey() });
  t.equal(changed.status, 200);
  t.equal(changed.json.version, 2);
  t.not(changed.json.fingerprint, key.fingerprint);
  t.same(await versionsOf(key.id), [2]);
  const wrong = await call(owner, 'PATCH', `/api/api-keys/${key.id}`, { value: 'gsk_abcdefghijklmnop' });
  t.equal(wrong.json.code, 'KEY_FORMAT');
});

t.test('a part is changed and the rest stays', async (t) => {
  const key = await store('parts', { description: 'before', expiresAt: '2030-01-01T00:00:00Z' });
  const off = await call(owner, 'PATCH', `/api/api-keys/${key.id}`, { isActive: false });
  t.match(off.json, {
    name: 'parts',
    description: 'before',
    isActive: false,
    status: 'disabled',
    version: 1,
  });
  const cleared = await call(owner, 'PUT', `/api/api-keys/${key.id}`, {
    expiresAt: null,
    description: null,
    isActive: true,
  });
  t.match(cleared.json, { name: 'parts', description: null, expiresAt: null, status: 'active' });
  const expired = await call(owner, 'PATCH', `/api/api-keys/${key.id}`, {
    expiresAt: '2020-01-01T00:00:00+01:00',
  });
  t.match(expired.json, { expiresAt: '2019-12-31T23:00:00.000Z', status: 'expired' });
});

t.test('an etag that is out of date changes nothing', async (t) => {
  const key = await store('tagged');
  const read = await call(owner, 'GET', `/api/api-keys/${key.id}`);
  const etag = String(read.headers['etag']);
  t.match(etag, /^"[\w-]{22}"$/);
  const first = await call(owner, 'PATCH', `/api/api-keys/${key.id}`, { name: 'one' }, { 'if-match': etag });
  t.equal(first.status, 200);
  t.not(first.headers['etag'], etag);
  for (const method of ['PATCH', 'PUT']) {
    const second = await call(
      owner,
      method,
      `/api/api-keys/${key.id}`,
      { name: 'two' },
      { 'if-match': etag },
    );
    t.equal(second.status, 412);
    t.equal(second.json.code, 'PRECONDITION_FAILED');
  }
  t.equal(
    (await call(owner, 'DELETE', `/api/api-keys/${key.id}`, undefined, { 'if-match': etag })).status,
    412,
  );
  t.equal((await call(owner, 'GET', `/api/api-keys/${key.id}`)).json.name, 'one');
  t.equal(
    (await call(owner, 'PATCH', `/api/api-keys/${key.id}`, { name: 'any' }, { 'if-match': '*' })).status,
    200,
  );
});

t.test('deleting shreds, and the receipt names the record', async (t) => {
  const key = await store('gone');
  const answer = await call(owner, 'DELETE', `/api/api-keys/${key.id}`);
  t.equal(answer.status, 200);
  t.same(Object.keys(answer.json), ['id', 'deleted', 'receipt']);
  const [, seq, hash] = /\.(\d+)\.([0-9a-f]{16})$/.exec(answer.json.receipt) ?? [];
  const line = world
    .journalText()
    .split('\n')
    .find((line) => line.includes(`"seq":${seq},`) && line.includes(`"hash":"${hash}`));
  t.match(JSON.parse(line ?? '{}'), { event: 'key.delete.done', keyId: key.id });
  t.same(await versionsOf(key.id), []);
  t.equal((await call(owner, 'GET', `/api/api-keys/${key.id}`)).status, 404);
  t.equal((await call(owner, 'DELETE', `/api/api-keys/${key.id}`)).status, 404);
});

t.test('a creating request that comes twice creates once', async (t) => {
  const headers = { 'idempotency-key': 'abc-1' };
  const body = { name: 'once', provider: 'openai', value: newKey() };
  const [first, twin] = await Promise.all([
    call(owner, 'POST', '/api/api-keys', body, headers),
    call(owner, 'POST', '/api/api-keys', body, headers),
  ]);
  t.equal(first.status, 201, first.text);
  t.equal(twin.status, 201, twin.text);
  t.equal(first.json.id, twin.json.id);
  const again = await call(
    owner,
    'POST',
    '/api/api-keys',
    { value: body.value, provider: 'openai', name: 'once' },
    headers,
  );
  t.equal(again.json.id, first.json.id);
  const other = await call(owner, 'POST', '/api/api-keys', { ...body, value: newKey() }, headers);
  t.equal(other.status, 409);
  t.equal(other.json.code, 'CONFLICT');
  const kind = await call(owner, 'POST', '/api/users', { name: 'once' }, headers);
  t.equal(kind.status, 409, 'one key does not answer for two kinds');
  t.equal(
    (await call(owner, 'POST', '/api/api-keys', body, { 'idempotency-key': 'x'.repeat(300) })).status,
    400,
  );
});

t.test('custom providers', async (t) => {
  const custom = (more: object, token = owner) =>
    call(token, 'POST', '/api/api-keys', {
      name: 'vllm',
      provider: 'custom',
      origins: ['https://llm.example.net'],
      value: newKey(),
      ...more,
    });
  const member = await world.newUser(owner, 'member', 'custom-member');

  await t.test('need a name that fits into a URL', async (t) => {
    for (const name of [
      'Vllm',
      'a b',
      '-a',
      'a/b',
      '',
      'x'.repeat(64),
      'openai',
      'v1',
      'custom',
      'api',
      'ollama.',
    ]) {
      t.equal((await custom({ name })).status, 400, name);
    }
  });
  await t.test('are stored with path and header, and one name is taken once a user', async (t) => {
    const made = await custom({ auth: 'header:X-Api-Key', basePath: '/v2/' });
    t.equal(made.status, 201, made.text);
    t.match(made.json, {
      name: 'vllm',
      auth: 'header:x-api-key',
      basePath: '/v2',
      origins: ['https://llm.example.net'],
    });
    t.equal((await custom({})).json.code, 'CONFLICT');
    const both = await Promise.all([custom({ name: 'race' }), custom({ name: 'race' })]);
    t.same(new Set(both.map((answer) => answer.status)), new Set([201, 409]));
    t.equal((await custom({}, member.token)).status, 201, 'another user may have the same name');
    const other = await custom({ name: 'other' });
    t.equal((await call(owner, 'PATCH', `/api/api-keys/${other.json.id}`, { name: 'vllm' })).status, 409);
    t.equal((await call(owner, 'PATCH', `/api/api-keys/${other.json.id}`, { name: 'openai' })).status, 400);
  });
  await t.test('take no value without a credential, and a value with one', async (t) => {
    t.equal((await custom({ name: 'none-1', auth: 'none' })).status, 400);
    const { value: _, ...rest } = {
      name: 'ollama',
      provider: 'custom',
      origins: ['https://llm.example.net'],
      value: '',
      auth: 'none',
    };
    const made = await call(owner, 'POST', '/api/api-keys', rest);
    t.equal(made.status, 201, made.text);
    t.match(made.json, { auth: 'none', last4: null, fingerprint: null });
    t.equal((await call(owner, 'PATCH', `/api/api-keys/${made.json.id}`, { value: newKey() })).status, 400);
    t.equal((await custom({ name: 'noval', value: null })).status, 400);
  });
  await t.test('send keys in headers that carry credentials only', async (t) => {
    for (const auth of [
      'header:host',
      'header:cookie',
      'header:content-length',
      'header:x-forwarded-for',
      'header:',
      'basic',
      'header:a b',
    ]) {
      t.equal((await custom({ name: 'hdr', auth })).status, 400, auth);
    }
  });
  await t.test('reach private addresses only where the operator says so himself', async (t) => {
    const inner = [
      'http://127.0.0.1:11434',
      'https://169.254.169.254',
      'http://llm.example.net',
      'https://[::1]:8443',
      'https://localhost',
    ];
    for (const origin of inner) {
      const answer = await custom({ name: 'inner', origins: [origin] }, member.token);
      t.equal(answer.status, 403, origin);
      t.equal(answer.json.code, 'EGRESS_REFUSED');
    }
    const mine = await custom({ name: 'mine', origins: ['http://127.0.0.1:11434/'] });
    t.equal(mine.status, 201, 'his own key');
    t.same(mine.json.origins, ['http://127.0.0.1:11434']);
    t.match(world.journalText(), new RegExp(`"keyId":"${mine.json.id}"[^\n]*"operatorOrigin":true`));
    const forCustomer = await custom({
      name: 'cust',
      userId: member.id,
      origins: ['http://127.0.0.1:11434'],
    });
    t.equal(forCustomer.json.code, 'EGRESS_REFUSED', 'what a customer names is not what the operator names');
    t.equal((await custom({ name: 'listed', origins: ['http://10.0.0.7:8000'] }, member.token)).status, 201);
    const mixed = await custom(
      { name: 'mixed', origins: ['http://10.0.0.7:8000', 'http://10.0.0.8:8000'] },
      member.token,
    );
    t.equal(mixed.json.code, 'EGRESS_REFUSED');
    for (const origin of [
      'https://u:p@llm.example.net',
      'https://llm.example.net/path',
      'ftp://llm.example.net',
      'not a url',
      'https://llm.example.net?x=1',
    ]) {
      t.match((await custom({ name: 'odd', origins: [origin] })).status, /40[03]/, origin);
    }
    t.equal((await custom({ name: 'nowhere', origins: [] })).status, 400);
    for (const basePath of ['v1', '/v1?x', '/../admin', '/a//b', '/%2e%2e']) {
      t.equal((await custom({ name: 'path', basePath })).status, 400, basePath);
    }
  });
});

t.test('a failed test is an answer, and marks the key until a good one', async (t) => {
  const key = await store('tested');
  world.probes.result = {
    ok: false,
    status: 401,
    code: 'UPSTREAM_AUTH',
    ms: 3,
    message: 'API key test failed: OpenAI refused the key (status 401).',
  };
  const bad = await call(owner, 'POST', '/api/api-keys/test', { keyId: key.id });
  t.equal(bad.status, 200);
  t.match(bad.json, {
    keyId: key.id,
    ok: false,
    status: 401,
    code: 'UPSTREAM_AUTH',
    ms: 3,
    message: /^API key test failed: /,
  });
  const marked = await call(owner, 'GET', `/api/api-keys/${key.id}`);
  t.match(marked.json, { status: 'auth_failed', lastTest: bad.json });
  world.probes.result = new SallyportError('KEY_ORIGIN', 'The key was stored for another origin.');
  const origin = await call(owner, 'POST', '/api/api-keys/test', { keyId: key.id });
  t.match(origin.json, { ok: false, status: null, code: 'KEY_ORIGIN', message: /^API key test failed: / });
  t.equal(
    (await call(owner, 'GET', `/api/api-keys/${key.id}`)).json.status,
    'auth_failed',
    'says nothing of the key itself',
  );
  world.probes.result = new SallyportError('JOURNAL_UNAVAILABLE', 'closed');
  t.equal((await call(owner, 'POST', '/api/api-keys/test', { keyId: key.id })).status, 503);
  world.probes.result = { ok: true, status: 200, code: null, ms: 3, message: null };
  t.equal((await call(owner, 'POST', '/api/api-keys/test', { keyId: key.id })).json.ok, true);
  t.equal((await call(owner, 'GET', `/api/api-keys/${key.id}`)).json.status, 'active');
});

t.test('a replaced value is sealed for the origin in force', async (t) => {
  const key = await store('moved');
  world.origins['openai'] = 'http://127.0.0.1:9999';
  t.teardown(() => delete world.origins['openai']);
  const same = await call(owner, 'PATCH', `/api/api-keys/${key.id}`, { name: 'moved too' });
  t.same(same.json.origins, ['https://api.openai.com'], 'without the value nothing moves');
  const moved = await call(owner, 'PATCH', `/api/api-keys/${key.id}`, { value: newKey() });
  t.same(moved.json.origins, ['http://127.0.0.1:9999']);
});

t.test('lists go by pages, newest first, and by filter', async (t) => {
  const member = await world.newUser(owner, 'member', 'lister');
  for (const name of ['a', 'b', 'c', 'd', 'e']) await store(name, {}, member.token);
  const seen: string[] = [];
  let cursor: string | null = null;
  do {
    const page = await call(
      member.token,
      'GET',
      `/api/api-keys?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`,
    );
    seen.push(...page.json.data.map((key: { name: string }) => key.name));
    cursor = page.json.nextCursor as string | null;
  } while (cursor !== null);
  t.same(seen, ['e', 'd', 'c', 'b', 'a']);
  t.equal((await call(member.token, 'GET', '/api/api-keys?provider=groq')).json.data.length, 0);
  t.equal((await call(owner, 'GET', `/api/api-keys?userId=${member.id}`)).json.data.length, 5);
  for (const query of [
    'limit=0',
    'limit=201',
    'limit=x',
    'cursor=!!',
    'cursor=eyJhIjoxfQ',
    'colour=red',
    'limit=1&limit=2',
  ]) {
    t.equal((await call(owner, 'GET', `/api/api-keys?${query}`)).status, 400, query);
  }
});

t.test(
  'environment keys become managed keys, once, and the operator alone sees them until he shares them',
  async (t) => {
    const caller = await world.callerOf(owner);
    const secret = Buffer.from(newKey());
    const first = await world.services.keys.importManaged(caller, 'openai', secret);
    t.match(first, { provider: 'openai', imported: true });
    t.match(await world.services.keys.importManaged(caller, 'openai', secret), {
      id: first.id,
      imported: false,
    });
    t.match(await world.services.keys.importManaged(caller, 'openai', Buffer.from(newKey())), {
      id: first.id,
      imported: true,
    });
    t.match((await call(owner, 'GET', `/api/api-keys/${first.id}`)).json, { source: 'managed', version: 2 });
    const member = await world.newUser(owner, 'member', 'managed-member');
    t.equal((await call(member.token, 'GET', `/api/api-keys/${first.id}`)).status, 404);
    t.match((await call(owner, 'PATCH', '/api/workspaces/current', { managedKeys: true })).json, {
      managedKeys: true,
    });
    t.match((await call(member.token, 'GET', `/api/api-keys/${first.id}`)).json, { source: 'managed' });
    t.equal(
      (await call(member.token, 'PATCH', `/api/api-keys/${first.id}`, { isActive: false })).status,
      403,
    );
  },
);

t.test('a key says how much of the load it takes, and whether its origin is asked for usage', async (t) => {
  const plain = await store('plain');
  t.match(plain, { weight: 1, streamUsage: false });
  const heavy = await store('heavy', { weight: 1000 });
  t.equal(heavy['weight'], 1000);
  const url = `/api/api-keys/${heavy.id}`;
  const edited = await call(owner, 'PATCH', url, { weight: 0 });
  t.match(edited.json, { weight: 0, version: 1 });
  t.match((await call(owner, 'PUT', url, { name: 'light' })).json, { weight: 0, name: 'light' });
  const isGenuine = async (id: string): Promise<boolean> => {
    const row = await world.store.asSystem((tx) =>
      tx.selectFrom('provider_keys').selectAll().where('id', '=', id).executeTakeFirstOrThrow(),
    );
    return world.vault.checkRowMac(row.workspace_id, 'provider_keys', keyMacFields(row), row.mac);
  };
  t.ok(await isGenuine(heavy.id), 'an edit writes the MAC anew');
  await world.tamper('provider_keys', `update provider_keys set weight = 7 where id = '${heavy.id}'`);
  t.notOk(await isGenuine(heavy.id), 'who writes weights into the database does not decide who pays');

  const custom = { provider: 'custom', origins: ['http://10.0.0.7:8000'] };
  const asked = await store('asked', { ...custom, streamUsage: true });
  t.equal(asked['streamUsage'], true);
  t.match((await call(owner, 'PATCH', `/api/api-keys/${asked.id}`, { streamUsage: false })).json, {
    streamUsage: false,
  });
  t.ok(await isGenuine(asked.id));
  const known = { name: 'x', provider: 'openai', value: newKey(), streamUsage: true };
  t.match((await call(owner, 'POST', '/api/api-keys', known)).json, { code: 'REQUEST_INVALID' });
  t.equal((await call(owner, 'PATCH', `/api/api-keys/${plain.id}`, { streamUsage: true })).status, 400);
  for (const weight of [-1, 1001, 0.5, '1', null])
    t.equal((await call(owner, 'PATCH', `/api/api-keys/${plain.id}`, { weight })).status, 400, `${weight}`);
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});

function newIdOf(prefix: string): string {
  return `${prefix}_${'0'.repeat(32)}`;
}
