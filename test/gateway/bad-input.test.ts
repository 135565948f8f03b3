import t, { type Test } from 'tap';
import { mintToken } from '../../src/ids.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, rawConnection, rawExchange, type Answered, type Asked } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-input-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const { origin } = upstream;
const gateway = await startGateway(t, {
  upstreams: { openai: origin, anthropic: origin, google: origin },
  settings: { MAX_JSON_BYTES: '64KiB' },
});
for (const provider of ['openai', 'anthropic', 'google']) await gateway.addKey(provider, key);
await gateway.addKey('custom', key, { name: 'local', origins: [origin] });
const { token } = gateway;

interface Route {
  readonly dialect: 'openai' | 'anthropic' | 'google';
  readonly path: string;
  readonly model: string;
}
const routes: readonly Route[] = [
  { dialect: 'openai', path: '/v1/chat/completions', model: 'gpt-4o' },
  { dialect: 'openai', path: '/openai/v1/chat/completions', model: 'gpt-4o' },
  { dialect: 'openai', path: '/custom/local/v1/chat/completions', model: 'm' },
  { dialect: 'anthropic', path: '/anthropic/v1/messages', model: 'claude-x' },
  { dialect: 'google', path: '/google/v1beta/models/gemini-x:generateContent', model: 'gemini-x' },
];

const types: Readonly<Record<number, readonly [string, string]>> = {
  400: ['invalid_request_error', 'INVALID_ARGUMENT'],
  401: ['authentication_error', 'UNAUTHENTICATED'],
  403: ['permission_error', 'PERMISSION_DENIED'],
  404: ['not_found_error', 'NOT_FOUND'],
  409: ['invalid_request_error', 'FAILED_PRECONDITION'],
  413: ['invalid_request_error', 'INVALID_ARGUMENT'],
  422: ['invalid_request_error', 'INVALID_ARGUMENT'],
};

function guarded(t: Pick<Test, 'equal'>, answer: Answered): void {
  for (const [header, value] of [
    ['x-content-type-options', 'nosniff'],
    ['referrer-policy', 'no-referrer'],
    ['x-frame-options', 'DENY'],
    ['content-security-policy', "default-src 'none'"],
  ] as const)
    t.equal(answer.header(header), value);
}

/** The answer is this refusal, told in the route's dialect, and the provider has seen nothing. */
async function refused(
  t: Pick<Test, 'equal' | 'match' | 'ok'>,
  { dialect, path }: Pick<Route, 'dialect' | 'path'>,
  asked: Asked,
  status: number,
  code: string,
  says: RegExp = /./,
): Promise<Answered> {
  const before = upstream.requests.length;
  const answer = await ask(gateway.origin + path, asked);
  const [type, googleStatus] = types[status] ?? [];
  const name = `${path} ${code}`;
  t.equal(answer.status, status, name);
  t.equal(answer.header('x-sallyport-code'), code);
  t.equal(answer.header('x-should-retry'), 'false');
  t.match(answer.header('x-request-id'), /^call_/);
  guarded(t, answer);
  const body = answer.json();
  if (dialect === 'anthropic') {
    t.match(body, { type: 'error', error: { type }, request_id: answer.header('x-request-id') }, name);
    t.equal(answer.header('request-id'), answer.header('x-request-id'));
  } else if (dialect === 'google') t.match(body, { error: { code: status, status: googleStatus } }, name);
  else t.match(body, { error: { type, param: null } }, name);
  t.match(body.error.message, says);
  t.equal(upstream.requests.length, before, 'the provider saw nothing');
  return answer;
}

const auth = { authorization: `Bearer ${token}` };
const body = (model: string): object => ({ model, messages: [] });

