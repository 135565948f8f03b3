import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import t from 'tap';
import { defaultPaces } from '../../src/gateway/body-pace.ts';
import { readForm } from '../../src/gateway/form-body.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-test-forms-0123456789abcdef';
const upstream = await scriptUpstream(t, { key, script: [{ body: { text: 'said' } }] });
const { origin } = upstream;
const gateway = await startGateway(t, {
  upstreams: { openai: origin, groq: origin },
  settings: { MAX_UPLOAD_BYTES: '64MiB' },
});
for (const provider of ['openai', 'groq']) await gateway.addKey(provider, key);
await gateway.addKey('custom', key, { name: 'local', origins: [origin] });
await gateway.api('POST', '/aliases', { alias: 'ears', target: 'groq/whisper-large-v3' });
const judged = (
  await gateway.api('POST', '/tokens', { name: 'judged', models: ['groq/*', 'whisper-1', 'ears'] })
).body.token;

const boundary = 'x-0123456789';
const type = `multipart/form-data; boundary=${boundary}`;
const model = (name: string): string =>
  `--${boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n${name}\r\n`;
const file = (bytes: number): string =>
  `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n${'u'.repeat(bytes)}\r\n`;
const form = (...parts: string[]): string => `${parts.join('')}--${boundary}--\r\n`;
const path = '/audio/transcriptions';

async function send(body: string, more: { base?: string; token?: string; isChunked?: boolean } = {}) {
  const { base = '/v1', token = gateway.token, isChunked = false } = more;
  const before = upstream.requests.length;
  const answer = await ask(gateway.origin + base + path, {
    method: 'POST',
    body,
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': type,
      ...(isChunked ? { 'transfer-encoding': 'chunked', 'content-length': [] } : {}),
    },
  });
  return {
    answer,
    seen: upstream.requests[before],
    sent: upstream.requests.length - before,
    code: answer.header('x-sallyport-code'),
  };
}

t.test('on /v1 a form goes where its model says, and its prefix is taken off', async (t) => {
  for (const [name, upstreamPath, upstreamModel] of [
    ['whisper-1', '/v1/audio/transcriptions', 'whisper-1'],
    ['openai/whisper-1', '/v1/audio/transcriptions', 'whisper-1'],
    ['groq/whisper-large-v3', '/openai/v1/audio/transcriptions', 'whisper-large-v3'],
    ['local/any', '/v1/audio/transcriptions', 'any'],
    ['ears', '/openai/v1/audio/transcriptions', 'whisper-large-v3'],
  ] as const) {
    for (const bytes of [100, 300_000]) {
      for (const isChunked of [false, true]) {
        const { answer, seen } = await send(form(model(name), file(bytes)), { isChunked });
        t.equal(answer.status, 200, `${name} ${bytes} ${isChunked}`);
        t.equal(seen?.path, upstreamPath);
        t.equal(seen?.body.toString(), form(model(upstreamModel), file(bytes)));
        const length = seen?.headers['content-length'] ?? String(seen?.body.length);
        t.equal(length, String(seen?.body.length));
      }
    }
  }
});

t.test('a model after the first 64 KiB is not looked for: the form goes on as it came', async (t) => {
  const body = form(file(300_000), model('groq/whisper-large-v3'));
  const { seen } = await send(body);
  t.equal(seen?.path, '/v1/audio/transcriptions', 'to openai, as a call that names none');
  t.equal(seen?.body.toString(), body);
});

t.test('a token for certain models sends no other behind the start of a form', async (t) => {
  for (const name of ['whisper-1', 'groq/whisper-large-v3', 'ears'])
    t.equal((await send(form(file(300_000), model(name)), { token: judged })).answer.status, 200, name);
  for (const [body, code] of [
    [form(file(300_000), model('gpt-4o-transcribe')), 'MODEL_FORBIDDEN'],
    [form(model('whisper-1'), file(300_000), model('gpt-4o-transcribe')), 'REQUEST_INVALID'],
    [form(file(300_000)), 'MODEL_FORBIDDEN'],
    [form(model('whisper-1'), file(26 * 1024 * 1024)), 'BODY_TOO_LARGE'],
  ] as const) {
    for (const isChunked of [false, true]) {
      const refused = await send(body, { token: judged, isChunked });
      t.match(refused, { code, sent: 0 });
    }
  }
  const native = await send(form(file(10), model('gpt-4o-transcribe')), {
    token: judged,
    base: '/openai/v1',
  });
  t.match(native, { code: 'MODEL_FORBIDDEN', sent: 0 });
  const lenient = await send(`\r\n${form(model('gpt-4o-transcribe'))}`, {
    token: judged,
    base: '/custom/local',
  });
  t.match(lenient, { code: 'REQUEST_INVALID', sent: 0 });
});

t.test('what can be read in two ways is refused on /v1, and is nobody’s affair elsewhere', async (t) => {
  const body = form(model('whisper-1'), model('groq/whisper-large-v3'));
  t.match(await send(body), { code: 'REQUEST_INVALID', sent: 0 });
  for (const base of ['/custom/local', '/openai/v1']) {
    const { answer, seen } = await send(body, { base });
    t.equal(answer.status, 200);
    t.equal(seen?.body.toString(), body);
  }
});

t.test('the model of a form stands in its usage', async (t) => {
  const { answer } = await send(form(file(10), model('gpt-4o-transcribe')), { base: '/openai/v1' });
  await gateway.shipped();
  const { body } = await gateway.api('GET', `/usage/calls/${answer.header('x-request-id')}`);
  t.match(body.attempts[0], { model: 'gpt-4o-transcribe', provider: 'openai' });
});

t.test('however a form is cut on its way, it is the same form with the same model', async () => {
  const whole = Buffer.from(form(file(500), model('groq/whisper'), file(90_000)));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 40_000 }), { maxLength: 30 }),
      fc.constantFrom(null, 'whisper', 'a-longer-name-than-the-one-that-came'),
      fc.boolean(),
      async (sizes, renamed, restrictsModels) => {
        function* pieces(): Generator<Buffer> {
          let at = 0;
          for (const size of sizes) {
            if (at < whole.length) yield whole.subarray(at, (at += size));
          }
          if (at < whole.length) yield whole.subarray(at);
        }
        const request = Object.assign(Readable.from(pieces(), { objectMode: false }), {
          headers: { 'content-type': type },
          complete: true,
        }) as unknown as IncomingMessage;
        const read = await readForm(request, {
          maxUploadBytes: 1e6,
          share: { take: () => {} },
          paces: defaultPaces,
          restrictsModels,
          isStrict: true,
        });
        const opened = read.open(renamed);
        const body = Buffer.isBuffer(opened) ? opened : Buffer.concat(await opened.toArray());
        const wanted = whole.toString().replace('groq/whisper', renamed ?? 'groq/whisper');
        const change = Buffer.isBuffer(opened) ? 0 : opened.lengthChange;
        return (
          read.model === 'groq/whisper' &&
          body.toString() === wanted &&
          (Buffer.isBuffer(opened) || change === body.length - whole.length)
        );
      },
    ),
    { numRuns: 60 },
  );
});
