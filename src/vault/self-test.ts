import { createCipheriv, createHmac, hkdfSync } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { kinds, openRecord, sealRecord, VaultError } from './record.ts';

/** The primitives under test; given as arguments so that a test can show what a broken one leads to. */
export interface Primitives {
  readonly hkdf: (key: Uint8Array, salt: Uint8Array, info: Uint8Array, bytes: number) => Uint8Array;
  readonly hmac: (key: Uint8Array, data: Uint8Array) => Uint8Array;
  readonly gcm: (key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array) => Uint8Array;
  readonly seal: typeof sealRecord;
  readonly open: typeof openRecord;
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
};

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/**
 * Known answers before the first key is touched: a crypto library that is built wrong, patched or told to be something else must not seal
 * anything. About 1 ms.
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

function tests({ hkdf, hmac, gcm, seal, open }: Primitives): readonly (readonly [string, () => boolean])[] {
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
