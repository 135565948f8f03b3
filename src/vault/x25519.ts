import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto';
import { wipe } from '../secret.ts';

/** X25519 (RFC 7748) on raw keys of 32 bytes. */
export const x25519Bytes = 32;

/** @param raw  any 32 bytes (clamped when used); stays the caller's to wipe. */
export function privateKeyOf(raw: Uint8Array): KeyObject {
  return createPrivateKey({
    key: Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength),
    format: 'raw-private',
    asymmetricKeyType: 'x25519',
  });
}

export function rawPublicKeyOf(privateKey: KeyObject): Buffer {
  return createPublicKey(privateKey).export({ format: 'raw-public' });
}

/**
 * @returns the shared secret, the caller's to wipe; null where the point is of low order, because everybody knows the secret then
 * (RFC 7748 section 6.1, RFC 9180 section 7.1.4).
 */
export function agree(privateKey: KeyObject, publicKey: Uint8Array): Buffer | null {
  let secret: Buffer;
  try {
    secret = diffieHellman({ privateKey, publicKey: publicKeyOf(publicKey) });
  } catch (error) {
    // OpenSSL's own check of the same.
    if ((error as NodeJS.ErrnoException).code === 'ERR_OSSL_FAILED_DURING_DERIVATION') return null;
    throw error;
  }
  if (!timingSafeEqual(secret, Buffer.alloc(x25519Bytes))) return secret;
  wipe(secret);
  return null;
}

/**
 * Can anything be sealed to this public key? Refused: another length, a point of low order, and a number that is not the smallest of
 * its kind (RFC 7748 section 5 would take it modulo p): derived keys never look so, and a key sealed to it would never be found again.
 */
export function isPublicKey(raw: Uint8Array): boolean {
  if (raw.byteLength !== x25519Bytes || !isReduced(raw)) return false;
  const probe = Buffer.alloc(x25519Bytes, 1);
  return agree(privateKeyOf(probe), raw) !== null;
}

function publicKeyOf(raw: Uint8Array): KeyObject {
  return createPublicKey({
    key: Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength),
    format: 'raw-public',
    asymmetricKeyType: 'x25519',
  });
}

/** Little-endian, below p = 2^255 - 19. */
function isReduced(raw: Uint8Array): boolean {
  if (((raw[31] as number) & 0x80) !== 0) return false;
  const isTop = raw[31] === 0x7f && raw.subarray(1, 31).every((byte) => byte === 0xff);
  return !isTop || (raw[0] as number) < 0xed;
}
