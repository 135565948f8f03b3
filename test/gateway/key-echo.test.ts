import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { rawUpstream, written } from '../support/raw-upstream.ts';
import { scriptUpstream, type Answer } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-echo/0123456789+abcdefghijklmnopqrstuvw';
/** Of letters that a header's name may have. */
const plainKey = 'sk-test-wire-0123456789-abcdefghijklmnopqrstuvw';
let parts: readonly string[] = [];
const plays = (...next: readonly string[]): void => {
  parts = next;
};
const upstream = await scriptUpstream(t, { key });
const raw = await rawUpstream(t, () => ({ play: (socket) => written(socket, parts) }));
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin, google: upstream.origin, groq: raw.origin },
});
const keyId = await gateway.addKey('openai', key);
await gateway.addKey('google', key);
await gateway.addKey('groq', plainKey);
await gateway.addKey('custom', key, { name: 'local', origins: [upstream.origin] });
await gateway.addKey('custom', plainKey, { name: 'wire', origins: [raw.origin] });

/** The key as it would stand in somebody's program. */
const forms: Readonly<Record<string, string>> = {
  raw: key,
  'JSON-escaped': JSON.stringify(key).slice(1, -1).replaceAll('/', '\\/'),
  'URL-escaped': encodeURIComponent(key),
  hex: Buffer.from(key).toString('hex'),
  HEX: Buffer.from(key).toString('hex').toUpperCase(),
  base64: Buffer.from(`Bearer ${key}`).toString('base64'),
  base64url: Buffer.from(`user:${key}`).toString('base64url'),
};

/** Sixteen bytes out of the middle of each: less than all of a key is a leak too. */
function holdsKey(answer: Answered): string[] {
  const text = `${answer.headers.flat().join('\n')}\n${answer.body.toString('latin1')}`;
  return Object.entries(forms)
    .filter(([, form]) => text.includes(form.slice(form.length / 2 - 8, form.length / 2 + 8)))
    .map(([name]) => name);
}

async function call(path: string, body: object | null = { model: 'gpt-4o', messages: [] }, encoding = '') {
  return ask(gateway.origin + path, {
    headers: {
      authorization: `Bearer ${gateway.token}`,
      ...(encoding === '' ? {} : { 'accept-encoding': encoding }),
    },
    ...(body === null ? {} : { body }),
  });
}

/** What the owner of the key reads of the calls since: journal, metrics and log. */
async function told(): Promise<number> {
  const [, count = '0'] = /^sallyport_keys_echoed_total\{.*\} (\d+)$/m.exec(await gateway.metrics()) ?? [];
  return Number(count) + gateway.logLines.filter((line) => line.includes('"key.echoed"')).length;
}

t.test('a provider that echoes the key in an error has it taken out, in every form', async (t) => {
  for (const [name, form] of Object.entries(forms)) {
    const body = `{"error":{"message":"what is ${form}? "}}`;
    upstream.respond([{ status: 400, body, headers: { 'x-ratelimit-echo': form, 'retry-after': '7' } }]);
    for (const path of ['/v1/chat/completions', '/custom/local/v1/chat/completions']) {
      const answer = await call(path);
      t.equal(answer.status, 400, name);
      t.same(holdsKey(answer), [], `${path} ${name}`);
      t.match(answer.json().error.message, /^what is [\w=-]{0,12}\*{40,}[\w=-]{0,4}\? $/, name);
      t.equal(answer.header('content-length'), String(body.length), 'framing as it came');
      t.match(answer.header('x-ratelimit-echo'), /^[\w=-]{0,12}\*{40,}/, 'its headers too');
      t.equal(answer.header('retry-after'), '7');
    }
  }
});

