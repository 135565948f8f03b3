import t from 'tap';
import { verifyJournal } from '../../src/journal/verify.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const given = 'sk-test-given-0123456789abcdef0123456789abcdef';
const stored = 'sk-test-stored-0123456789abcdef0123456789abcdef';
const upstream = await scriptUpstream(t, {
  script: [{ body: { usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 } } }],
});
const { origin } = upstream;
const gateway = await startGateway(t, {
  upstreams: { openai: origin, anthropic: origin, google: origin, groq: origin, xai: origin },
  settings: { SALLYPORT_ALLOW_ORIGINS: origin },
});
gateway.watch(given);

interface More {
  readonly token?: string;
  readonly key?: string | string[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
  readonly method?: string;
}

function call(path: string, more: More = {}): Promise<Answered> {
  const { token = gateway.token, key = given, headers = {} } = more;
  return ask(gateway.origin + path, {
    headers: { 'x-api-key': token, 'x-sallyport-provider-key': key, ...headers },
    ...(more.method === undefined
      ? { body: more.body ?? { model: 'm', messages: [] } }
      : { method: more.method }),
  });
}

function codeOf(answer: Answered): string {
  return answer.header('x-sallyport-code') ?? String(answer.status);
}

async function mint(more: object): Promise<string> {
  return (await gateway.api('POST', '/tokens', { name: 'x', ...more })).body.token;
}

t.test(
  'a key that comes with its call goes to its provider in that provider’s own header, and is kept nowhere',
  async (t) => {
    const gpt = { body: { model: 'gpt-4o' } };
    for (const [path, header, more] of [
      ['/v1/chat/completions', 'authorization', gpt],
      ['/openai/v1/chat/completions', 'authorization', {}],
      ['/anthropic/v1/messages', 'x-api-key', {}],
      ['/google/v1beta/models/gemini-x:generateContent', 'x-goog-api-key', {}],
      ['/groq/openai/v1/chat/completions', 'authorization', {}],
      ['/xai/v1/chat/completions', 'authorization', {}],
    ] as const) {
      const answer = await call(path, more);
      t.equal(codeOf(answer), '200', path);
      t.equal(answer.header('x-sallyport-key-source'), 'pass-through');
      t.equal(answer.header('x-sallyport-key'), null);
      const seen = upstream.requests.at(-1);
      const sent = header === 'authorization' ? `Bearer ${given}` : given;
      t.equal(seen?.headers[header], sent, path);
      t.notMatch(seen?.rawHeaders.join('\n'), /sallyport-provider-key|spt_/i);
    }
    const rows = await gateway.database.store.asSystem((tx) =>
      tx.selectFrom('provider_keys').select('id').execute(),
    );
    t.same(rows, []);
  },
);

t.test('it goes before a stored key, and what the provider says of it harms no stored one', async (t) => {
  const keyId = await gateway.addKey('openai', stored);
  const chat = { body: { model: 'gpt-4o' } };
  t.equal((await call('/v1/chat/completions', chat)).header('x-sallyport-key-source'), 'pass-through');
  t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${given}`);
  upstream.respond([{ status: 401, body: { error: { message: `Incorrect API key provided: ${given}` } } }]);
  const refused = await call('/v1/chat/completions', chat);
  t.match({ status: refused.status, code: codeOf(refused) }, { status: 502, code: 'UPSTREAM_AUTH' });
  t.match(
    refused.json().error.message,
    /refused the key that came with the call \(status 401\).*x-sallyport-provider-key/s,
  );
  upstream.respond([{ body: {} }]);
  const own = await ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { 'x-api-key': gateway.token },
    ...chat,
  });
  t.equal(own.header('x-sallyport-key'), keyId);
  t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${stored}`);
  t.equal((await gateway.api('GET', `/api-keys/${keyId}`)).body.status, 'active');
  t.equal(
    codeOf(await call('/openai/v1/files', { method: 'GET' })),
    '200',
    'his own account: what he keeps there is his to list',
  );
});

