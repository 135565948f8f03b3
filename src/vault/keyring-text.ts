import { createHmac, createSecretKey, randomFillSync, type KeyObject } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { secretBuffer, wipe } from '../secret.ts';
import {
  kmsKeyId,
  readKmsPlace,
  readTransitPlace,
  transitKeyId,
  type KmsPlace,
  type TransitPlace,
} from './kek-place.ts';
import { isSampleKey } from './sample-keys.ts';

export type RootKeyState = 'staged' | 'active' | 'decrypt_only' | 'retired';

/** One entry of a keyring. A retired one may stand without its key: its name is kept, and nothing that opens anything. */
export type RingKey = { readonly id: string; readonly state: RootKeyState } & (
  | { readonly key: KeyObject }
  | { readonly transit: TransitPlace }
  | { readonly kms: KmsPlace }
  | { readonly state: 'retired' }
);

const states: ReadonlySet<unknown> = new Set<RootKeyState>(['staged', 'active', 'decrypt_only', 'retired']);
const maxKeys = 64;
const maxTextLength = 65_536;
/** Names of retired keys that are kept. */
const maxRetired = 16;

/** `k1` and 20 hex digits, computed from the key: a key cannot stand under a wrong name. */
export function rootKeyId(key: Uint8Array | KeyObject): string {
  return `k1${createHmac('sha256', key).update('sallyport/kek-id/v1').digest('hex').slice(0, 20)}`;
}

/** A fresh key of 32 random bytes, held here. */
export function newLocalKey(state: RootKeyState): RingKey {
  const bytes = randomFillSync(secretBuffer(32));
  try {
    return Object.freeze({ id: rootKeyId(bytes), state, key: createSecretKey(bytes) });
  } finally {
    wipe(bytes);
  }
}

/** The same key in another state; a retired one keeps its name alone. */
export function inState(entry: RingKey, state: RootKeyState): RingKey {
  if (state === 'retired') return Object.freeze({ id: entry.id, state });
  return Object.freeze({ ...entry, state } as RingKey);
}

/** The text of a ring. Where it holds local keys it is the secret itself. */
export function keyringText(keys: readonly RingKey[]): string {
  const retired = keys.filter(({ state }) => state === 'retired').slice(-maxRetired);
  const kept = keys.filter((key) => key.state !== 'retired' || retired.includes(key));
  return `${JSON.stringify({ keys: kept.map(plainEntry) }, null, 2)}\n`;
}

/** The text of a new ring with one active key. */
export function newKeyringText(): string {
  return keyringText([newLocalKey('active')]);
}

/**
 * The keys of `{"keys":[{"id","state", and "key":"base64:…" or "transit":{…} or "kms":{…}}]}`, up to 64 KiB and 64 keys.
 *
 * @param origin  where the text comes from, for messages: `SALLYPORT_KEYRING` or a path.
 * @throws {SallyportError} CONFIG_INVALID; names ids and positions, never a value.
 */
export function readKeyringText(text: string, origin: string): readonly RingKey[] {
  const refuse = (what: string): never => {
    throw new SallyportError('CONFIG_INVALID', `The keyring (${origin}) cannot be used: ${what}.`);
  };
  if (text.length > maxTextLength) refuse('it is longer than 64 KiB');
  const entries = readEntries(text);
  if (entries === null)
    return refuse('it is not JSON of the form {"keys":[{"id","state","key":"base64:…"}]}');
  if (entries.length === 0 || entries.length > maxKeys) refuse(`it must hold 1 to ${maxKeys} keys`);
  const keys = new Map<string, RingKey>();
  for (const [index, entry] of entries.entries()) {
    const key = readEntry(entry);
    if (typeof key === 'string') return refuse(`key ${index + 1} ${key}`);
    if (keys.has(key.id)) refuse(`${key.id} is there twice`);
    keys.set(key.id, key);
  }
  const active = [...keys.values()].filter(({ state }) => state === 'active').length;
  if (active !== 1) refuse(`exactly one key must be active, and ${active} are`);
  return Object.freeze([...keys.values()]);
}

function readEntry(entry: Readonly<Record<string, unknown>>): RingKey | string {
  const { id, state, ...place } = entry;
  if (!states.has(state)) return 'has no state of staged, active, decrypt_only, retired';
  const names = Object.keys(place);
  if (names.some((name) => !['key', 'transit', 'kms'].includes(name))) return 'has an unknown field';
  if (names.length > 1) return 'is of more than one kind: one of key, transit and kms';
  if (names.length === 0 && state === 'retired') {
    if (typeof id !== 'string' || !/^[kta]1[0-9a-f]{20}$/.test(id)) return 'has no id';
    return Object.freeze({ id, state: 'retired' });
  }
  const held =
    'transit' in place ? remote('transit', place) : 'kms' in place ? remote('kms', place) : local(place);
  if (typeof held === 'string') return held;
  if (id !== held.id) return `does not have the id computed from it, which is ${held.id}`;
  return Object.freeze({ ...held, state: state as RootKeyState });
}

function remote(scheme: 'transit' | 'kms', place: Readonly<Record<string, unknown>>) {
  if (scheme === 'transit') {
    const transit = readTransitPlace(place['transit']);
    return typeof transit === 'string'
      ? `cannot be read: ${transit}`
      : { id: transitKeyId(transit), transit };
  }
  const kms = readKmsPlace(place['kms']);
  return typeof kms === 'string' ? `cannot be read: ${kms}` : { id: kmsKeyId(kms), kms };
}

function local(place: Readonly<Record<string, unknown>>) {
  const bytes = decodeKey(place['key']);
  if (bytes === null) return 'is not "base64:" and exactly 32 bytes in strict base64';
  try {
    if (isSampleKey(bytes)) return 'is all one byte or a published sample';
    return { id: rootKeyId(bytes), key: createSecretKey(bytes) };
  } finally {
    wipe(bytes);
  }
}

function plainEntry(entry: RingKey): Readonly<Record<string, unknown>> {
  const { id, state } = entry;
  // Dropped with the state: a retired key that still stands in the file would still open every old backup.
  if (state === 'retired') return { id, state };
  if ('key' in entry) return { id, state, key: `base64:${entry.key.export().toString('base64')}` };
  if ('transit' in entry) return { id, state, transit: entry.transit };
  return 'kms' in entry ? { id, state, kms: entry.kms } : { id, state };
}

function readEntries(text: string): readonly Record<string, unknown>[] | null {
  let ring: unknown;
  try {
    ring = JSON.parse(text);
  } catch {
    // The parser's message quotes the text.
    return null;
  }
  if (!isObject(ring) || Object.keys(ring).length !== 1) return null;
  const list: unknown = ring['keys'];
  return Array.isArray(list) && list.every(isObject) ? list : null;
}

/** Strict RFC 4648 base64 with padding; Node's own decoder takes garbage. */
function decodeKey(text: unknown): Uint8Array | null {
  if (typeof text !== 'string' || !/^base64:\S+$/.test(text)) return null;
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(text.slice('base64:'.length), { lastChunkHandling: 'strict' });
  } catch {
    return null;
  }
  if (bytes.byteLength === 32) return bytes;
  wipe(bytes);
  return null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
