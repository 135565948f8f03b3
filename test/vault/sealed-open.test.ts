import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { good, isWiped, openerFor, padded, place } from './opener-fixture.ts';

const ikm = randomBytes(32);

t.test('a sealed key opens with its seal, and all that was opened on the way is wiped', async (t) => {
  const { opener, row, handedOut } = openerFor(good, { ikm });
  const prepared = await opener.prepare(row, ikm);
  const into = Buffer.alloc(prepared.maxBytes);
  const length = prepared.openInto(into, 0, place);
  t.equal(into.toString('latin1', 0, length), good.secret);
  t.strictSame(
    handedOut.map(({ length }) => length),
    [32, 256 + 48, 256],
    'data key, sealed payload, payload',
  );
  t.ok(isWiped(handedOut));
});

t.test(
  'the seal’s bytes are not needed once the key is prepared, and nothing opens after the call',
  async (t) => {
    const { opener, row } = openerFor(good, { ikm });
    const copy = Buffer.from(ikm);
    const preparing = opener.prepare(row, copy);
    copy.fill(0);
    const prepared = await preparing;
    const into = Buffer.alloc(prepared.maxBytes);
    t.equal(prepared.openInto(into, 0, place), good.secret.length);
    into.fill(0);
    prepared.wipe();
    prepared.wipe();
    t.throws(() => prepared.openInto(into, 0, place), { code: 'VAULT_SEALED' });
    t.throws(() => prepared.checkOrigin(place.origin), { code: 'VAULT_SEALED' });
    t.ok(isWiped([into]));
  },
);

t.test('a prepared sealed key is dead after 300 s', async (t) => {
  const { opener, row, time } = openerFor(good, { ikm });
  const prepared = await opener.prepare(row, ikm);
  time.now = 300_000;
  t.throws(() => prepared.openInto(Buffer.alloc(500), 0, place), { code: 'VAULT_SEALED' });
});

t.test('no seal, a wrong one, or one of the wrong size: refused before anything is opened', async (t) => {
  const { opener, row, handedOut, alarms } = openerFor(good, { ikm });
  await t.rejects(opener.prepare(row), { code: 'SEAL_REQUIRED', status: 403 });
  await t.rejects(opener.prepare(row, null), { code: 'SEAL_REQUIRED' });
  for (const wrong of [randomBytes(32), randomBytes(31), Buffer.alloc(0), Buffer.alloc(32)])
    await t.rejects(opener.prepare(row, wrong), { code: 'SEAL_WRONG', status: 403 });
  await t.rejects(opener.prepare({ ...row, sealPublicKey: null }, ikm), { code: 'KEY_INVALID' });
  await t.rejects(opener.prepare({ ...row, sealId: null }, ikm), { code: 'KEY_INVALID' });
  t.strictSame(handedOut, []);
  t.strictSame(alarms, [], 'a mistyped seal is no break-in');
});

t.test('a seal that comes along with a standard key does no harm', async (t) => {
  const { opener, row } = openerFor(good);
  t.ok((await opener.prepare(row, ikm)).openInto(Buffer.alloc(500), 0, place) > 0);
});

t.test(
  'a seal’s public key exchanged in the database opens nothing, for the thief’s seal or the right one',
  async (t) => {
    const { opener, row, handedOut } = openerFor(good, { ikm });
    const thief = randomBytes(32);
    const exchanged = { ...row, sealPublicKey: openerFor(good, { ikm: thief }).row.sealPublicKey };
    await t.rejects(opener.prepare(exchanged, ikm), { code: 'SEAL_WRONG' });
    t.strictSame(handedOut, []);
    const prepared = await opener.prepare(exchanged, thief);
    const into = Buffer.alloc(500);
    t.throws(() => prepared.openInto(into, 0, place), { code: 'KEY_INVALID' });
    t.ok(isWiped([into, ...handedOut]));
  },
);

t.test('sealed for another workspace, seal or provider: it does not open', async (t) => {
  const { opener, row } = openerFor(good, { ikm });
  for (const change of [
    { sealId: 'seal_2' },
    { workspaceId: 'ws_2' },
    { provider: 'other' },
    { keyId: 'key_2' },
    { version: 2 },
  ])
    await t.rejects(
      async () => (await opener.prepare({ ...row, ...change }, ikm)).openInto(Buffer.alloc(500), 0, place),
      { code: 'KEY_INVALID' },
      JSON.stringify(change),
    );
});

