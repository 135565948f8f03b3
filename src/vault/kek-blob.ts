import { VaultError, type Kind } from './record.ts';

/**
 * What a key service wrapped, in a frame of ours:
 * `magic SPT1 or SPA1 4 | kind 1 | zero 3 | root-key id 22 | the service's ciphertext n`, 31 B to 64 KiB.
 *
 * The magic keeps it apart from a sealed record (SPR1); the id tells a blob of another root key without asking the service.
 */
const headBytes = 30;
const maxBlobBytes = 65_536;
const idBytes = 22;

export function frameBlob(magic: string, kind: Kind, id: string, ciphertext: Uint8Array): Buffer {
  if (id.length !== idBytes || ciphertext.byteLength === 0)
    throw new VaultError('VAULT_FORMAT', 'a root key’s id has 22 characters, a ciphertext some bytes');
  const blob = Buffer.alloc(headBytes + ciphertext.byteLength);
  if (blob.length > maxBlobBytes) throw new VaultError('VAULT_FORMAT', 'the ciphertext is too long');
  blob.write(magic, 0, 'latin1');
  blob[4] = kind;
  blob.write(id, 8, 'latin1');
  blob.set(ciphertext, headBytes);
  return blob;
}

/** @throws {VaultError} VAULT_FORMAT; VAULT_WRONG_KEY: of another root key. */
export function unframeBlob(magic: string, kind: Kind, id: string, blob: Buffer): Buffer {
  if (blob.length <= headBytes || blob.length > maxBlobBytes)
    throw new VaultError('VAULT_FORMAT', 'a wrapped blob has 31 to 65536 bytes');
  if (blob.toString('latin1', 0, 4) !== magic)
    throw new VaultError('VAULT_FORMAT', 'a blob of another scheme');
  if (blob[4] !== kind || blob[5] !== 0 || blob[6] !== 0 || blob[7] !== 0)
    throw new VaultError('VAULT_FORMAT', 'a blob of another kind');
  if (blob.toString('latin1', 8, headBytes) !== id)
    throw new VaultError('VAULT_WRONG_KEY', 'the blob was wrapped by another root key');
  return blob.subarray(headBytes);
}

/** The root key that a framed blob names; null for a sealed record, which names none. */
export function rootKeyOfBlob(blob: Buffer): string | null {
  const isFramed = blob.length > headBytes && /^SP[TA]1$/.test(blob.toString('latin1', 0, 4));
  return isFramed ? blob.toString('latin1', 8, headBytes) : null;
}