t.test('whoever brings no good token is told so in the dialect of the route', async (t) => {
  const { body: revoked } = await gateway.api('POST', '/tokens', { name: 'x' });
  await gateway.api('DELETE', `/tokens/${revoked.id}`);
  const stranger = mintToken('spt').text;
  for (const route of routes) {
    const asks = (bearer: string): Asked => ({ headers: { 'x-api-key': bearer }, body: body(route.model) });
    await refused(t, route, { body: body(route.model) }, 401, 'AUTH_MISSING', /spt_/);
    await refused(t, route, asks('spt_garbage'), 401, 'AUTH_INVALID', /spt_/);
    await refused(t, route, asks(stranger), 401, 'AUTH_INVALID');
    await refused(t, route, asks(revoked.token), 401, 'AUTH_INVALID', /revoked/);
    await refused(t, route, asks(gateway.adminToken), 401, 'AUTH_INVALID', /spa_.*\/api.*spt_/s);
    await refused(t, route, asks('sk-proj-abcdef'), 401, 'AUTH_INVALID', /provider key/);
  }
  const wrong = await gateway.api('GET', '/tokens', undefined, token);
  t.match(
    wrong,
    { status: 401, body: { code: 'AUTH_INVALID', detail: /spt_.*spa_|spa_.*spt_/s } },
    'and on /api the other way round',
  );
});

t.test('what is wrong with a request is said before anything is opened', async (t) => {
  const { body: stranger } = await gateway.api('POST', '/users', { name: 'nobody' });
  const { body: poor } = await gateway.api('POST', '/tokens', { name: 'poor', userId: stranger.id });
  for (const route of routes) {
    const text = (text: string | Buffer): Asked => ({
      headers: { ...auth, 'content-type': 'application/json' },
      body: text,
    });
    const name = route.path.startsWith('/custom')
      ? /keys add --provider custom --name local/
      : /keys add --provider/;
    await refused(
      t,
      route,
      { headers: { 'x-api-key': poor.token }, body: body(route.model) },
      409,
      'KEY_MISSING',
      name,
    );
    await refused(t, route, text('{"model":'), 400, 'REQUEST_INVALID');
    await refused(t, route, text('{"model":"a"} {}'), 400, 'REQUEST_INVALID');
    await refused(
      t,
      route,
      text(`{"model":"${route.model}","model":"other"}`),
      400,
      'REQUEST_INVALID',
      /model/,
    );
    await refused(
      t,
      route,
      text(`{"model":"${route.model}","mod\\u0065l":"other"}`),
      400,
      'REQUEST_INVALID',
      /model/,
    );
    await refused(
      t,
      route,
      text('{"model":"a","stream":true,"stre\\u0061m":false}'),
      400,
      'REQUEST_INVALID',
      /stream/,
    );
    await refused(t, route, text('{"model":7}'), 400, 'REQUEST_INVALID', /model/);
    await refused(
      t,
      route,
      text(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])),
      400,
      'REQUEST_INVALID',
      /UTF-8/,
    );
    await refused(
      t,
      route,
      text(`{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`),
      400,
      'REQUEST_INVALID',
      /deep/,
    );
    await refused(
      t,
      route,
      text(`{"model":"${route.model}","x":"${'y'.repeat(70_000)}"}`),
      413,
      'BODY_TOO_LARGE',
      /65536/,
    );
    await refused(
      t,
      route,
      { headers: { ...auth, 'x-api-key': mintToken('spt').text }, body: body(route.model) },
      400,
      'REQUEST_INVALID',
      /credentials/,
    );
    await refused(
      t,
      route,
      { headers: { ...auth, 'x-sallyport-provider-key': 'sk-x' }, body: body(route.model) },
      422,
      'KEY_FORMAT',
    );
    await refused(
      t,
      route,
      { headers: { ...auth, 'x-sallyport-seal': 'sps_x' }, body: body(route.model) },
      403,
      'SEAL_WRONG',
    );
    await refused(t, route, { method: 'TRACE', headers: auth }, 403, 'ENDPOINT_FORBIDDEN', /TRACE/);
  }
  for (const path of [
    '/openai/v1/chat/completions',
    '/anthropic/v1/messages',
    '/v1/chat/completions',
  ] as const) {
    const dialect = path.startsWith('/anthropic') ? 'anthropic' : 'openai';
    for (const text of ['[]', '"x"', '7', 'null', ' '])
      await refused(
        t,
        { dialect, path },
        { headers: { ...auth, 'content-type': 'application/json' }, body: text },
        400,
        'REQUEST_INVALID',
      );
  }
});