/** What a client could put into its own payload to steer the request, or to break who opens it. */
const json = JSON.stringify(good);
const hostile: readonly (readonly [string, unknown, Partial<typeof place>, string])[] = [
  ['CR', { ...good, secret: 'sk-test-01234567\rx' }, {}, 'KEY_INVALID'],
  ['LF', { ...good, secret: 'sk-test-01234567\nx-evil: 1' }, {}, 'KEY_INVALID'],
  ['CR LF', { ...good, secret: 'sk-test-0\r\nhost: evil.example\r\n' }, {}, 'KEY_INVALID'],
  ['NUL', { ...good, secret: 'sk-test-\0-01234567' }, {}, 'KEY_INVALID'],
  ['space', { ...good, secret: 'sk-test 01234567' }, {}, 'KEY_INVALID'],
  ['non-ASCII', { ...good, secret: 'sk-tést-01234567' }, {}, 'KEY_INVALID'],
  ['empty', { ...good, secret: '' }, {}, 'KEY_INVALID'],
  ['8193 bytes', { ...good, secret: 'x'.repeat(8193) }, {}, 'KEY_INVALID'],
  ['10 KB', { ...good, secret: 'x'.repeat(10_240) }, {}, 'KEY_INVALID'],
  ['a foreign origin', { ...good, origins: ['https://evil.example'] }, {}, 'KEY_ORIGIN'],
  ['an origin that only begins so', { ...good, origins: [`${place.origin}.evil.example`] }, {}, 'KEY_ORIGIN'],
  ['no origin', { ...good, origins: [] }, {}, 'KEY_INVALID'],
  ['17 origins', { ...good, origins: Array(17).fill(place.origin) }, {}, 'KEY_INVALID'],
  ['header host', { ...good, type: 'header', header: 'host' }, { header: 'host' }, 'KEY_INVALID'],
  ['header cookie', { ...good, type: 'header', header: 'cookie' }, { header: 'cookie' }, 'KEY_INVALID'],
  ['header with a line break', { ...good, type: 'header', header: 'x-api-key\r\nx' }, {}, 'KEY_INVALID'],
  [
    'a header where bearer was dispatched',
    { ...good, type: 'header', header: 'x-api-key' },
    {},
    'KEY_INVALID',
  ],
  ['bearer where a header was dispatched', good, { header: 'x-api-key' }, 'KEY_INVALID'],
  ['no credential at all', { ...good, type: 'none', secret: undefined }, {}, 'KEY_INVALID'],
  ['another version', { ...good, v: 2 }, {}, 'KEY_INVALID'],
  ['an unknown field', { ...good, url: 'https://evil.example' }, {}, 'KEY_INVALID'],
  ['a secret that is no string', { ...good, secret: ['sk-test-01234567'] }, {}, 'KEY_INVALID'],
  ['a field twice', `${json.slice(0, -1)},"origins":["https://evil.example"]}`, {}, 'KEY_INVALID'],
  [
    'a field twice, once escaped',
    `${json.slice(0, -1)},"\\u0073ecret":"sk-other-0123456"}`,
    {},
    'KEY_INVALID',
  ],
  ['not padded', Buffer.from(json), {}, 'KEY_INVALID'],
  [
    'padded with NUL',
    Buffer.concat([Buffer.from(json), Buffer.alloc(256 - (json.length % 256))]),
    {},
    'KEY_INVALID',
  ],
  ['two values', `${json} ${json}`, {}, 'KEY_INVALID'],
  ['an array', [good], {}, 'KEY_INVALID'],
  ['nothing', Buffer.alloc(0), {}, 'KEY_INVALID'],
  ['white space', Buffer.alloc(256, 0x20), {}, 'KEY_INVALID'],
  ['garbage', randomBytes(512), {}, 'KEY_INVALID'],
];

