import {
  constants,
  brotliCompressSync,
  createZstdCompress,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from 'node:zlib';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-encoded-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin, google: upstream.origin },
  settings: { MAX_JSON_BYTES: '4MiB' },
});
await gateway.addKey('openai', key);
await gateway.addKey('google', key);
await gateway.addKey('custom', key, { name: 'local', origins: [upstream.origin] });
const narrow: string = (
  await gateway.api('POST', '/tokens', { name: 'narrow', models: ['gpt-4o*', 'gemini-a'] })
).body.token;

const json = { 'content-type': 'application/json' };
const bodyOf = (model: string): string => JSON.stringify({ model, messages: [] });

async function post(
  path: string,
  body: Buffer | string,
  headers: Record<string, string>,
  token = gateway.token,
) {
  const before = upstream.requests.length;
  const answer = await ask(gateway.origin + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, ...headers },
    body,
  });
  const seen = upstream.requests[before];
  return {
    status: answer.status,
    code: answer.header('x-sallyport-code'),
    message: answer.status < 400 ? '' : (answer.json().error.message as string),
    sent: seen?.body,
    coding: seen?.headers['content-encoding'],
    length: seen?.headers['content-length'],
  };
}

const codings: readonly (readonly [string, (text: string) => Buffer])[] = [
  ['gzip', gzipSync],
  ['X-GZip', gzipSync],
  ['deflate', deflateSync],
  ['deflate', deflateRawSync],
  ['br', brotliCompressSync],
  ['zstd', zstdCompressSync],
];

t.test('a compressed body passes as it came where nobody has to read its model', async (t) => {
  for (const path of ['/openai/v1/chat/completions', '/custom/local/v1/chat/completions']) {
    for (const [coding, pack] of [...codings, ['x-own', (text: string) => Buffer.from(text)] as const]) {
      const packed = pack(bodyOf('gpt-4o'));
      const {
        status,
        sent,
        coding: sentCoding,
      } = await post(path, packed, { ...json, 'content-encoding': coding });
      t.match({ status, sentCoding }, { status: 200, sentCoding: coding });
      t.ok(sent?.equals(packed), `${path} ${coding}`);
    }
  }
});

t.test('where the model decides who answers the body is unpacked, read, and sent on unpacked', async (t) => {
  for (const [coding, pack] of codings) {
    const headers = { ...json, 'content-encoding': coding };
    const plain = await post('/v1/chat/completions', pack(bodyOf('gpt-4o')), headers);
    t.match(
      { ...plain, sent: plain.sent?.toString() },
      { status: 200, sent: bodyOf('gpt-4o'), coding: undefined },
    );
    t.equal(plain.length, String(bodyOf('gpt-4o').length));
    const named = await post('/v1/chat/completions', pack(bodyOf('openai/gpt-4o')), headers);
    t.equal(named.sent?.toString(), bodyOf('gpt-4o'), `${coding}: the prefix is taken off`);
  }
  const { status, sent } = await post('/v1/chat/completions', bodyOf('gpt-4o'), {
    ...json,
    'content-encoding': 'Identity',
  });
  t.match({ status, sent: sent?.toString() }, { status: 200, sent: bodyOf('gpt-4o') });
});

t.test('a token that restricts models gets none through by packing it', async (t) => {
  for (const path of ['/v1', '/openai/v1', '/custom/local/v1']) {
    for (const [coding, pack] of codings) {
      const headers = { ...json, 'content-encoding': coding };
      const allowed = await post(`${path}/chat/completions`, pack(bodyOf('gpt-4o-mini')), headers, narrow);
      t.match({ ...allowed, sent: allowed.sent?.toString() }, { status: 200, sent: bodyOf('gpt-4o-mini') });
      const refused = await post(`${path}/chat/completions`, pack(bodyOf('o3')), headers, narrow);
      t.match(refused, { status: 403, code: 'MODEL_FORBIDDEN', sent: undefined }, `${path} ${coding}`);
    }
  }
});

t.test('nor by calling it something else', async (t) => {
  for (const type of [
    'application/x-www-form-urlencoded',
    'text/plain',
    'application/octet-stream',
    'application/x-json',
    '',
  ]) {
    for (const path of ['/openai/v1/chat/completions', '/custom/local/v1/chat/completions']) {
      for (const body of [bodyOf('o3'), 'model=o3', bodyOf('gpt-4o')]) {
        if (type === '' && body === bodyOf('gpt-4o')) continue;
        const refused = await post(path, body, { 'content-type': type }, narrow);
        t.ok(refused.status === 403 || refused.status === 400, `${path} ${type}`);
        t.equal(refused.sent, undefined);
      }
    }
  }
  const path = '/google/v1beta/models';
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  t.equal((await post(`${path}/gemini-b:generateContent`, 'x', form, narrow)).code, 'MODEL_FORBIDDEN');
  t.equal(
    (await post(`${path}/gemini-a:generateContent`, 'x', form, narrow)).status,
    200,
    'its path names the model',
  );
});

t.test('bombs are refused without being unpacked, and what is damaged is told so', async (t) => {
  const headers = (coding: string) => ({ ...json, 'content-encoding': coding });
  const blanks = `{"model":"gpt-4o"${' '.repeat(3 * 1024 * 1024)}}`;
  for (const [coding, pack] of codings) {
    const { status, code, message, sent } = await post('/v1/chat/completions', pack(blanks), headers(coding));
    t.match(
      { status, code, message, sent },
      { status: 413, code: 'BODY_TOO_LARGE', message: /unpacked/, sent: undefined },
      coding,
    );
  }
  const noise = Buffer.from(
    Array.from({ length: 2 ** 21 }, (_, n) => 97 + ((n * n * 7 + (n >> 3)) % 26)),
  ).toString();
  const large = `{"model":"gpt-4o","x":"${noise.repeat(3)}"}`;
  t.equal(
    (await post('/v1/chat/completions', gzipSync(large), headers('gzip'))).code,
    'BODY_TOO_LARGE',
    'over MAX_JSON_BYTES',
  );
  const packed = gzipSync(bodyOf('gpt-4o'));
  for (const [coding, body] of [
    ['gzip', packed.subarray(0, -9)],
    ['gzip', Buffer.from(bodyOf('gpt-4o'))],
    ['gzip, br', packed],
    ['br', packed],
    ['zstd', zstdCompressSync(bodyOf('gpt-4o')).subarray(0, -3)],
    ['zstd', await wideZstd(bodyOf('gpt-4o'))],
    ['compress', packed],
    ['gzip', gzipSync('{"model":"gpt-4o","model":"o3"}')],
  ] as const) {
    const refused = await post('/v1/chat/completions', body, headers(coding));
    t.match(refused, { status: 400, code: 'REQUEST_INVALID', sent: undefined }, coding);
  }
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
});

/** A frame that asks for 128 MiB of memory to be unpacked in (RFC 8878, 3.1.1.1.2). */
async function wideZstd(text: string): Promise<Buffer> {
  const packer = createZstdCompress({ params: { [constants.ZSTD_c_windowLog]: 27 } });
  packer.write(text);
  packer.end();
  return Buffer.concat(await packer.toArray());
}