t.test('a path that cannot be looked up is told in our words, without what was pasted into it', async (t) => {
  const pasted = 'sk-test-pasted-into-a-path-0123456789';
  for (const path of [
    `/api/api-keys/${pasted}${'a'.repeat(100)}`,
    `/api/tokens/${pasted}%zz`,
    `/${pasted}%`,
  ]) {
    const answer = await ask(gateway.origin + path, {
      headers: { authorization: `Bearer ${gateway.adminToken}` },
    });
    t.match([answer.status, answer.header('x-sallyport-code')], [400, 'REQUEST_INVALID'], path);
    const type = path.startsWith('/api') ? 'application/problem+json' : 'application/json';
    t.equal(answer.header('content-type'), `${type}; charset=utf-8`);
    t.notOk(answer.body.includes(pasted));
    guarded(t, answer);
  }
});

t.test('what stands beside the base URLs carries the same guards', async (t) => {
  for (const [path, status] of [
    ['/', 200],
    ['/healthz', 200],
    ['/readyz', 200],
    ['/metrics', 200],
    ['/nowhere', 404],
  ] as const) {
    const answer = await ask(gateway.origin + path);
    t.equal(answer.status, status, path);
    guarded(t, answer);
  }
  const unknown = (await ask(`${gateway.origin}/nowhere`)).json().error.message;
  for (const base of ['/v1', '/openai/v1', '/anthropic', '/google', '/groq/openai/v1', '/xai/v1', '/custom/'])
    t.match(unknown, base);
});

t.test('a model is refused with what would do instead', async (t) => {
  const v1 = routes[0] as Route;
  await refused(
    t,
    v1,
    { headers: auth, body: body('llama-unknown') },
    404,
    'MODEL_UNKNOWN',
    /openai\/….*groq\/….*local\/…/s,
  );
  await refused(t, v1, { headers: auth, body: body('claude-x') }, 400, 'MODEL_DIALECT', /\/anthropic/);
  const { body: narrow } = await gateway.api('POST', '/tokens', {
    name: 'narrow',
    models: ['gemini-cheap*', 'gpt-4o-mini'],
  });
  const asks = (model: string): Asked => ({ headers: { 'x-api-key': narrow.token }, body: body(model) });
  await refused(t, v1, asks('gpt-4o'), 403, 'MODEL_FORBIDDEN', /gpt-4o-mini/);
  const google = (path: string) => ({ dialect: 'google', path: `/google/v1beta/${path}` }) as const;
  // Google runs the model of the path, whatever the body says.
  await refused(
    t,
    google('models/gemini-dear:generateContent'),
    asks('gemini-cheap'),
    403,
    'MODEL_FORBIDDEN',
  );
  await refused(
    t,
    google('models/gemini-dear%3AgenerateContent'),
    asks('gemini-cheap'),
    403,
    'MODEL_FORBIDDEN',
  );
  await refused(
    t,
    google('tunedModels/gemini-cheap:generateContent'),
    asks('gemini-cheap'),
    403,
    'MODEL_FORBIDDEN',
  );
  const served = await ask(
    `${gateway.origin}/google/v1beta/models/gemini%2Dcheap-1:generateContent`,
    asks('gemini-dear'),
  );
  t.equal(served.status, 200);
});

t.test('a path that is nobody’s is answered with the base URLs', async (t) => {
  await refused(
    t,
    { dialect: 'openai', path: '/v1/v1/chat/completions' },
    { headers: auth, body: body('gpt-4o') },
    404,
    'NOT_FOUND',
    /\/v1 twice/,
  );
  for (const path of ['/v2/chat', '/chat/completions', '/v1', '/openai', '/custom/NAME/x', '/nowhere'])
    await refusedAnywhere(t, path);
  await refused(
    t,
    { dialect: 'anthropic', path: '/anthropic/' },
    { headers: auth },
    404,
    'NOT_FOUND',
    /\/anthropic/,
  );
});

async function refusedAnywhere(t: Pick<Test, 'match'>, path: string): Promise<void> {
  const answer = await ask(gateway.origin + path, { headers: auth });
  t.match(
    { status: answer.status, message: answer.json().error.message },
    { status: 404, message: /\/v1, \/openai\/v1, \/anthropic/ },
    path,
  );
}

