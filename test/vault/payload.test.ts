import fc from 'fast-check';
import t from 'tap';
import { buildPayload, copySecret, readPayload, type PayloadHead } from '../../src/vault/payload.ts';

const head: PayloadHead = {
  type: 'bearer',
  header: 'authorization',
  origins: ['https://api.openai.com'],
  createdAt: '2026-01-02T03:04:05.678Z',
};

function secretOf(bytes: Buffer): string {
  const { secret } = readPayload(bytes);
  const into = Buffer.alloc(8200);
  return secret === null ? '' : into.toString('latin1', 0, copySecret(bytes, secret, into, 0));
}

const refused = { code: 'KEY_INVALID' };

t.test('a payload is the JSON of the design, padded with spaces to 256-byte steps', async (t) => {
  const bytes = buildPayload(head, Buffer.from('sk-"quoted"\\'));
  t.equal(bytes.length, 256);
  t.strictSame(JSON.parse(bytes.toString()), {
    v: 1,
    type: 'bearer',
    secret: 'sk-"quoted"\\',
    origins: ['https://api.openai.com'],
    createdAt: '2026-01-02T03:04:05.678Z',
  });
  t.match(bytes.toString(), /\} +$/);
  t.equal(bytes.buffer.byteLength, 256, 'in memory of its own');
  t.strictSame(
    JSON.parse(buildPayload({ ...head, type: 'header', header: 'x-api-key' }, Buffer.from('k')).toString())
      .header,
    'x-api-key',
  );
  const none = readPayload(buildPayload({ ...head, type: 'none', header: null }, null));
  t.match(none, { type: 'none', header: null, secret: null, origins: head.origins });
});

t.test('a payload tells the length of its secret in 256-byte steps only', async (t) => {
  const lengths = new Set(
    Array.from({ length: 100 }, (_, i) => buildPayload(head, Buffer.alloc(i + 8, 0x61)).length),
  );
  t.strictSame([...lengths], [256]);
  t.equal(buildPayload(head, Buffer.alloc(8192, 0x22)).length % 256, 0);
});

t.test('any secret comes out as it went in', async () => {
  const secret = fc.array(fc.integer({ min: 0x21, max: 0x7e }), { minLength: 1, maxLength: 600 });
  const origins = fc.array(
    fc.webUrl().map((url) => new URL(url).origin),
    { minLength: 1, maxLength: 16 },
  );
  fc.assert(
    fc.property(secret, origins, (codes, origins) => {
      const secret = Buffer.from(codes);
      const bytes = buildPayload({ ...head, origins }, secret);
      const read = readPayload(bytes);
      return (
        bytes.length % 256 === 0 &&
        secretOf(bytes) === secret.toString('latin1') &&
        JSON.stringify(read.origins) === JSON.stringify(origins)
      );
    }),
  );
});

t.test('a secret that other clients wrote with escapes is read the same', async (t) => {
  const text =
    '{"v":1,"type":"bearer","s\\u0065cret":"\\u0073k-\\/\\"\\\\\\u005c","origins":["https://a.b"],"createdAt":"x"}';
  t.equal(secretOf(Buffer.from(text.padEnd(256))), 'sk-/"\\\\');
});

t.test('a secret is copied only where it fits', async (t) => {
  const bytes = buildPayload(head, Buffer.from('"'.repeat(20)));
  const { secret } = readPayload(bytes);
  if (secret === null) throw new Error('no secret');
  t.equal(copySecret(bytes, secret, Buffer.alloc(20), 0), 20, 'exactly, counted unescaped');
  const small = Buffer.alloc(24);
  t.throws(() => copySecret(bytes, secret, small, 5), refused);
  t.ok(small.every((byte) => byte === 0));
});

t.test('what is not exactly such a payload is refused', async (t) => {
  const good = '"v":1,"type":"bearer","secret":"sk-12345678","origins":["https://a.b"],"createdAt":"x"';
  t.doesNotThrow(() => readPayload(Buffer.from(`{${good}}`.padEnd(256))));
  const bad = [
    `{${good},"secret":"other-secret"}`,
    `{${good},"s\\u0065cret":"other-secret"}`,
    `{${good},"more":1}`,
    `{${good},"origins":["https://evil.example"]}`,
    `{${good},"header":"x-api-key"}`,
    `{${good.replace('"v":1', '"v":2')}}`,
    `{${good.replace('"v":1', '"v":"1"')}}`,
    `{${good.replace('bearer', 'sigv4')}}`,
    `{${good.replace('bearer', 'header')}}`,
    `{${good.replace('"bearer"', '"none"')}}`,
    `{${good.replace('"sk-12345678"', '12345678')}}`,
    `{${good.replace('"sk-12345678"', 'null')}}`,
    `{${good.replace('["https://a.b"]', '"https://a.b"')}}`,
    `{${good.replace('["https://a.b"]', '[]')}}`,
    `{${good.replace('["https://a.b"]', '[1]')}}`,
    `{${good.replace('["https://a.b"]', JSON.stringify(Array(17).fill('https://a.b')))}}`,
    `{${good.replace(',"createdAt":"x"', '')}}`,
    `{"v":1,"type":"bearer","origins":["https://a.b"],"createdAt":"x"}`,
    `{${good}}\0`,
    `[{${good}}]`,
    `sk-plaintext`,
    '',
  ];
  for (const text of bad)
    t.throws(() => readPayload(Buffer.from(text.padEnd(256))), refused, text.slice(0, 60));
  t.throws(() => readPayload(Buffer.from(`{${good}}`)), refused, 'not padded');
  t.throws(() => readPayload(Buffer.alloc(0)), refused);
});

t.test('no refusal carries a part of the payload', async (t) => {
  const bytes = Buffer.from(
    '{"v":1,"type":"bearer","secret":"sk-secret-secret","origins":[],"createdAt":"x"'.padEnd(256),
  );
  try {
    readPayload(bytes);
    t.fail('read');
  } catch (error) {
    t.notMatch(`${String(error)}${(error as Error).stack}`, /sk-secret/);
    t.equal((error as Error).cause, undefined);
  }
});