t.test('what is no key for calls is refused before anything is looked for, and never repeated', async (t) => {
  const before = upstream.requests.length;
  const refused: [string, string | string[], string][] = [
    ['nothing', '', 'KEY_FORMAT'],
    ['too short', 'sk-0123', 'KEY_FORMAT'],
    ['8193 bytes', 'k'.repeat(8193), 'KEY_FORMAT'],
    ['a space', 'sk-test with-a-space-0123', 'KEY_FORMAT'],
    ['not ASCII', 'sk-test-é-0123456789', 'KEY_FORMAT'],
    ['a gateway token', gateway.token, 'KEY_FORMAT'],
    ['an admin token', gateway.adminToken, 'KEY_FORMAT'],
    ['a seal', `sps_${'a'.repeat(49)}`, 'KEY_FORMAT'],
    ['twice', [given, given], 'REQUEST_INVALID'],
    ['an administrative key', 'sk-admin-0123456789abcdef0123', 'KEY_INVALID'],
    ['another provider’s administrative key', 'sk-ant-admin01-0123456789abcdef', 'KEY_INVALID'],
  ];
  for (const [what, key, code] of refused) {
    const answer = await call('/openai/v1/chat/completions', { key });
    t.equal(codeOf(answer), code, what);
    t.ok([400, 409, 422].includes(answer.status), `${what}: ${answer.status}`);
    t.equal(answer.header('x-should-retry'), 'false');
    for (const one of [key].flat())
      if (one !== '') t.notOk(answer.body.includes(one.slice(0, 60)), `${what} is not told back`);
  }
  for (const path of ['/openai/v1/organization/admin_api_keys', '/openai/v1/realtime/client_secrets'])
    t.equal(codeOf(await call(path)), 'ENDPOINT_FORBIDDEN');
  const unclear = await call('/v1/files', { method: 'GET' });
  t.equal(codeOf(unclear), 'REQUEST_INVALID', 'nobody said whose key it is');
  t.match(unclear.json().error.message, /x-sallyport-provider/);
  t.equal(upstream.requests.length, before);
  t.equal(
    codeOf(await call('/v1/files', { method: 'GET', headers: { 'x-sallyport-provider': 'groq' } })),
    '200',
  );
  t.match(upstream.requests.at(-1)?.path, /^\/openai\/v1\/files/);
});

t.test('whose key it is, once said, is not overruled by a model that names another provider', async (t) => {
  const before = upstream.requests.length;
  // Groq’s own name of this model: without the prefix `groq/` it names OpenAI.
  const oss = { body: { model: 'openai/gpt-oss-120b' }, headers: { 'x-sallyport-provider': 'groq' } };
  for (const path of ['/v1/chat/completions', '/openai/v1/chat/completions']) {
    const refused = await call(path, oss);
    t.match(
      { status: refused.status, code: codeOf(refused) },
      { status: 400, code: 'REQUEST_INVALID' },
      path,
    );
    t.match(refused.json().error.message, /groq.*openai/s);
  }
  t.equal(upstream.requests.length, before, 'it went to nobody');
  t.equal(codeOf(await call('/groq/openai/v1/chat/completions', oss)), '200');
  t.equal(
    codeOf(await call('/v1/chat/completions', { ...oss, body: { model: 'groq/openai/gpt-oss-120b' } })),
    '200',
  );
});

t.test('a token’s bounds hold, and one that is bound to stored keys takes no other', async (t) => {
  const [{ id }] = (await gateway.api('GET', '/api-keys')).body.data;
  const chat = { body: { model: 'gpt-4o' } };
  const path = '/v1/chat/completions';
  t.equal(codeOf(await call(path, { ...chat, token: await mint({ keyIds: [id] }) })), 'FORBIDDEN');
  t.equal(codeOf(await call(path, { ...chat, token: await mint({ providers: ['groq'] }) })), 'FORBIDDEN');
  t.equal(
    codeOf(await call(path, { ...chat, token: await mint({ models: ['gpt-4o-mini'] }) })),
    'MODEL_FORBIDDEN',
  );
  t.equal(
    codeOf(await call(path, { ...chat, token: await mint({ providers: ['openai'], models: ['gpt-*'] }) })),
    '200',
  );
});

