import { gzipSync } from 'node:zlib';
import t from 'tap';
import { recordings, type Recording } from '../golden/recordings.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered, type Asked } from '../support/http-client.ts';
import { scriptUpstream, type Answer, type SeenRequest } from '../support/upstream.ts';

const key = 'sk-test-equal-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const { origin } = upstream;
const gateway = await startGateway(t, {
  upstreams: { openai: origin, anthropic: origin, google: origin, groq: origin, xai: origin },
});
// What is tried again, and where, is failover.test.ts.
const { body: once } = await gateway.api('POST', '/tokens', { name: 'once', policy: { maxAttempts: 1 } });
for (const provider of ['openai', 'anthropic', 'google', 'groq', 'xai']) await gateway.addKey(provider, key);
const custom = { origins: [origin], basePath: '/api/v1' };
await gateway.addKey('custom', key, { name: 'local', ...custom });
await gateway.addKey('custom', key, { name: 'counting', ...custom, streamUsage: true });

/** What is about the answer, and neither about a connection nor about us. */
const compared = new Set([
  'content-type',
  'content-encoding',
  'content-length',
  'content-disposition',
  'content-range',
  'accept-ranges',
  'etag',
  'last-modified',
  'cache-control',
  'retry-after',
  'x-ratelimit-remaining-requests',
  'x-should-retry',
]);

/** An event stream goes on in chunks, whether its length was told or not: an error event would not be counted. */
function comparable(answered: Answered): object {
  const { status, headers, body, isWhole } = answered;
  const isStream = answered.header('content-type')?.startsWith('text/event-stream') === true;
  return {
    status,
    isWhole,
    headers: Object.fromEntries(
      headers.filter(([name]) => compared.has(name) && !(isStream && name === 'content-length')),
    ),
    body: body.toString('latin1'),
  };
}

const credentials: Readonly<Record<string, (value: string) => Record<string, string>>> = {
  anthropic: (value) => ({ 'x-api-key': value }),
  google: (value) => ({ 'x-goog-api-key': value }),
};

/** The same request straight to the provider and through the gateway; what came back and what the provider saw. */
async function both(base: string, path: string, asked: Asked, answer: Answer, directPath = path) {
  upstream.respond([answer]);
  const credential =
    credentials[base.split('/')[1] as string] ?? ((value) => ({ authorization: `Bearer ${value}` }));
  const headers = (value: string) => ({
    'user-agent': 'equal/1',
    accept: '*/*',
    ...asked.headers,
    ...credential(value),
  });
  const direct = await ask(origin + directPath, { ...asked, headers: headers(key) });
  const seenDirect = upstream.requests.at(-1) as SeenRequest;
  const through = await ask(gateway.origin + base + path, { ...asked, headers: headers(once.token) });
  const seen = upstream.requests.at(-1) as SeenRequest;
  return { direct, through, seenDirect, seen };
}

const bases: Readonly<Record<string, string>> = {
  openai: '/openai',
  anthropic: '/anthropic',
  google: '/google',
  groq: '/groq',
  xai: '/xai',
  custom: '/custom/local',
};

function answerOf({ file, status, bytes }: Recording, how: 'whole' | 'slow'): Answer {
  const type = file.endsWith('.sse') ? 'text/event-stream; charset=utf-8' : 'application/json';
  const headers = { 'content-type': type, 'x-ratelimit-remaining-requests': '7', etag: '"e1"' };
  if (how === 'whole') return { status, headers, body: bytes };
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 97) parts.push(bytes.subarray(at, at + 97));
  return { status, headers, events: parts };
}

t.test(
  'every recorded answer is the same through the native base URL as straight from the provider',
  async (t) => {
    for (const recording of recordings.filter(
      ({ status, refusal, error }) => !refusal && status < 500 && !error,
    )) {
      const { provider, file, path = '/v1/chat/completions', method = 'POST' } = recording;
      for (const how of ['whole', 'slow'] as const) {
        const isSse = file.endsWith('.sse');
        const body = {
          model: 'gpt-4o',
          stream: isSse,
          stream_options: { include_usage: true },
          messages: [],
        };
        const { direct, through, seen, seenDirect } = await both(
          bases[provider] as string,
          path,
          { method, body },
          answerOf(recording, how),
        );
        t.same(comparable(through), comparable(direct), `${provider} ${file} ${how}`);
        t.equal(seen.body.toString(), seenDirect.body.toString());
        t.equal(seen.path, seenDirect.path);
      }
    }
  },
);

