import { createCipheriv, createHmac, hkdfSync } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { createHpke, deriveKeyPair, type Hpke } from './hpke.ts';
import { kinds, openRecord, sealRecord, VaultError } from './record.ts';

/** The primitives under test; given as arguments so that a test can show what a broken one leads to. */
export interface Primitives {
  readonly hkdf: (key: Uint8Array, salt: Uint8Array, info: Uint8Array, bytes: number) => Uint8Array;
  readonly hmac: (key: Uint8Array, data: Uint8Array) => Uint8Array;
  readonly gcm: (key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array) => Uint8Array;
  readonly seal: typeof sealRecord;
  readonly open: typeof openRecord;
  readonly hpke: (info: Uint8Array) => Hpke;
}

export const primitives: Primitives = {
  hkdf: (key, salt, info, bytes) => new Uint8Array(hkdfSync('sha256', key, salt, info, bytes)),
  hmac: (key, data) => createHmac('sha256', key).update(data).digest(),
  gcm: (key, nonce, aad, plaintext) => {
    const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(aad);
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  },
  seal: sealRecord,
  open: openRecord,
  hpke: createHpke,
};

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/**
 * Known answers before the first key is touched: a crypto library that is built wrong, patched or told to be something else must not seal
 * anything. About 2 ms.
 *
 * @throws {SallyportError} CONFIG_INVALID naming the test.
 */
export function runSelfTest(under: Primitives = primitives): void {
  for (const [name, holds] of tests(under)) {
    if (!passes(holds)) {
      throw new SallyportError('CONFIG_INVALID', `The cryptographic self-test failed: ${name}.`, {
        fix: 'Run the pinned Node.js (npm ci) on this machine; nothing was sealed or opened.',
      });
    }
  }
}

function tests(under: Primitives): readonly (readonly [string, () => boolean])[] {
  const { hkdf, hmac, gcm, seal, open, hpke } = under;
  const key = Buffer.alloc(32, 0x51);
  const other = Buffer.alloc(32, 0x52);
  const context = Buffer.from('place');
  const text = Buffer.from('known answer');
  const sealed = (): Buffer => seal(key, kinds.canary, context, text);
  return [
    [
      'HKDF-SHA256 (RFC 5869 A.1)',
      () =>
        hex('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865').equals(
          hkdf(Buffer.alloc(22, 0x0b), hex('000102030405060708090a0b0c'), hex('f0f1f2f3f4f5f6f7f8f9'), 42),
        ),
    ],
    [
      'HMAC-SHA256 (RFC 4231 4.3)',
      () =>
        hex('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843').equals(
          hmac(Buffer.from('Jefe'), Buffer.from('what do ya want for nothing?')),
        ),
    ],
    [
      'AES-256-GCM (GCM specification, test case 16)',
      () =>
        hex(
          '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838' +
            'c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b',
        ).equals(
          gcm(
            hex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308'),
            hex('cafebabefacedbaddecaf888'),
            hex('feedfacedeadbeeffeedfacedeadbeefabaddad2'),
            hex(
              'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525' +
                'b16aedf5aa0de657ba637b39',
            ),
          ),
        ),
    ],
    ['HPKE (RFC 9180, DHKEM X25519, HKDF-SHA256, AES-256-GCM, mode_base)', () => knowsHpke(hpke)],
    ['a record opens again', () => open(key, kinds.canary, context, sealed()).equals(text)],
    [
      'key commitment: a record does not open under another key',
      () => isRefused('VAULT_WRONG_KEY', () => open(other, kinds.canary, context, sealed())),
    ],
    [
      'a record does not open in another place',
      () => isRefused('VAULT_TAMPERED', () => open(key, kinds.canary, Buffer.from('elsewhere'), sealed())),
    ],
  ];
}

/** The vector of this suite; the RFC's appendix has other ciphers, its authors' test-vectors.json (cfrg/draft-irtf-cfrg-hpke) has all. */
function knowsHpke(hpke: Primitives['hpke']): boolean {
  const { seal, open } = hpke(Buffer.from('Ode on a Grecian Urn'));
  const keys = deriveKeyPair(hex('dac33b0e9db1b59dbbea58d59a14e7b5896e9bdf98fad6891e99d1686492b9ee'));
  const [aad, plaintext] = [Buffer.from('Count-0'), Buffer.from('Beauty is truth, truth beauty')];
  const sealed = hex(
    '6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256' +
      'e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a',
  );
  const ikmE = hex('2cd7c601cefb3d42a62b04b7a9041494c06c7843818e0ce28a8f704ae7ab20f9');
  return (
    seal(keys.publicKey, aad, plaintext, ikmE).equals(sealed) &&
    open(keys, aad, sealed)?.equals(plaintext) === true &&
    open(keys, Buffer.from('Count-1'), sealed) === null
  );
}

function passes(holds: () => boolean): boolean {
  try {
    return holds();
  } catch {
    return false;
  }
}

function isRefused(code: VaultError['code'], attempt: () => unknown): boolean {
  try {
    attempt();
    return false;
  } catch (error) {
    return error instanceof VaultError && error.code === code;
  }
}
