import { checksum } from './ids.ts';
import { secretBuffer, wipe } from './secret.ts';

/** `sps_` and 43 characters of base64url (32 bytes), then six of base62: the CRC-32 of what stands before, as with tokens. */
const shape = /^(sps_([A-Za-z0-9_-]{43}))([0-9A-Za-z]{6})$/;

/** @param ikm  32 bytes, from which the seal's key pair is derived. The text is the secret itself. */
export function sealSecretText(ikm: Uint8Array): string {
  if (ikm.byteLength !== 32) throw new RangeError('the secret of a seal has 32 bytes');
  const text = `sps_${ikm.toBase64({ alphabet: 'base64url', omitPadding: true })}`;
  return text + checksum(text);
}

/**
 * The 32 bytes of a well-formed seal secret, the caller's to wipe; null for a wrong length, alphabet or checksum. Says nothing of
 * whether there is such a seal. The text itself stays a string: what arrives as a header does.
 */
export function parseSealSecret(text: string): Buffer | null {
  const [, body, secret, sum] = shape.exec(text) ?? [];
  if (body === undefined || checksum(body) !== sum) return null;
  const ikm = secretBuffer(32);
  try {
    // Strict, so that one secret has one text: the last character carries two bits that nothing else would look at.
    ikm.setFromBase64(`${secret}=`, { alphabet: 'base64url', lastChunkHandling: 'strict' });
    return ikm;
  } catch {
    wipe(ikm);
    return null;
  }
}
