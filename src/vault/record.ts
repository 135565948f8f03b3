import { createSecretKey, hkdfSync, randomBytes, timingSafeEqual, type KeyObject } from 'node:crypto';
import { wipe } from '../secret.ts';
import { gcmOpen, gcmSeal } from './gcm.ts';

/**
 * Sealed record, version 1:
 * `magic SPR1 4 | suite 1 | kind 1 | zero 2 | salt 32 | commitment 32 | nonce 12 | ciphertext n | tag 16`, 100 B to 64 KiB.
 *
 * `HKDF-SHA256(key, salt, "sallyport/v1/" ‖ bytes 0..7)` gives 64 bytes: the AES-256-GCM key (NIST SP 800-38D) and the commitment,
 * because GCM alone lets one ciphertext open under two keys. Every record has a key of its own, so nonce limits never matter.
 * Authenticated data: bytes 0..83 and the context.
 */
export const kinds = { workspaceKey: 1, dataKey: 2, payload: 3, canary: 4, service: 5 } as const;
export type Kind = (typeof kinds)[keyof typeof kinds];

export const recordOverhead = 100;
const maxRecordBytes = 65_536;
export const maxPlaintextBytes = maxRecordBytes - recordOverhead;
const prefixBytes = 8;
const saltEnd = 40;
const commitmentEnd = 72;
const headBytes = 84;
const infoLabel = Buffer.from('sallyport/v1/');

type VaultErrorCode = 'VAULT_FORMAT' | 'VAULT_WRONG_KEY' | 'VAULT_TAMPERED';

/** Stays inside the vault: outside, one generic code says no more than that the record does not open. Never carries plaintext. */
export class VaultError extends Error {
  override readonly name = 'VaultError';
  readonly code: VaultErrorCode;

  constructor(code: VaultErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** The key of one single record, ready to open it; may be cached where the parent key may. */
export interface RecordKey {
  readonly kind: Kind;
  readonly key: KeyObject;
  /** Has this record the salt and commitment (bytes 8..71) that the key was derived for? */
  isFor(blob: Buffer): boolean;
}

/**
 * @param key        32 bytes; stays the caller's to wipe.
 * @param plaintext  up to 65,436 bytes; stays the caller's to wipe.
 * @param entropy    source of salt and nonce; only a known-answer test gives another.
 */
export function sealRecord(
  key: KeyObject | Uint8Array,
  kind: Kind,
  context: Uint8Array,
  plaintext: Uint8Array,
  entropy: (bytes: number) => Uint8Array = randomBytes,
): Buffer {
  if (plaintext.byteLength > maxPlaintextBytes) throw format('the plaintext is too long');
  const blob = Buffer.alloc(recordOverhead + plaintext.byteLength);
  blob.write('SPR1', 0, 'latin1');
  blob[4] = 1;
  blob[5] = kind;
  blob.set(entropy(saltEnd - prefixBytes), prefixBytes);
  blob.set(entropy(headBytes - commitmentEnd), commitmentEnd);
  const okm = derive(key, blob);
  try {
    blob.set(okm.subarray(32), saltEnd);
    const nonce = blob.subarray(commitmentEnd, headBytes);
    blob.set(gcmSeal(okm.subarray(0, 32), nonce, authenticated(blob, context), plaintext), headBytes);
    return blob;
  } finally {
    wipe(okm);
  }
}

/**
 * Opens one sealed record.
 *
 * @param context  The row's place; `sealRecord` was given the same. A record moved to another row does not open.
 * @returns plaintext in memory of its own, outside the V8 heap, so that `wipe` really wipes it.
 * @throws {VaultError} VAULT_FORMAT, VAULT_WRONG_KEY (commitment differs) or VAULT_TAMPERED (tag differs).
 */
export function openRecord(
  key: KeyObject | Uint8Array,
  kind: Kind,
  context: Uint8Array,
  blob: Buffer,
): Buffer {
  return openWithRecordKey(deriveRecordKey(key, kind, blob), context, blob);
}

/** The first half of `openRecord`: everything that depends on the parent key. @throws {VaultError} VAULT_FORMAT, VAULT_WRONG_KEY. */
export function deriveRecordKey(key: KeyObject | Uint8Array, kind: Kind, blob: Buffer): RecordKey {
  checkFormat(kind, blob);
  const okm = derive(key, blob);
  try {
    if (!timingSafeEqual(okm.subarray(32), blob.subarray(saltEnd, commitmentEnd))) throw wrongKey();
    const saltAndCommitment = Buffer.from(blob.subarray(prefixBytes, commitmentEnd));
    const isFor = (other: Buffer): boolean =>
      other.length >= recordOverhead &&
      timingSafeEqual(saltAndCommitment, other.subarray(prefixBytes, commitmentEnd));
    return Object.freeze({ kind, key: createSecretKey(okm.subarray(0, 32)), isFor });
  } finally {
    wipe(okm);
  }
}

/** The second half: one AES-GCM. @throws {VaultError} VAULT_FORMAT, VAULT_WRONG_KEY (a key of another record), VAULT_TAMPERED. */
export function openWithRecordKey(recordKey: RecordKey, context: Uint8Array, blob: Buffer): Buffer {
  checkFormat(recordKey.kind, blob);
  if (!recordKey.isFor(blob)) throw wrongKey();
  const nonce = blob.subarray(commitmentEnd, headBytes);
  const plaintext = gcmOpen(recordKey.key, nonce, authenticated(blob, context), blob.subarray(headBytes));
  if (plaintext === null) throw new VaultError('VAULT_TAMPERED', 'the record or its place was changed');
  return plaintext;
}

function authenticated(blob: Buffer, context: Uint8Array): Buffer {
  return Buffer.concat([blob.subarray(0, headBytes), context]);
}

function derive(key: KeyObject | Uint8Array, blob: Buffer): Buffer {
  const bytes = key instanceof Uint8Array ? key.byteLength : key.symmetricKeySize;
  if (bytes !== 32) throw format('a key has 32 bytes');
  const info = Buffer.concat([infoLabel, blob.subarray(0, prefixBytes)]);
  return Buffer.from(hkdfSync('sha256', key, blob.subarray(prefixBytes, saltEnd), info, 64));
}

function checkFormat(kind: Kind, blob: Buffer): void {
  if (blob.length < recordOverhead || blob.length > maxRecordBytes)
    throw format('a record has 100 to 65536 bytes');
  if (blob.toString('latin1', 0, 4) !== 'SPR1' || blob[4] !== 1) throw format('not a record of version 1');
  if (blob[5] !== kind || blob[6] !== 0 || blob[7] !== 0) throw format('a record of another kind');
}

function wrongKey(): VaultError {
  return new VaultError('VAULT_WRONG_KEY', 'the record was sealed under another key');
}

function format(message: string): VaultError {
  return new VaultError('VAULT_FORMAT', message);
}
