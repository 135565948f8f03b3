import { createHmac, webcrypto } from 'node:crypto';

/**
 * The record of the design, composed a second time from other parts than src/vault: HKDF by hand from HMAC (RFC 5869), WebCrypto's
 * AES-GCM, lengths by DataView. Shares no code with what it checks.
 */
export interface Recipe {
  readonly key: Uint8Array;
  readonly kind: number;
  readonly contextFields: readonly string[];
  readonly plaintext: Uint8Array;
  readonly salt: Uint8Array;
  readonly nonce: Uint8Array;
}

export async function composeRecord({
  key,
  kind,
  contextFields,
  plaintext,
  salt,
  nonce,
}: Recipe): Promise<Buffer> {
  const start = Uint8Array.from([0x53, 0x50, 0x52, 0x31, 1, kind, 0, 0]);
  const { aesKey, commitment } = deriveKeys(key, salt, start);
  const head = join(start, salt, commitment, nonce);
  const gcmKey = await webcrypto.subtle.importKey('raw', aesKey, 'AES-GCM', false, ['encrypt']);
  const sealed = await webcrypto.subtle.encrypt(
    {
      name: 'AES-GCM',
      iv: Uint8Array.from(nonce),
      additionalData: join(head, composeContext(contextFields)),
      tagLength: 128,
    },
    gcmKey,
    Uint8Array.from(plaintext),
  );
  return Buffer.from(join(head, new Uint8Array(sealed)));
}

export function deriveKeys(key: Uint8Array, salt: Uint8Array, start: Uint8Array) {
  const info = join(new TextEncoder().encode('sallyport/v1/'), start);
  const pseudorandom = hmac(salt, key);
  const first = hmac(pseudorandom, join(info, Uint8Array.of(1)));
  const second = hmac(pseudorandom, join(first, info, Uint8Array.of(2)));
  return { aesKey: first, commitment: second };
}

export function composeContext(fields: readonly string[]): Uint8Array<ArrayBuffer> {
  return join(
    ...fields.flatMap((field) => {
      const bytes = new TextEncoder().encode(field);
      const length = new Uint8Array(4);
      new DataView(length.buffer).setUint32(0, bytes.length, false);
      return [length, bytes];
    }),
  );
}

function hmac(key: Uint8Array, data: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(createHmac('sha256', key).update(data).digest());
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