t.test('it is counted, logged with ids and kept in the journal, for the owner', async (t) => {
  const before = await told();
  upstream.respond([{ status: 400, body: { error: { message: key } } }]);
  const id = (await call('/v1/chat/completions')).header('x-request-id');
  upstream.respond([{ status: 400, body: { error: { message: 'no' } } }]);
  await call('/v1/chat/completions');
  t.equal(await told(), before + 2, 'one in the log, one in the metrics');
  const line = JSON.parse(gateway.logLines.findLast((each) => each.includes('"key.echoed"')) ?? '{}');
  t.match(line, { requestId: id, keyId, provider: 'openai', status: 400, count: 1, level: 'warn' });
  await gateway.shipped();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('journal').select('line').where('event', '=', 'use.end').orderBy('seq').execute(),
  );
  const records = rows.map(({ line }) => JSON.parse(line) as { callId: string; keyEchoed?: boolean });
  t.match(
    records
      .filter(({ keyEchoed }) => keyEchoed !== undefined)
      .map(({ callId, keyEchoed }) => [callId, keyEchoed])
      .at(-1),
    [id, true],
  );
  t.equal('keyEchoed' in (records.at(-1) as object), false, 'of all others nothing is said');
});

t.test('a custom origin’s answers are searched whatever their status, streamed and not', async (t) => {
  upstream.respond([
    { body: { choices: [{ message: { content: `your key is ${key}` } }] }, headers: { etag: key } },
  ]);
  const whole = await call('/custom/local/v1/chat/completions');
  t.equal(whole.status, 200);
  t.same(holdsKey(whole), []);
  t.equal(whole.json().choices[0].message.content, `your key is ${'*'.repeat(key.length)}`);
  t.equal(whole.header('etag'), '*'.repeat(key.length));
  t.equal(upstream.requests.at(-1)?.headers['accept-encoding'], 'identity');

  const gate = Promise.withResolvers<void>();
  const event = (content: string): string => JSON.stringify({ choices: [{ delta: { content } }] });
  upstream.respond([
    {
      events: [
        event('one'),
        Buffer.from('data: sk-te'),
        gate.promise,
        Buffer.from(`${key.slice(5)}\n\n`),
        '[DONE]',
      ],
    },
  ]);
  let seen = '';
  const streamed = await ask(`${gateway.origin}/custom/local/v1/chat/completions`, {
    headers: { authorization: `Bearer ${gateway.token}` },
    body: { model: 'm', stream: true, messages: [] },
    onData: (chunk) => {
      seen += chunk.toString();
      // The first event is there before the next comes; of what may be the key nothing is.
      if (seen.includes('one')) gate.resolve();
    },
  });
  t.ok(streamed.isWhole);
  t.equal(
    streamed.body.toString(),
    `data: ${event('one')}\n\ndata: ${'*'.repeat(key.length)}\n\ndata: [DONE]\n\n`,
  );
});

t.test('a known provider’s good answer is relayed unsearched, byte for byte', async (t) => {
  const body = { choices: [{ message: { content: `sk-test ${key.slice(0, 20)}` } }] };
  upstream.respond([{ body }]);
  t.same((await call('/v1/chat/completions')).json(), body);
});

t.test('split over two chunks at any byte, and in a header or a trailer, a key is found', async (t) => {
  for (let cut = 0; cut <= plainKey.length; cut += 1) {
    plays(
      `HTTP/1.1 400 Bad ${plainKey}\r\ntransfer-encoding: chunked\r\ntrailer: x-key\r\nopenai-x: ${plainKey}\r\nopenai-${plainKey}: 1\r\n\r\n`,
      chunk(`a ${plainKey.slice(0, cut)}`),
      chunk(`${plainKey.slice(cut)} b`),
      `0\r\nx-key: ${plainKey}\r\n\r\n`,
    );
    const path = cut % 2 === 0 ? '/custom/wire/v1/chat/completions' : '/groq/openai/v1/chat/completions';
    const answer = await call(path);
    t.equal(answer.body.toString(), `a ${'*'.repeat(plainKey.length)} b`, `${path} at ${cut}`);
    t.notMatch(answer.headers.join(), /0123456789/);
    t.equal(
      answer.headers.some(([name]) => name.includes('x-key')),
      false,
    );
  }
});

