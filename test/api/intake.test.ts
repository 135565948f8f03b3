import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import t from 'tap';
import { newId } from '../../src/ids.ts';
import { encodeContext } from '../../src/vault/context.ts';
import { createHpke } from '../../src/vault/hpke.ts';
import { newSeal } from '../support/seal.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const { workspaceId } = await world.callerOf(owner);

interface IntakeKey {
  readonly id: string;
  readonly publicKey: string;
  readonly info: string;
  readonly workspaceId: string;
}

const fetchKey = async (): Promise<IntakeKey> => (await call(owner, 'GET', '/api/intake-key')).json;

/** As a client of ours does it; each part can be another one's. */
function sealBytes(
  key: IntakeKey,
  value: string | Buffer,
  { workspace = key.workspaceId, provider = 'openai', info = key.info } = {},
): Buffer {
  const aad = encodeContext(['intake', workspace, provider]);
  return createHpke(info).seal(Buffer.from(key.publicKey, 'base64url'), aad, Buffer.from(value));
}

function sealed(...given: Parameters<typeof sealBytes>): string {
  return `${given[0].id}.${sealBytes(...given).toString('base64url')}`;
}

const store = (body: object, headers: Record<string, string> = {}) =>
  call(owner, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', ...body }, headers);

t.test('the intake key says all that a client needs to seal a value', async (t) => {
  const answer = await call(owner, 'GET', '/api/intake-key');
  t.equal(answer.status, 200);
  t.match(answer.json, {
    id: /^ik_[0-9a-f]{32}$/,
    publicKey: /^[A-Za-z0-9_-]{43}$/,
    suite: 'DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM',
    info: 'sallyport/v1/intake',
    workspaceId,
    createdAt: /Z$/,
    expiresAt: /Z$/,
  });
  t.same(await fetchKey(), answer.json, 'the same all day');
});

t.test('a value that came sealed is stored as if it had come in clear', async (t) => {
  const value = newKey();
  const inClear = await store({ value });
  const key = await fetchKey();
  const made = await store({ sealedValue: sealed(key, value) });
  t.equal(made.status, 201, made.text);
  t.match(made.json, { last4: value.slice(-4), fingerprint: inClear.json.fingerprint, version: 1 });
  t.equal(await world.open(made.json.id), value);
  t.notMatch(JSON.stringify(made.json), /sealedValue/);

  const suite = new CipherSuite({
    kem: new DhkemX25519HkdfSha256(),
    kdf: new HkdfSha256(),
    aead: new Aes256Gcm(),
  });
  const encoder = new TextEncoder();
  const raw = Uint8Array.from(Buffer.from(key.publicKey, 'base64url')).buffer;
  const sender = await suite.createSenderContext({
    recipientPublicKey: await suite.kem.deserializePublicKey(raw),
    info: encoder.encode(key.info).buffer,
  });
  const next = newKey();
  const aad = Uint8Array.from(encodeContext(['intake', workspaceId, 'openai'])).buffer;
  const text = await sender.seal(encoder.encode(next).buffer, aad);
  const bytes = Buffer.concat([Buffer.from(sender.enc), Buffer.from(text)]);
  const url = `/api/api-keys/${made.json.id}`;
  const changed = await call(owner, 'PATCH', url, {
    sealedValue: `${key.id}.${bytes.toString('base64url')}`,
  });
  t.match(changed.json, { version: 2, last4: next.slice(-4) }, 'whatever library sealed it');
  t.equal(await world.open(made.json.id), next);
  const third = newKey();
  t.equal((await call(owner, 'PUT', url, { sealedValue: sealed(key, third) })).json.version, 3);
  t.equal(await world.open(made.json.id), third);
});

t.test('a sealed value can be kept under a seal', async (t) => {
  const seal = newSeal();
  const { id } = (await call(owner, 'POST', '/api/seals', { name: 's', publicKey: seal.publicKey })).json;
  const value = newKey();
  const made = await store({
    sealedValue: sealed(await fetchKey(), value),
    protection: 'sealed',
    sealId: id,
  });
  t.match(made.json, { protection: 'sealed', sealId: id, last4: value.slice(-4) });
  t.equal(await world.open(made.json.id, seal.ikm), value);
});

t.test('the rules for a value hold for a sealed one, and no refusal says what was in it', async (t) => {
  const key = await fetchKey();
  const cases: [string, object, string][] = [
    ['another shape', { sealedValue: sealed(key, 'not-a-key-of-openai-at-all') }, 'KEY_FORMAT'],
    ['a line break', { sealedValue: sealed(key, 'sk-proj-abcdefghijkl\r\nx-evil: 1') }, 'KEY_FORMAT'],
    ['NUL', { sealedValue: sealed(key, 'sk-proj-abcdefghijkl\0') }, 'KEY_FORMAT'],
    ['no ASCII', { sealedValue: sealed(key, 'sk-proj-äöüäöüäöüäöü') }, 'KEY_FORMAT'],
    ['seven bytes', { sealedValue: sealed(key, 'sk-1234'), force: true }, 'KEY_FORMAT'],
    ['9 KB', { sealedValue: sealed(key, `sk-${'a'.repeat(9000)}`), force: true }, 'KEY_FORMAT'],
    ['a token of ours', { sealedValue: sealed(key, world.first.token), force: true }, 'KEY_FORMAT'],
    [
      'for auth none',
      {
        provider: 'custom',
        name: 'c',
        auth: 'none',
        origins: ['http://127.0.0.1:1'],
        sealedValue: sealed(key, newKey(), { provider: 'custom' }),
      },
      'REQUEST_INVALID',
    ],
    ['of a user who is not there', { sealedValue: sealed(key, newKey()), userId: newId('usr') }, 'NOT_FOUND'],
  ];
  for (const [what, body, code] of cases) {
    const answer = await store(body);
    t.equal(answer.json.code, code, what);
    t.notMatch(answer.text, /abcdefghijkl|not-a-key|aaaa/, what);
  }
  const forced = await store({ sealedValue: sealed(key, 'not-a-key-of-openai-at-all'), force: true });
  t.equal(forced.status, 201);
  const value = newKey();
  const named = await store({ name: `my ${value}`, sealedValue: sealed(key, value) });
  t.match(named.json, { code: 'REQUEST_INVALID', errors: [{ path: '/name' }] });
});

t.test('what was sealed for elsewhere, altered or mixed with another value is refused', async (t) => {
  const key = await fetchKey();
  const value = newKey();
  const good = sealBytes(key, value);
  const flipped = (at: number): string => {
    const bytes = Buffer.from(good);
    bytes[at] = (bytes[at] as number) ^ 1;
    return `${key.id}.${bytes.toString('base64url')}`;
  };
  const b = await world.newWorkspace('b');
  const bodies: [string, object][] = [
    ['for another workspace', { sealedValue: sealed(key, value, { workspace: newId('ws') }) }],
    ['for another provider', { sealedValue: sealed(key, value, { provider: 'groq' }) }],
    ['for another purpose', { sealedValue: sealed(key, value, { info: 'sallyport/v1/seal' }) }],
    ['to an unknown key', { sealedValue: sealed({ ...key, id: newId('ik') }, value) }],
    ['to another public key', { sealedValue: sealed({ ...key, publicKey: newSeal().publicKey }, value) }],
    ['garbage', { sealedValue: `${key.id}.${'A'.repeat(120)}` }],
    ['no id', { sealedValue: good.toString('base64url') }],
    ['no text', { sealedValue: `${key.id}.` }],
    ['an empty one', { sealedValue: '' }],
    ['a number', { sealedValue: 5 }],
    ['null', { sealedValue: null }],
    ['cut short', { sealedValue: `${key.id}.${good.subarray(0, -1).toString('base64url')}` }],
    ['longer', { sealedValue: `${key.id}.${Buffer.concat([good, good]).toString('base64url')}` }],
    ['16 KiB and more', { sealedValue: `${key.id}.${'A'.repeat(16_384)}` }],
    ['beside a value', { sealedValue: sealed(key, value), value }],
    ['beside a sealed payload', { sealedValue: sealed(key, value), sealedPayload: good.toString('base64') }],
    ...[0, 31, 32, 40, good.length - 16, good.length - 1].map((at): [string, object] => [
      `byte ${at} flipped`,
      { sealedValue: flipped(at) },
    ]),
  ];
  for (const [what, body] of bodies) {
    const answer = await store(body);
    t.equal(answer.json.code, 'REQUEST_INVALID', what);
    t.notMatch(answer.text, value, what);
  }
  const foreign = await call(b.adminToken, 'POST', '/api/api-keys', {
    name: 'k',
    provider: 'openai',
    sealedValue: sealed(key, value),
  });
  t.equal(foreign.json.code, 'REQUEST_INVALID', 'A’s sealed value at B');
  t.equal((await store({ sealedValue: sealed(key, value) })).status, 201, 'the control');
});

t.test('the same value sealed anew is the same request to Idempotency-Key', async (t) => {
  const key = await fetchKey();
  const value = newKey();
  const repeat = { 'idempotency-key': 'intake-1' };
  const made = await store({ sealedValue: sealed(key, value) }, repeat);
  t.equal(made.status, 201);
  const again = await store({ sealedValue: sealed(key, value) }, repeat);
  t.equal(again.json.id, made.json.id);
  t.equal((await store({ value }, repeat)).json.id, made.json.id, 'and so is the value in clear');
  t.equal((await store({ sealedValue: sealed(key, newKey()) }, repeat)).json.code, 'CONFLICT');
});

t.test('over plain http from elsewhere it is refused like a value, before the body is read', async (t) => {
  world.secure.isSecure = false;
  t.equal((await store({ sealedValue: 'x' })).json.code, 'TLS_REQUIRED');
  const headers = { 'x-sallyport-seal': newSeal().secret };
  const tested = await call(owner, 'POST', '/api/api-keys/test', { keyId: newId('key') }, headers);
  t.equal(tested.json.code, 'TLS_REQUIRED', 'the secret of a seal is as dear');
  world.secure.isSecure = true;
});

t.test('the intake key changes every day, and the one before is taken for another day', async (t) => {
  const hour = 3_600_000;
  const first = await fetchKey();
  const text = sealed(first, newKey());
  world.time.now += 25 * hour;
  const second = await fetchKey();
  t.not(second.id, first.id);
  t.not(second.publicKey, first.publicKey);
  t.equal((await store({ sealedValue: text })).status, 201, 'sealed yesterday');
  world.time.now += 24 * hour;
  const late = await store({ sealedValue: text });
  t.match(late.json, { code: 'REQUEST_INVALID', fix: /intake-key/ });
  t.equal((await store({ sealedValue: sealed(second, newKey()) })).status, 201);
});

t.test('an intake key whose row was changed takes nothing, and another is made', async (t) => {
  const key = await fetchKey();
  const thief = newSeal();
  const hex = Buffer.from(thief.publicKey, 'base64url').toString('hex');
  await world.database.owner(`update intake_keys set public_key = '\\x${hex}' where id = '${key.id}'`);
  const next = await fetchKey();
  t.not(next.id, key.id);
  t.not(next.publicKey, thief.publicKey, 'the exchanged one is handed out to nobody');
  t.equal((await store({ sealedValue: sealed(key, newKey()) })).json.code, 'REQUEST_INVALID');
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});