t.test('a custom provider gets such a key only at an origin that the operator listed', async (t) => {
  const { body: user } = await gateway.api('POST', '/users', { name: 'customer' });
  const token = await mint({ userId: user.id });
  const custom = { provider: 'custom', userId: user.id };
  await gateway.addKey('custom', stored, {
    ...custom,
    name: 'lab',
    origins: [origin],
    basePath: '/base',
    auth: 'header:api-key',
  });
  await gateway.addKey('custom', stored, {
    ...custom,
    name: 'wide',
    origins: ['https://models.example.com'],
  });
  await gateway.api('POST', '/api-keys', { ...custom, name: 'open', origins: [origin], auth: 'none' });
  t.equal(codeOf(await call('/custom/lab/chat', { token })), '200');
  t.match(upstream.requests.at(-1), { path: '/chat', headers: { 'api-key': given } });
  t.equal(codeOf(await call('/v1/chat/completions', { token, body: { model: 'lab/x' } })), '200');
  t.match(upstream.requests.at(-1), { path: '/base/chat/completions', headers: { 'api-key': given } });
  const before = upstream.requests.length;
  const refused = await call('/custom/wide/chat', { token });
  t.match({ status: refused.status, code: codeOf(refused) }, { status: 403, code: 'EGRESS_REFUSED' });
  t.match(refused.json().error.message, /origins that the operator listed/);
  t.equal(codeOf(await call('/custom/open/chat', { token })), 'REQUEST_INVALID');
  t.equal(codeOf(await call('/custom/nobody/chat', { token })), 'KEY_MISSING');
  t.equal(upstream.requests.length, before);
});

t.test('over a link that others can read it is refused', async (t) => {
  const behind = await startGateway(t, {
    upstreams: { openai: origin },
    settings: { TRUSTED_PROXIES: '127.0.0.1' },
  });
  const over = (proto: string) =>
    ask(`${behind.origin}/openai/v1/models`, {
      headers: {
        'x-api-key': behind.token,
        'x-sallyport-provider-key': given,
        'x-forwarded-proto': proto,
        'x-forwarded-for': '192.0.2.7',
      },
    });
  const before = upstream.requests.length;
  const refused = await over('http');
  t.match({ status: refused.status, code: codeOf(refused) }, { status: 403, code: 'TLS_REQUIRED' });
  t.equal(upstream.requests.length, before);
  t.equal(codeOf(await over('https')), '200');
});

t.test('its calls are on record and metered like all others, named by a fingerprint', async (t) => {
  await gateway.shipped();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('usage_events').selectAll().where('key_source', '=', 'pass-through').execute(),
  );
  t.ok(rows.length > 10);
  for (const { key_id, key_version, key_fingerprint } of rows)
    t.match(
      { key_id, key_version, key_fingerprint },
      { key_id: null, key_version: null, key_fingerprint: /^[0-9a-f]{16}$/ },
    );
  t.equal(new Set(rows.map((row) => row.key_fingerprint)).size, 1, 'one value, one fingerprint');
  const metered = rows.find(
    ({ operation, input_tokens }) => operation === 'openai.chat' && input_tokens !== null,
  );
  t.match(metered, { input_tokens: 3n, output_tokens: 4n, usage_source: 'provider' });
  const { body: view } = await gateway.api('GET', `/usage/calls/${metered?.call_id}`);
  t.match(view.attempts[0], {
    keyId: null,
    keyVersion: null,
    keySource: 'pass-through',
    keyFingerprint: metered?.key_fingerprint,
  });
  const kept = await gateway.addKey('openai', given, { name: 'the same' });
  t.equal(
    (await gateway.api('GET', `/api-keys/${kept}`)).body.fingerprint,
    metered?.key_fingerprint,
    'the stored key of that value has it too',
  );
  const verified = await verifyJournal({ store: gateway.database.store, dir: gateway.journalDir });
  t.match(verified, { ok: true });
  const begins = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('journal').select('line').where('event', '=', 'use.begin').execute(),
  );
  t.ok(
    begins
      .map(({ line }) => JSON.parse(line))
      .some(
        (begin) =>
          begin.keySource === 'pass-through' && begin.protection === 'none' && begin.keyFingerprint !== null,
      ),
  );
});
