import { createHmac, hkdfSync, randomFillSync, type KeyObject } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { gcmOpen, gcmSeal } from './gcm.ts';
import { agree, privateKeyOf, rawPublicKeyOf, x25519Bytes } from './x25519.ts';

/**
 * HPKE (RFC 9180), mode_base, single shot: DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, AES-256-GCM 0x0002. Synchronous and
 * from node:crypto alone, because a sealed key is opened in the midst of a socket's write, and in memory that can be wiped
 * (docs/decisions/0012). On the wire: `enc 32 ‖ ciphertext n ‖ tag 16`.
 */
export const hpkeSuite = 'DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM';
export const hpkeOverhead = 48;

export interface HpkeKeyPair {
  readonly privateKey: KeyObject;
  /** 32 bytes. */
  readonly publicKey: Buffer;
}

export interface Hpke {
  /**
   * @param ikmE  32 bytes from which the ephemeral key pair is derived; only a known-answer test gives them.
   * @throws {SallyportError} REQUEST_INVALID: the public key is of low order.
   */
  seal(this: void, publicKey: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, ikmE?: Uint8Array): Buffer;
  /** @returns plaintext, the caller's to wipe; null where it does not open, whatever the reason. */
  open(this: void, keys: HpkeKeyPair, aad: Uint8Array, sealed: Uint8Array): Buffer | null;
}

const [keyBytes, nonceBytes] = [32, 12];
const version = Buffer.from('HPKE-v1');
const kemSuite = Buffer.from('KEM\x00\x20', 'latin1');
const suite = Buffer.from('HPKE\x00\x20\x00\x01\x00\x02', 'latin1');
const empty = Buffer.alloc(0);
/** Where RFC 9180 says `psk` and `psk_id` and there are none: mode_base. */
const pskIdHash = extract('psk_id_hash', empty);

/** DeriveKeyPair (section 7.1.3). @param ikm  32 bytes; stays the caller's to wipe. */
export function deriveKeyPair(ikm: Uint8Array): HpkeKeyPair {
  if (ikm.byteLength !== keyBytes) throw new RangeError('a key pair is derived from 32 bytes');
  const raw = derive(kemSuite, empty, ['dkp_prk', ikm], ['sk', empty, keyBytes]);
  try {
    const privateKey = privateKeyOf(raw);
    return Object.freeze({ privateKey, publicKey: rawPublicKeyOf(privateKey) });
  } finally {
    wipe(raw);
  }
}

/** @param info  what the messages are for; a text sealed with another one does not open. */
export function createHpke(info: Uint8Array | string): Hpke {
  // key_schedule_context of section 5.1: the mode, and two hashes that hold no secret.
  const context = Buffer.concat([Buffer.from([0]), pskIdHash, extract('info_hash', Buffer.from(info))]);

  function withKey<T>(shared: Buffer, use: (key: Buffer, nonce: Buffer) => T): T {
    const key = derive(suite, shared, ['secret', empty], ['key', context, keyBytes]);
    const nonce = derive(suite, shared, ['secret', empty], ['base_nonce', context, nonceBytes]);
    try {
      // The first message's nonce is the base nonce itself, and there is no second one.
      return use(key, nonce);
    } finally {
      wipe(key, nonce);
    }
  }

  return Object.freeze<Hpke>({
    seal(publicKey, aad, plaintext, ikmE) {
      const ikm = ikmE ?? randomFillSync(secretBuffer(keyBytes));
      const ephemeral = deriveKeyPair(ikm);
      if (ikmE === undefined) wipe(ikm);
      const enc = ephemeral.publicKey;
      const shared = agreedSecret(ephemeral.privateKey, publicKey, enc, publicKey);
      if (shared === null)
        throw new SallyportError('REQUEST_INVALID', 'Nothing can be sealed to that public key.');
      try {
        return withKey(shared, (key, nonce) => Buffer.concat([enc, gcmSeal(key, nonce, aad, plaintext)]));
      } finally {
        wipe(shared);
      }
    },
    open({ privateKey, publicKey }, aad, sealed) {
      if (sealed.byteLength < hpkeOverhead) return null;
      const enc = sealed.subarray(0, x25519Bytes);
      const shared = agreedSecret(privateKey, enc, enc, publicKey);
      if (shared === null) return null;
      try {
        return withKey(shared, (key, nonce) => gcmOpen(key, nonce, aad, sealed.subarray(x25519Bytes)));
      } finally {
        wipe(shared);
      }
    },
  });
}

/** ExtractAndExpand over the Diffie-Hellman secret (section 4.1); null for a point of low order. */
function agreedSecret(
  privateKey: KeyObject,
  peer: Uint8Array,
  enc: Uint8Array,
  recipient: Uint8Array,
): Buffer | null {
  const dh = agree(privateKey, peer);
  if (dh === null) return null;
  try {
    const context = Buffer.concat([enc, recipient]);
    return derive(kemSuite, empty, ['eae_prk', dh], ['shared_secret', context, keyBytes]);
  } finally {
    wipe(dh);
  }
}

/**
 * LabeledExtract and LabeledExpand (section 4) in one HKDF: every pseudorandom key of this suite is expanded right after it was
 * extracted, and what HKDF holds in between never comes into our memory.
 *
 * @returns the caller's to wipe.
 */
function derive(
  suiteId: Buffer,
  salt: Uint8Array,
  [extractLabel, ikm]: readonly [label: string, ikm: Uint8Array],
  [expandLabel, info, length]: readonly [label: string, info: Uint8Array, length: number],
): Buffer {
  const labelled = labelledText([version, suiteId, Buffer.from(extractLabel), ikm]);
  try {
    const size = Buffer.from([length >> 8, length & 0xff]);
    const labelledInfo = Buffer.concat([size, version, suiteId, Buffer.from(expandLabel), info]);
    return Buffer.from(hkdfSync('sha256', labelled, salt, labelledInfo, length));
  } finally {
    wipe(labelled);
  }
}

/** LabeledExtract of what is no secret, with an empty salt. */
function extract(label: string, ikm: Buffer): Buffer {
  return createHmac('sha256', empty)
    .update(labelledText([version, suite, Buffer.from(label), ikm]))
    .digest();
}

function labelledText(parts: readonly Uint8Array[]): Buffer {
  const text = secretBuffer(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    text.set(part, at);
    at += part.byteLength;
  }
  return text;
}