t.test(
  'a payload that a client made to do harm is refused before a byte could leave, and wiped',
  async (t) => {
    for (const [what, payload, change, code] of hostile) {
      const { opener, row, handedOut } = openerFor(payload, { ikm });
      const prepared = await opener.prepare(row, ikm);
      const into = Buffer.alloc(11_000);
      t.throws(() => prepared.openInto(into, 0, { ...place, ...change }), { code }, what);
      t.ok(isWiped([into, ...handedOut]), `${what}: wiped`);
    }
  },
);

t.test('a sealed payload of auth none says its origins, and no more', async (t) => {
  const { opener, row, handedOut } = openerFor({ ...good, type: 'none', secret: undefined }, { ikm });
  const prepared = await opener.prepare(row, ikm);
  t.doesNotThrow(() => prepared.checkOrigin(place.origin));
  t.throws(() => prepared.checkOrigin('https://evil.example'), { code: 'KEY_ORIGIN' });
  t.ok(isWiped(handedOut));
});

t.test(
  'a client’s payload that does not open raises no alarm: anybody could have one for the asking',
  async (t) => {
    const { opener, row, alarms } = openerFor('{}', { ikm });
    const prepared = await opener.prepare({ ...row, sealId: 'seal_2' }, ikm);
    t.throws(() => prepared.openInto(Buffer.alloc(500), 0, place), { code: 'KEY_INVALID' });
    t.strictSame(alarms, []);
    const damaged = Buffer.from(row.payload);
    damaged[150] = (damaged[150] ?? 0) ^ 1;
    const tampered = await opener.prepare({ ...row, payload: damaged }, ikm);
    t.throws(() => tampered.openInto(Buffer.alloc(500), 0, place), { code: 'KEY_INVALID' });
    t.strictSame(alarms, ['VAULT_TAMPERED'], 'the record around it does: only the database holds that');
  },
);

t.test('a key with administrative power is not sent, stored as it may be', async (t) => {
  const isAdministrative = (provider: string, secret: Buffer): boolean =>
    provider === 'mine' && secret.subarray(0, 9).equals(Buffer.from('sk-admin-'));
  for (const seal of [null, ikm]) {
    const { opener, row, handedOut } = openerFor(
      { ...good, secret: 'sk-admin-0123456789' },
      { ikm: seal, isAdministrative },
    );
    const prepared = await opener.prepare(row, seal);
    const into = Buffer.alloc(500);
    t.throws(() => prepared.openInto(into, 0, place), { code: 'KEY_INVALID', message: /administrative/ });
    t.ok(isWiped([into, ...handedOut]));
    const plain = openerFor(good, { ikm: seal, isAdministrative });
    t.ok((await plain.opener.prepare(plain.row, seal)).openInto(into, 0, place) > 0);
  }
});

t.test('the largest sealed key fits, and no more is asked for than it takes', async (t) => {
  const { opener, row } = openerFor({ ...good, secret: 'y'.repeat(8192) }, { ikm });
  const prepared = await opener.prepare(row, ikm);
  t.equal(prepared.maxBytes, 8192);
  t.equal(prepared.openInto(Buffer.alloc(8192), 0, place), 8192);
  const small = openerFor(good, { ikm });
  t.equal((await small.opener.prepare(small.row, ikm)).maxBytes, 256);
});

t.test('any sealed payload whatever is opened to the letter or refused, and wiped', async () => {
  const payloads = fc.oneof(
    fc.uint8Array({ maxLength: 700 }).map((bytes) => Buffer.from(bytes)),
    fc.jsonValue().map(padded),
    fc
      .record({ secret: fc.string({ unit: 'binary' }), extra: fc.jsonValue() })
      .map(({ secret, extra }) => padded({ ...good, secret, ...(extra === null ? {} : { type: extra }) })),
  );
  await fc.assert(
    fc.asyncProperty(payloads, async (payload) => {
      const { opener, row, handedOut } = openerFor(payload, { ikm });
      const prepared = await opener.prepare(row, ikm);
      const into = Buffer.alloc(1000);
      try {
        const length = prepared.openInto(into, 0, place);
        const { secret } = JSON.parse(payload.toString('utf8')) as { secret: string };
        return into.toString('latin1', 0, length) === secret && isWiped(handedOut);
      } catch (error) {
        return (error as { code?: string }).code === 'KEY_INVALID' && isWiped([into, ...handedOut]);
      }
    }),
  );
});