t.test('errors of the provider come through as they are, all but refusals of the key', async (t) => {
  for (const [base, path] of [
    ['/openai', '/v1/x'],
    ['/anthropic', '/v1/messages'],
    ['/google', '/v1beta/x'],
    ['/custom/local', '/x'],
    ['/v1', '/x'],
  ] as const) {
    for (const status of [400, 402, 404, 405, 409, 413, 422, 429, 498, 500, 502, 503, 529]) {
      const answer = {
        status,
        headers: { 'retry-after': '7', 'content-type': 'application/json' },
        body: Buffer.from(`{"error":{"message":"m${status}"}}`),
      };
      const { direct, through } = await both(
        base,
        path,
        { method: 'GET', headers: { 'x-sallyport-provider': 'openai' } },
        answer,
      );
      t.same(comparable(through), comparable(direct), `${base} ${status}`);
      t.match(through.header('x-sallyport-code'), /^UPSTREAM_/);
    }
    for (const status of [401, 403]) {
      upstream.respond([{ status, headers: { 'www-authenticate': `Bearer ${key}` }, body: `no: ${key}` }]);
      const refused = await ask(gateway.origin + base + path, {
        headers: { 'x-api-key': gateway.token, 'x-sallyport-provider': 'openai' },
      });
      t.equal(refused.status, 502, `${base} ${status}`);
      t.match(
        { code: refused.header('x-sallyport-code'), retry: refused.header('x-should-retry') },
        { code: 'UPSTREAM_AUTH', retry: 'false' },
      );
      t.notMatch(`${refused.body.toString()}${JSON.stringify(refused.headers)}`, key);
    }
  }
});

t.test('an error body larger than what is looked at comes through whole', async (t) => {
  const body = Buffer.alloc(300_000, 'e');
  const { direct, through } = await both(
    '/openai',
    '/v1/x',
    {},
    { status: 400, headers: { 'content-type': 'text/html' }, body },
  );
  t.same(comparable(through), comparable(direct));
  t.equal(through.header('content-security-policy'), "default-src 'none'");
  t.equal(through.header('x-content-type-options'), 'nosniff');
});

