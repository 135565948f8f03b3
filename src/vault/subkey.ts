import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { wipe } from '../secret.ts';

/** What a workspace's key, or the deployment's, is used for besides sealing; one HKDF-SHA256 (RFC 5869) key for each. */
export type Purpose = 'verifier' | 'row-mac' | 'fingerprint' | 'client-ip' | 'client-network' | 'export';

export function subkey(parent: KeyObject | Uint8Array, purpose: Purpose): KeyObject {
  // Records derive with a salt of 32 bytes and a label that ends in their header; an empty salt and this label meet none of them.
  const okm = Buffer.from(hkdfSync('sha256', parent, Buffer.alloc(0), `sallyport/v1/key/${purpose}`, 32));
  try {
    return createSecretKey(okm);
  } finally {
    wipe(okm);
  }
}