/** A request as bytes; the connection is closed behind the answer. */
function raw(target: string, headers: readonly string[] = [], method = 'GET', content = ''): string {
  return [
    `${method} ${target} HTTP/1.1`,
    'host: gateway',
    `authorization: Bearer ${token}`,
    'connection: close',
    ...headers,
    '',
    content,
  ].join('\r\n');
}

t.test('paths that two routers could read in two ways are refused', async (t) => {
  const before = upstream.requests.length;
  for (const path of [
    '/openai//v1/models',
    '/openai/v1/%2e%2e/organization',
    '/openai/v1/..%2forganization',
    '/openai/v1/a%00b',
    '/openai/v1/a%5cb',
    '/openai/v1/\\models',
    '/openai/./v1/models',
    '/openai/v1/models/..',
    '/openai/v1/%2E%2e/organization',
    '/openai/v1/.%2e/organization',
    '/openai/v1/%2e/models',
    '/openai/v1/%252e%252e/%00',
    '/openai/v1%2fmodels',
    '/openai/v1%5Cmodels',
    '/openai/..',
    '/openai/v1/models#x',
    '/openai/v1/models\u0009',
    '/openai/v1/mod\u00e9ls',
    '/v1/%',
    '/v1/a%2',
  ])
    t.match(await rawExchange(gateway.origin, raw(path)), /^HTTP\/1\.1 400 [^]*(?:REQUEST_INVALID|$)/, path);
  for (const target of ['http://gateway/v1/models', 'http://169.254.169.254/v1/models', '*', 'gateway:443']) {
    t.match(await rawExchange(gateway.origin, raw(target)), /^HTTP\/1\.1 400 /, target);
    t.match(
      await rawExchange(
        gateway.origin,
        raw(target, ['expect: 100-continue', 'content-length: 2'], 'POST', '{}'),
      ),
      /^HTTP\/1\.1 400 /,
      `${target}, waiting`,
    );
  }
  t.match(await rawExchange(gateway.origin, raw(`/openai/v1/${'x'.repeat(17_000)}`)), /^HTTP\/1\.1 431 /);
  for (const method of ['TRACE', 'TRACK', 'FOO', 'get', 'PRI'])
    t.match(
      await rawExchange(gateway.origin, raw('/openai/v1/models', [], method)),
      /^HTTP\/1\.1 40[03] /,
      method,
    );
  t.match(
    await rawExchange(gateway.origin, 'CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com\r\n\r\n'),
    /^$|^HTTP\/1\.1 4/,
  );
  t.equal(upstream.requests.length, before);
});

t.test('requests that frame themselves in two ways are refused', async (t) => {
  const before = upstream.requests.length;
  const json = '{"model":"gpt-4o"}';
  for (const headers of [
    [`content-length: ${json.length}`, 'content-length: 5'],
    [`content-length: ${json.length}`, `content-length: ${json.length}`],
    [`content-length: ${json.length}`, 'transfer-encoding: chunked'],
    [`content-length: ${json.length}, ${json.length}`],
    ['content-length: -1'],
    ['content-length: 1e1'],
    [`content-length: +${json.length}`],
    ['content-length: 0x13'],
    [`content-length: ${json.length} ${json.length}`],
    [`content-length: ${json.length},${json.length}`],
    ['content-length: 99999999999999999999'],
    ['content-length: '],
    ['transfer-encoding: chunked', 'transfer-encoding: chunked'],
    ['transfer-encoding: chunked', 'transfer-encoding: identity'],
    ['transfer-encoding: chunked, identity'],
    ['transfer-encoding: "chunked"'],
    ['transfer-encoding: gzip, chunked, chunked'],
    ['transfer-encoding: xchunked'],
    ['transfer-encoding : chunked'],
    ['x: a\u0000b'],
    [' folded: x'],
    ['host: second'],
    ['Host: gateway'],
    ['x-api-key: a', 'X-Api-Key: a'],
    ['x-goog-api-key: a', 'x-goog-api-key: b'],
    ['api-key: a', 'api-key: a'],
    ['api-key: a'],
    ['x-sallyport-provider: openai', 'x-sallyport-provider: groq'],
    ['x-sallyport-provider-key: sk-aaaaaaaa', 'x-sallyport-provider-key: sk-bbbbbbbb'],
    ['content-encoding: gzip', 'content-encoding: identity'],
    ['expect: 100-continue', 'expect: 100-continue'],
    ['x\u00e9: 1'],
    ['x: a\u007fb'],
    ['x: a\rb'],
    [': empty'],
    ['content-type: application/json', 'content-type: text/plain'],
    ['authorization: Bearer x'],
    [`x-big: ${'x'.repeat(20_000)}`],
  ])
    t.match(
      await rawExchange(gateway.origin, raw('/openai/v1/chat/completions', headers, 'POST', json)),
      /^HTTP\/1\.1 4(?:00|31|01) /,
      headers.join('; ').slice(0, 60),
    );
  t.equal(upstream.requests.length, before);
});