const boundary = 'xYzBoundary';
const multipart = Buffer.concat([
  Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n\r\n`),
  Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
  Buffer.alloc(200_000, 7),
  Buffer.from(`\r\n--${boundary}--\r\n`),
]);
const binary = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7) % 256));
const json = (body: object | string, extra = {}): Answer => ({
  headers: { 'content-type': 'application/json', ...extra },
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
});

const shapes: readonly (readonly [name: string, asked: Asked, answer: Answer])[] = [
  [
    'a multipart upload',
    { headers: { 'content-type': `multipart/form-data; boundary=${boundary}` }, body: multipart },
    json({ text: 'ok' }),
  ],
  [
    'a binary upload',
    { method: 'PUT', headers: { 'content-type': 'application/octet-stream' }, body: binary },
    json({}),
  ],
  [
    'a binary answer',
    { method: 'GET' },
    { headers: { 'content-type': 'audio/mpeg', 'content-disposition': 'attachment' }, body: binary },
  ],
  [
    'a chunked binary answer',
    { method: 'GET' },
    { headers: { 'content-type': 'audio/mpeg' }, events: [binary.subarray(0, 10), binary.subarray(10)] },
  ],
  ['HEAD', { method: 'HEAD' }, json('{"a":1}')],
  [
    'HEAD of what is not there',
    { method: 'HEAD' },
    { status: 404, headers: { 'content-type': 'application/json' } },
  ],
  ['DELETE', { method: 'DELETE' }, json({ deleted: true })],
  ['DELETE with a body', { method: 'DELETE', body: { a: 1 } }, json({ deleted: true })],
  ['OPTIONS', { method: 'OPTIONS' }, { status: 204, headers: {} }],
  ['PATCH', { method: 'PATCH', body: { model: 'gpt-4o' } }, json({})],
  ['an empty answer', { method: 'POST', body: { model: 'gpt-4o' } }, { status: 204, headers: {} }],
  [
    'not modified',
    { method: 'GET', headers: { 'if-none-match': '"e"' } },
    { status: 304, headers: { etag: '"e"' } },
  ],
  [
    'a range',
    { method: 'GET', headers: { range: 'bytes=0-3' } },
    { status: 206, headers: { 'content-range': 'bytes 0-3/9', 'content-type': 'a/b' }, body: 'abcd' },
  ],
  [
    'a gzip answer',
    { method: 'GET', headers: { 'accept-encoding': 'gzip' } },
    {
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: gzipSync('{"a":1}'),
    },
  ],
  [
    'a gzip stream',
    { body: { model: 'gpt-4o', stream: true, stream_options: { include_usage: true } } },
    {
      headers: { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' },
      body: gzipSync('data: {"choices":[]}\n\ndata: [DONE]\n\n'),
    },
  ],
  [
    'JSON with odd spacing, escapes and unknown fields',
    {
      headers: { 'content-type': 'application/json' },
      body: '{ "model" :"gpt-4o",\n"\\u0078": 1e400,"big":12345678901234567890, "e":"\\ud83d\\ude00é" }',
    },
    json('{ "a" : 1.0 }\n'),
  ],
  ['no content type', { body: '{"model":"gpt-4o"}' }, json({})],
  [
    'an answer that is not what it says',
    { method: 'GET' },
    { headers: { 'content-type': 'application/json' }, body: 'not json' },
  ],
];

for (const [base, path] of [
  ['/openai', '/v1/files/f1/content?a=%20b&c'],
  ['/anthropic', '/v1/files/f1/content'],
  ['/google', '/v1beta/files/f1:download'],
  ['/groq', '/openai/v1/audio/x'],
  ['/xai', '/v1/x'],
  ['/custom/local', '/any/thing;v=1/here?q=1'],
  ['/v1', '/files/f1/content'],
] as const) {
  t.test(`${base}: every kind of request and answer is the same as straight`, async (t) => {
    for (const [name, asked, answer] of shapes) {
      // A custom origin is asked not to compress, because its answers are searched for the key (key-echo.test.ts).
      if (base === '/custom/local' && name.startsWith('a gzip')) continue;
      const headers = { 'x-sallyport-provider': 'openai', ...asked.headers };
      const directPath = base === '/v1' ? `/v1${path}` : path;
      const { direct, through, seen, seenDirect } = await both(
        base,
        path,
        { ...asked, headers },
        answer,
        directPath,
      );
      t.same(comparable(through), comparable(direct), name);
      t.equal(seen.method, seenDirect.method);
      t.equal(seen.path, seenDirect.path);
      t.ok(seen.body.equals(seenDirect.body), 'the same bytes went up');
      const sent = (from: SeenRequest): object => ({
        type: from.headers['content-type'],
        length: from.headers['content-length'],
        range: from.headers.range,
        agent: from.headers['user-agent'],
      });
      t.same(sent(seen), sent(seenDirect));
      t.notMatch(seen.rawHeaders.join('\n'), /spt_|x-sallyport-provider/);
    }
  });
}

t.test('on /v1 only the prefix of the model changes', async (t) => {
  for (const [model, upstreamModel, upstreamPath] of [
    ['openai/gpt-4o', 'gpt-4o', '/v1/chat/completions'],
    ['groq/openai/gpt-oss-20b', 'openai/gpt-oss-20b', '/openai/v1/chat/completions'],
    ['xai/grok-4', 'grok-4', '/v1/chat/completions'],
    ['local/qwen3:8b', 'qwen3:8b', '/api/v1/chat/completions'],
    ['gpt-4o', 'gpt-4o', '/v1/chat/completions'],
  ] as const) {
    const body = `{"a": [ 1,2 ], "model" : ${JSON.stringify(model)} ,"z":"\\u00e9","nested":{"model":"${model}"}}`;
    const { direct, through, seen } = await both(
      '/v1',
      '/chat/completions',
      { body },
      json({ id: 'c' }),
      '/v1/chat/completions',
    );
    t.same(comparable(through), comparable(direct), model);
    t.equal(
      seen.body.toString(),
      body.replace(`"model" : ${JSON.stringify(model)}`, `"model" : ${JSON.stringify(upstreamModel)}`),
    );
    t.equal(seen.path, upstreamPath);
  }
});

t.test('the usage of a stream is asked for, and what comes of it alone is held back', async (t) => {
  for (const recording of recordings.filter(
    ({ held, provider }) => held && ['openai', 'xai'].includes(provider),
  )) {
    const { provider, bytes, file } = recording;
    for (const how of ['whole', 'slow'] as const) {
      const usage = bytes
        .toString()
        .split(/(?<=\n\n)/)
        .filter((event) => event.includes('"choices":[]'));
      t.equal(usage.length, 1, 'one chunk is about usage alone');
      const body = `{"model":"${provider}/m","stream":true}`;
      const { through, seen } = await both(
        '/v1',
        '/chat/completions',
        { body },
        answerOf(recording, how),
        '/v1/chat/completions',
      );
      t.equal(seen.body.toString(), '{"stream_options":{"include_usage":true},"model":"m","stream":true}');
      t.equal(
        through.body.toString(),
        bytes.toString().replace(usage[0] as string, ''),
        `${provider} ${file} ${how}`,
      );
      t.ok(through.isWhole);
      const asks = `{"model":"${provider}/m","stream":true,"stream_options":{"include_usage":true}}`;
      const whole = await both(
        '/v1',
        '/chat/completions',
        { body: asks },
        answerOf(recording, how),
        '/v1/chat/completions',
      );
      t.equal(whole.through.body.toString(), bytes.toString(), 'whoever asks for it gets it');
      t.equal(whole.seen.body.toString(), asks.replace(`${provider}/m`, 'm'));
    }
  }
});

t.test('a custom origin is asked for usage where its key says that it knows the option', async (t) => {
  const events = [
    '{"choices":[{"index":0,"delta":{"content":"hi"}}]}',
    '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}',
    '[DONE]',
  ];
  for (const [name, path, isAsked] of [
    ['counting', '/chat/completions', true],
    ['counting', '/responses', false],
    ['local', '/chat/completions', false],
  ] as const) {
    const body = `{"model":"${name}/m","stream":true}`;
    const { through, seen } = await both('/v1', path, { body }, { events }, `/api/v1${path}`);
    t.equal(seen.body.toString().includes('"include_usage":true'), isAsked, `${name} ${path}`);
    t.equal(through.body.toString().includes('"usage"'), !isAsked, 'what came of it alone is held back');
  }
});

t.test('redirects are not followed, and where they lead is not told', async (t) => {
  for (const status of [301, 302, 303, 307, 308]) {
    const before = upstream.requests.length;
    upstream.respond([
      {
        status,
        headers: { location: `${origin}/elsewhere`, 'set-cookie': 'a=b', refresh: '0;url=/x' },
        body: 'moved',
      },
    ]);
    const answer = await ask(`${gateway.origin}/openai/v1/files/x`, {
      headers: { authorization: `Bearer ${gateway.token}` },
    });
    t.equal(answer.status, status);
    t.same(
      [answer.header('location'), answer.header('set-cookie'), answer.header('refresh')],
      [null, null, null],
    );
    t.equal(upstream.requests.length, before + 1);
  }
});

t.test('each answer says which key paid and where its record is', async (t) => {
  const { through } = await both(
    '/anthropic',
    '/v1/messages',
    { body: { model: 'claude-x' } },
    json({}, { 'request-id': 'req_1' }),
  );
  t.match(through.header('x-request-id'), /^call_[0-9a-f]{32}$/);
  t.equal(through.header('request-id'), through.header('x-request-id'));
  t.match(through.header('x-sallyport-key'), /^key_/);
  t.match(through.header('x-sallyport-receipt'), /\.\d+\.[0-9a-f]{16}$/);
  t.same(
    [
      through.header('x-sallyport-provider'),
      through.header('x-sallyport-key-source'),
      through.header('x-sallyport-attempts'),
      through.header('x-sallyport-upstream-request-id'),
    ],
    ['anthropic', 'own', '1', 'req_1'],
  );
  t.match(through.header('server-timing'), /^gateway;dur=[\d.]+$/);
});

t.test(
  'every attempt that the provider saw has one begin and one end, and every call a final one',
  async (t) => {
    await gateway.shipped();
    const rows = await gateway.database.store.asSystem((tx) =>
      tx
        .selectFrom('journal')
        .select(['event', 'call_id', 'line'])
        .where('event', 'in', ['use.begin', 'use.end'])
        .execute(),
    );
    const of = (wanted: string) =>
      rows.filter(({ event }) => event === wanted).map(({ line }) => JSON.parse(line));
    const attempts = (records: ReturnType<typeof of>): string[] =>
      records.map(({ callId, attempt }) => `${callId} ${attempt}`);
    const begins = attempts(of('use.begin'));
    const ends = attempts(of('use.end'));
    t.equal(new Set(begins).size, begins.length);
    t.equal(ends.length, begins.length);
    t.same(new Set(ends), new Set(begins));
    const finals = of('use.end').filter(({ final }) => final === true);
    t.equal(finals.length, new Set(rows.map(({ call_id }) => call_id)).size);
    const lines = rows.map(({ line }) => line).join('\n');
    t.notMatch(lines, key);
    t.notMatch(gateway.logLines.join('\n'), key);
  },
);
