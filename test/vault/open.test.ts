import fc from 'fast-check';
import t from 'tap';
import { good, openerFor, place } from './opener-fixture.ts';

t.test('what was opened is wiped, after a success and after every refusal', async (t) => {
  const cases: readonly (readonly [unknown, Partial<typeof place>, string | null])[] = [
    [good, {}, null],
    [good, { origin: 'https://evil.example' }, 'KEY_ORIGIN'],
    [good, { header: 'x-api-key' }, 'KEY_INVALID'],
    [{ ...good, secret: 'has\nnewline-in-it' }, {}, 'KEY_INVALID'],
    [{ ...good, type: 'odd' }, {}, 'KEY_INVALID'],
    ['sk-test-not-even-json-0123456789', {}, 'KEY_INVALID'],
  ];
  for (const [payload, change, code] of cases) {
    const { opener, row, handedOut } = openerFor(payload);
    const prepared = await opener.prepare(row);
    const into = Buffer.alloc(prepared.maxBytes);
    if (code === null) {
      t.equal(prepared.openInto(into, 0, place), good.secret.length);
    } else {
      t.throws(() => prepared.openInto(into, 0, { ...place, ...change }), { code });
      t.ok(
        into.every((byte) => byte === 0),
        'nothing of it stays in the caller’s buffer',
      );
    }
    t.strictSame(
      handedOut.map(({ length }) => length),
      [32, 256],
      'the data key and the payload',
    );
    t.ok(handedOut.every((bytes) => bytes.every((byte) => byte === 0)));
  }
});

t.test('preparing opens no payload, and a warm open derives nothing', async (t) => {
  const { opener, row, handedOut } = openerFor(good);
  const prepared = await opener.prepare(row);
  t.equal(handedOut.length, 1, 'the data key only');
  for (let i = 0; i < 3; i += 1) prepared.openInto(Buffer.alloc(200), 0, place);
  (await opener.prepare(row)).openInto(Buffer.alloc(200), 0, place);
  t.strictSame(
    handedOut.map(({ length }) => length),
    [32, 256, 256, 256, 256],
  );
});

t.test('where the secret stands is remembered of one row alone, not of the key', async (t) => {
  const { opener, row, changed } = openerFor(good);
  const other = { ...good, secret: 'sk-another-of-other-length', origins: ['https://api.other.example'] };
  const opened = async (of: typeof row, origin: string): Promise<string> => {
    const into = Buffer.alloc(200);
    const length = (await opener.prepare(of)).openInto(into, 0, { ...place, origin });
    return into.toString('latin1', 0, length);
  };
  const anew = changed(other);
  for (let i = 0; i < 2; i += 1) {
    t.equal(await opened(row, place.origin), good.secret);
    t.equal(await opened(anew, 'https://api.other.example'), other.secret);
    await t.rejects(opened(anew, place.origin), { code: 'KEY_ORIGIN' });
  }
});

t.test('only bytes that a header may carry go out, whoever made the payload', async (t) => {
  for (const secret of [
    '',
    'a b',
    'line\r\nx-evil: 1',
    'nul\0',
    'tab\t',
    'del\u007f',
    'ümlaut',
    '😀',
    'x'.repeat(8193),
  ]) {
    const { opener, row } = openerFor({ ...good, secret });
    const prepared = await opener.prepare(row);
    const into = Buffer.alloc(9000);
    t.throws(
      () => prepared.openInto(into, 0, place),
      { code: 'KEY_INVALID' },
      JSON.stringify(secret.slice(0, 20)),
    );
    t.ok(into.every((byte) => byte === 0));
  }
  const { opener, row } = openerFor({ ...good, secret: 'y'.repeat(8192) });
  const prepared = await opener.prepare(row);
  t.equal(prepared.maxBytes, 8192);
  t.equal(prepared.openInto(Buffer.alloc(8192), 0, place), 8192);
});

t.test('a client-made payload steers no header', async (t) => {
  for (const header of [
    'host',
    'cookie',
    'content-length',
    'transfer-encoding',
    'connection',
    'proxy-authorization',
    'X-Api-Key',
    'x-a: b',
    'x-sallyport-provider-key',
    'te',
  ]) {
    const { opener, row } = openerFor({ ...good, type: 'header', header });
    const prepared = await opener.prepare(row);
    t.throws(
      () => prepared.openInto(Buffer.alloc(500), 0, { ...place, header }),
      { code: 'KEY_INVALID' },
      header,
    );
  }
});

t.test('any payload whatever is opened to the letter or refused, and wiped', async () => {
  const secret = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.jsonValue());
  await fc.assert(
    fc.asyncProperty(
      secret,
      fc.constantFrom(undefined, 'type', 'origins', 'v'),
      fc.jsonValue(),
      async (secret, name, other) => {
        const payload = { ...good, secret, ...(name === undefined ? {} : { [name]: other }) };
        const { opener, row, handedOut } = openerFor(payload);
        const prepared = await opener.prepare(row);
        const into = Buffer.alloc(prepared.maxBytes);
        let isRight: boolean;
        try {
          const length = prepared.openInto(into, 0, place);
          isRight = into.toString('latin1', 0, length) === secret;
        } catch (error) {
          isRight =
            ['KEY_INVALID', 'KEY_ORIGIN'].includes((error as { code: string }).code) &&
            into.every((byte) => byte === 0);
        }
        return isRight && handedOut.every((bytes) => bytes.every((byte) => byte === 0));
      },
    ),
  );
});