t.test(
  'nothing of the client’s own goes along: credentials, cookies, hop-by-hop, forwarding, nominated headers',
  async (t) => {
    upstream.respond([{ body: { ok: true } }]);
    await rawExchange(
      gateway.origin,
      raw('/openai/v1/models?key=&a=1', [
        'cookie: a=b',
        'x-forwarded-for: 1.2.3.4',
        'forwarded: for=x',
        'x-real-ip: 1.1.1.1',
        'via: 1.1 x',
        'proxy-authorization: Basic eA==',
        'te: trailers',
        'keep-alive: 9',
        'accept-language: de',
        'accept: a/b',
        'connection: accept-language, x-y',
        'x-y: z',
        'upgrade-insecure-requests: 1',
        'origin: https://x',
        'referer: https://y',
        'trailer: x',
      ]),
    );
    const first = await ask(`${gateway.origin}/openai/v1/models?a=1&key=${token}&b=%20`, {
      headers: { cookie: 'a=b' },
    });
    t.equal(first.status, 200);
    const seen = upstream.requests.at(-1);
    t.equal(seen?.path, '/v1/models?a=1&b=%20');
    for (const { rawHeaders } of upstream.requests.slice(-2)) {
      const names = rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
      t.notOk(
        names.some((name) =>
          /cookie|forward|real-ip|via|proxy|^te$|accept-language|x-y|upgrade|origin|referer|trailer|sallyport-provider/.test(
            name,
          ),
        ),
        names.join(),
      );
      t.notMatch(rawHeaders.join('\n'), /spt_/);
      t.equal(rawHeaders.filter((value) => value.includes(key)).length, 1);
    }
  },
);

t.test('a body that breaks off while its token is looked at ends the call', async (t) => {
  const { gateway: plane } = gateway.app.dataPlane;
  const before = upstream.requests.length;
  for (const [headers, content] of [
    [['content-type: application/json', 'transfer-encoding: chunked'], 'zz\r\n'],
    [['content-type: multipart/form-data', 'transfer-encoding: chunked'], '1\r\na\r\nzz\r\n'],
    [['content-type: application/json', 'transfer-encoding: chunked'], '2\r\n{"\r\nzz\r\n'],
  ] as const) {
    for (const bearer of [token, (await gateway.api('POST', '/tokens', { name: 'new' })).body.token]) {
      const text = raw('/openai/v1/chat/completions', headers, 'POST', content).replace(token, bearer);
      t.match(await rawExchange(gateway.origin, text), /^HTTP\/1\.1 400 |^$/);
    }
  }
  await plane.idle();
  t.equal(plane.callsInFlight(), 0, 'or its place among the token’s calls would be lost for ever');
  t.equal(upstream.requests.length, before);
});