t.test('a key that came with its call is taken out too', async (t) => {
  const given = `sk-test-given-${'0123456789abcdef'.repeat(3)}`;
  plays(`HTTP/1.1 400 No\r\ncontent-length: ${given.length}\r\nopenai-x: ${given}\r\n\r\n`, given);
  for (const path of ['/groq/openai/v1/models', '/custom/wire/v1/models']) {
    const answer = await ask(gateway.origin + path, {
      headers: { authorization: `Bearer ${gateway.token}`, 'x-sallyport-provider-key': given },
    });
    t.match(
      { status: answer.status, body: answer.body.toString() },
      { status: 400, body: '*'.repeat(given.length) },
    );
    t.notMatch(answer.headers.join(), given);
  }
});

t.test(
  'an error that comes compressed is told decoded and without the key; what cannot be read is not told',
  async (t) => {
    const text = JSON.stringify({ error: { message: `no ${key}` } });
    const coded: readonly (readonly [string, Buffer, string])[] = [
      ['gzip', gzipSync(text), text.replace(key, '*'.repeat(key.length))],
      ['br', brotliCompressSync(text), text.replace(key, '*'.repeat(key.length))],
      ['zstd', zstdCompressSync(text), text.replace(key, '*'.repeat(key.length))],
      ['gzip', gzipSync(Buffer.alloc(2 ** 20, 'x')), ''],
      ['br', Buffer.from('no brotli'), ''],
      ['gzip, br', gzipSync(text), ''],
      ['x-own', Buffer.from(text), ''],
    ];
    for (const [encoding, body, wanted] of coded) {
      upstream.respond([
        { status: 404, body, headers: { 'content-encoding': encoding, 'content-type': 'application/json' } },
      ]);
      for (const path of ['/openai/v1/models/gpt-x', '/custom/local/v1/models']) {
        const answer = await call(path, null, 'gzip');
        t.match(
          { status: answer.status, text: answer.body.toString() },
          { status: 404, text: wanted },
          `${path} ${encoding}`,
        );
        t.equal(answer.header('content-encoding'), null);
      }
    }
  },
);

t.test('a compressed answer of a custom origin that was asked for none is refused in words', async (t) => {
  const answer: Answer = { body: gzipSync('x'), headers: { 'content-encoding': 'gzip' } };
  upstream.respond([answer]);
  const refused = await call('/custom/local/v1/chat/completions', undefined, 'gzip');
  t.match(
    { status: refused.status, code: refused.header('x-sallyport-code'), body: refused.json() },
    { status: 502, code: 'UPSTREAM_ERROR', body: { error: { message: /compressed.*cannot be searched/ } } },
  );
  upstream.respond([{ headers: { 'content-encoding': 'gzip' } }]);
  const head = await ask(`${gateway.origin}/custom/local/v1/models`, {
    method: 'HEAD',
    headers: { authorization: `Bearer ${gateway.token}` },
  });
  t.equal(head.status, 200, 'without a body there is nothing to search');
});

t.test('of a refused key nothing is told: not its body, not a header, compressed or not', async (t) => {
  const detail = [{ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID' }];
  const google = JSON.stringify({ error: { code: 400, message: `bad ${key}`, details: detail } });
  const path = '/google/v1beta/models';
  const headers = {
    'x-request-id': key,
    'x-goog-request-id': 'req-1',
    'x-gemini-service-tier': key,
    'retry-after': '1',
  };
  for (const answer of [
    { status: 400, body: google, headers },
    { status: 400, body: gzipSync(google), headers: { ...headers, 'content-encoding': 'gzip' } },
    { status: 400, body: `[${google}]`, headers },
    { status: 401, body: google, headers },
    { status: 403, body: google, headers },
  ]) {
    upstream.respond([answer]);
    const told = await call(path, null, 'gzip');
    t.match(
      { status: told.status, code: told.header('x-sallyport-code') },
      { status: 502, code: 'UPSTREAM_AUTH' },
    );
    t.same(holdsKey(told), []);
    t.equal(told.header('x-gemini-service-tier'), null);
    t.notMatch(told.body.toString(), /\bbad|API_KEY/);
  }
});

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}
