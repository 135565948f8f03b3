import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import fc from 'fast-check';
import t from 'tap';
import { createHpke, deriveKeyPair, hpkeOverhead } from '../../src/vault/hpke.ts';
import { isPublicKey } from '../../src/vault/x25519.ts';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const vector = JSON.parse(
  readFileSync(new URL('vectors/hpke-base-x25519-sha256-aes256gcm.json', import.meta.url), 'utf8'),
) as Readonly<Record<string, string>>;
const of = (name: string): Buffer => hex(vector[name] ?? '');

/** Another implementation, on WebCrypto. */
const oracle = new CipherSuite({
  kem: new DhkemX25519HkdfSha256(),
  kdf: new HkdfSha256(),
  aead: new Aes256Gcm(),
});
const copyOf = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer;

t.test('the vector of RFC 9180 holds, to the byte, in both directions', async (t) => {
  const recipient = deriveKeyPair(of('ikmR'));
  t.equal(recipient.privateKey.export({ format: 'raw-private' }).toString('hex'), vector['skRm']);
  t.equal(recipient.publicKey.toString('hex'), vector['pkRm']);
  const ephemeral = deriveKeyPair(of('ikmE'));
  t.equal(ephemeral.privateKey.export({ format: 'raw-private' }).toString('hex'), vector['skEm']);
  t.equal(ephemeral.publicKey.toString('hex'), vector['enc']);

  const hpke = createHpke(of('info'));
  const sealed = hpke.seal(recipient.publicKey, of('aad'), of('pt'), of('ikmE'));
  t.equal(sealed.toString('hex'), `${vector['enc']}${vector['ct']}`);
  t.ok(hpke.open(recipient, of('aad'), Buffer.concat([of('enc'), of('ct')]))?.equals(of('pt')));
});

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const ikms = fc.uint8Array({ minLength: 32, maxLength: 32 });

t.test('what we seal another implementation opens, for any info, place and text', async () => {
  await fc.assert(
    fc.asyncProperty(ikms, bytes(60), bytes(200), bytes(2000), async (ikm, info, aad, text) => {
      const sealed = createHpke(info).seal(deriveKeyPair(ikm).publicKey, aad, text);
      const { privateKey } = await oracle.kem.deriveKeyPair(copyOf(ikm));
      const opened = await oracle.open(
        { recipientKey: privateKey, enc: copyOf(sealed.subarray(0, 32)), info: copyOf(info) },
        copyOf(sealed.subarray(32)),
        copyOf(aad),
      );
      return Buffer.from(opened).equals(text) && sealed.length === text.length + hpkeOverhead;
    }),
    { numRuns: 40 },
  );
});

t.test('what another implementation seals we open', async () => {
  await fc.assert(
    fc.asyncProperty(ikms, bytes(60), bytes(200), bytes(2000), async (ikm, info, aad, text) => {
      const keys = deriveKeyPair(ikm);
      const { publicKey } = await oracle.kem.deriveKeyPair(copyOf(ikm));
      const { enc, ct } = await oracle.seal(
        { recipientPublicKey: publicKey, info: copyOf(info) },
        copyOf(text),
        copyOf(aad),
      );
      const raw = Buffer.from(await oracle.kem.serializePublicKey(publicKey));
      const sealed = Buffer.concat([Buffer.from(enc), Buffer.from(ct)]);
      return raw.equals(keys.publicKey) && createHpke(info).open(keys, aad, sealed)?.equals(text) === true;
    }),
    { numRuns: 40 },
  );
});

const hpke = createHpke('test');
const keys = deriveKeyPair(randomBytes(32));
const aad = Buffer.from('place');
const text = Buffer.from('The quick brown fox 0123456789');

t.test('any byte of enc or ciphertext changed, cut off or added, and it does not open', async (t) => {
  const sealed = hpke.seal(keys.publicKey, aad, text);
  for (let at = 0; at < sealed.length; at += 1) {
    for (const bit of [0x01, 0x80]) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ bit;
      if (hpke.open(keys, aad, changed) !== null) t.fail(`byte ${at}`);
    }
    if (hpke.open(keys, aad, sealed.subarray(0, at)) !== null) t.fail(`${at} bytes of it`);
  }
  t.equal(hpke.open(keys, aad, Buffer.concat([sealed, Buffer.alloc(1)])), null);
  t.ok(hpke.open(keys, aad, sealed)?.equals(text));
});

t.test('another recipient, place or purpose opens nothing', async (t) => {
  const sealed = hpke.seal(keys.publicKey, aad, text);
  t.equal(hpke.open(deriveKeyPair(randomBytes(32)), aad, sealed), null);
  t.equal(hpke.open(keys, Buffer.from('elsewhere'), sealed), null);
  t.equal(createHpke('another').open(keys, aad, sealed), null);
  // The private half alone is not enough: the public key that was sealed to is part of the secret's derivation.
  t.equal(hpke.open({ ...keys, publicKey: deriveKeyPair(randomBytes(32)).publicKey }, aad, sealed), null);
});

/** RFC 7748 section 6.1 and "May the Fourth" (Cremers, Jackson 2019): 0, 1, two of order 8, p - 1, p, p + 1. */
const lowOrder = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
].map(hex);

t.test('points of low order, with which everybody knows the secret, are refused on both sides', async (t) => {
  for (const point of lowOrder) {
    t.throws(() => hpke.seal(point, aad, text), { code: 'REQUEST_INVALID' });
    const sealed = Buffer.concat([point, hpke.seal(keys.publicKey, aad, text).subarray(32)]);
    t.equal(hpke.open(keys, aad, sealed), null);
    t.notOk(isPublicKey(point));
  }
});

t.test('a public key is 32 bytes in their one form', async (t) => {
  t.ok(isPublicKey(keys.publicKey));
  t.ok(isPublicKey(hex(`09${'00'.repeat(31)}`)), 'the base point');
  const high = Buffer.from(keys.publicKey);
  high[31] = (high[31] ?? 0) | 0x80;
  t.notOk(isPublicKey(high), 'the bit that nobody looks at');
  t.notOk(isPublicKey(hex(`f6${'ff'.repeat(30)}7f`)), 'p + 9, which is the base point again');
  for (const length of [0, 31, 33, 64]) t.notOk(isPublicKey(randomBytes(length)));
  for (const length of [0, 31, 33]) t.throws(() => deriveKeyPair(randomBytes(length)), RangeError);
});

t.test('no two sealings are alike, and what is opened has memory of its own', async (t) => {
  const made = Array.from({ length: 50 }, () => hpke.seal(keys.publicKey, aad, text));
  t.equal(new Set(made.map((sealed) => sealed.toString('hex', 0, 32))).size, 50);
  t.equal(hpke.open(keys, aad, made[0] ?? text)?.buffer.byteLength, text.length);
});