t.test('text that looks like a placeholder is text, wherever it stands', async (t) => {
  const marks = [
    '\u0001sallyport\u0001',
    'sallyport-key-00000000000000000000000000000000',
    '{{SALLYPORT_KEY}}',
    '${OPENAI_API_KEY}',
    '__KEY__',
  ];
  const placeholder = await import('../../src/egress/placeholder.ts');
  marks.push(placeholder.placeholderMark, placeholder.newPlaceholder());
  for (const mark of marks) {
    const sent = JSON.stringify({ model: 'gpt-4o', x: `${mark} Bearer ${mark}` });
    const inBody = await ask(`${gateway.origin}/v1/chat/completions`, {
      headers: { ...auth, 'content-type': 'application/json' },
      body: sent,
    });
    t.equal(inBody.status, 200);
    t.equal(upstream.requests.at(-1)?.body.toString(), sent, 'as it came');
    if (/[^\x20-\x7e]/.test(mark)) continue;
    const before = upstream.requests.length;
    const inHeader = await ask(`${gateway.origin}/openai/v1/models?x=${encodeURIComponent(mark)}`, {
      headers: { ...auth, 'user-agent': `a ${mark}` },
    });
    for (const seen of upstream.requests.slice(before)) {
      t.equal(seen.headers['user-agent'], `a ${mark}`);
      t.equal(seen.rawHeaders.filter((value) => value.includes(key)).length, 1);
    }
    // A header with the very mark is refused at the socket rather than sent in a way that might open a key.
    t.ok(inHeader.status === 200 ? upstream.requests.length === before + 1 : inHeader.status >= 400, mark);
  }
});

t.test('who waits for leave to send is admitted first, and refused without his body', async (t) => {
  upstream.respond([{ body: { ok: true } }]);
  const json = '{"model":"gpt-4o"}';
  const head = (bearer: string, target = '/v1/chat/completions'): string =>
    `POST ${target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${bearer}\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: ${json.length}\r\n\r\n`;
  const good = await rawConnection(gateway.origin, head(token));
  await good.seen(/^HTTP\/1\.1 100 Continue\r\n\r\n/);
  good.socket.write(json);
  t.match(await good.seen(/"ok":true/), /100 Continue[^]*HTTP\/1\.1 200/);
  t.equal(upstream.requests.at(-1)?.headers.expect, undefined);
  good.socket.destroy();
  for (const [bearer, target, status] of [
    ['spt_no', '/v1/x', 401],
    [token, '/v1//x', 400],
    [token, '/v1/v1/x', 404],
  ] as const) {
    const bad = await rawConnection(gateway.origin, head(bearer, target));
    const text = await bad.closed();
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `));
    t.notMatch(text, /100 Continue/);
  }
  const tooLong = await rawConnection(
    gateway.origin,
    head(token).replace(/content-length: \d+/, 'content-length: 999999999'),
  );
  t.match(await tooLong.closed(), /^HTTP\/1\.1 413 /);
});

t.test('one connection serves many requests, also behind a refusal', async (t) => {
  upstream.respond([{ body: { ok: true } }]);
  const request = (bearer: string): string =>
    `GET /openai/v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: ${bearer}\r\n\r\n`;
  const connection = await rawConnection(gateway.origin, request(token) + request('spt_no') + request(token));
  const text = await connection.seen(/"ok":true[^]*invalid_api_key[^]*"ok":true/);
  t.same(text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 401', 'HTTP/1.1 200']);
  connection.socket.destroy();
});

t.test('a call that would come back to this gateway is refused', async (t) => {
  await gateway.addKey('custom', key, { name: 'mirror', origins: [gateway.origin] });
  const from = performance.now();
  let answer: Answered;
  do {
    answer = await ask(`${gateway.origin}/custom/mirror/v1/models`, { headers: auth });
  } while (answer.status === 409 && performance.now() - from < 2000);
  t.equal(answer.status, 508);
  t.match(answer.json(), { error: { code: 'LOOP_DETECTED' } });
});

t.test('no key and no token stands in any line of the log, in the metrics or in the journal', async (t) => {
  await gateway.shipped();
  const lines = await gateway.database.owner<{ n: string }>('select count(*)::text as n from epoch');
  t.ok(lines.length > 0);
  const said = gateway.logLines.join('\n') + (await gateway.metrics());
  t.notMatch(said, new RegExp(`${key}|${token}|${gateway.adminToken}`));
  const journal = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('journal').select('line').execute(),
  );
  t.notMatch(journal.map(({ line }) => line).join('\n'), new RegExp(`${key}|${token}|${gateway.adminToken}`));
});
