import { createHmac, createSecretKey, randomFillSync, type KeyObject } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { openRecord, sealRecord, VaultError, type Kind } from './record.ts';
import { isSampleKey } from './sample-keys.ts';

type RootKeyState = 'staged' | 'active' | 'decrypt_only' | 'retired';

interface RootKey {
  readonly id: string;
  readonly state: RootKeyState;
}

/**
 * The root keys, wherever they live: in memory here, in a key service elsewhere, so wrapping is asynchronous.
 * `wrap` and `unwrap` take the record's kind and context and refuse a root key that is unknown, or retired.
 */
export interface KekRing {
  readonly scheme: string;
  active(): RootKey;
  get(id: string): RootKey | null;
  list(): readonly RootKey[];
  wrap(id: string, kind: Kind, context: Uint8Array, bytes: Uint8Array): Promise<Buffer>;
  /** @throws {VaultError} The answer is the caller's to wipe. */
  unwrap(id: string, kind: Kind, context: Uint8Array, blob: Buffer): Promise<Buffer>;
  close(): void;
}

const states: ReadonlySet<unknown> = new Set<RootKeyState>(['staged', 'active', 'decrypt_only', 'retired']);
const maxKeys = 64;
const maxTextLength = 65_536;

/** `k1` and 20 hex digits, computed from the key: a key cannot stand under a wrong name. */
export function rootKeyId(key: Uint8Array): string {
  return `k1${createHmac('sha256', key).update('sallyport/kek-id/v1').digest('hex').slice(0, 20)}`;
}

/** The text of a new ring with one active key. The text is the secret itself. */
export function newKeyringText(): string {
  const key = randomFillSync(secretBuffer(32));
  try {
    const entry = { id: rootKeyId(key), state: 'active', key: `base64:${key.toBase64()}` };
    return `${JSON.stringify({ keys: [entry] }, null, 2)}\n`;
  } finally {
    wipe(key);
  }
}

/**
 * A ring from `{"keys":[{"id","state","key":"base64:…"}]}`, up to 64 KiB and 64 keys.
 *
 * @param origin  where the text comes from, for messages: `SALLYPORT_KEYRING` or a path.
 * @throws {SallyportError} CONFIG_INVALID; names ids and positions, never a value.
 */
export function parseKeyring(text: string, origin: string): KekRing {
  const refuse = (what: string): never => {
    throw new SallyportError('CONFIG_INVALID', `The keyring (${origin}) cannot be used: ${what}.`);
  };
  if (text.length > maxTextLength) refuse('it is longer than 64 KiB');
  const entries = readEntries(text);
  if (entries === null)
    return refuse('it is not JSON of the form {"keys":[{"id","state","key":"base64:…"}]}');
  if (entries.length === 0 || entries.length > maxKeys) refuse(`it must hold 1 to ${maxKeys} keys`);

  const keys = new Map<string, { readonly root: RootKey; readonly key: KeyObject }>();
  for (const [index, entry] of entries.entries()) {
    const place = `key ${index + 1}`;
    if (Object.keys(entry).some((name) => !['id', 'state', 'key'].includes(name)))
      refuse(`${place} has an unknown field`);
    if (!states.has(entry['state'])) refuse(`${place} has no state of staged, active, decrypt_only, retired`);
    const bytes = decodeKey(entry['key']);
    if (bytes === null) return refuse(`${place} is not "base64:" and exactly 32 bytes in strict base64`);
    try {
      if (isSampleKey(bytes)) refuse(`${place} is all one byte or a published sample`);
      const id = rootKeyId(bytes);
      if (entry['id'] !== id) refuse(`${place} does not have the id computed from it, which is ${id}`);
      if (keys.has(id)) refuse(`${id} is there twice`);
      keys.set(id, {
        root: Object.freeze({ id, state: entry['state'] as RootKeyState }),
        key: createSecretKey(bytes),
      });
    } finally {
      wipe(bytes);
    }
  }
  const active = [...keys.values()].filter(({ root }) => root.state === 'active');
  const [first] = active;
  if (first === undefined || active.length !== 1)
    return refuse(`exactly one key must be active, and ${active.length} are`);
  return createRing(keys, first.root);
}

function createRing(
  keys: Map<string, { readonly root: RootKey; readonly key: KeyObject }>,
  active: RootKey,
): KekRing {
  const usable = (id: string): KeyObject => {
    const entry = keys.get(id);
    if (entry === undefined || entry.root.state === 'retired') {
      throw new VaultError('VAULT_WRONG_KEY', `root key ${id} is not in the ring, or retired`);
    }
    return entry.key;
  };
  return Object.freeze({
    scheme: 'keyring',
    active: () => active,
    get: (id: string) => keys.get(id)?.root ?? null,
    list: () => [...keys.values()].map(({ root }) => root),
    wrap: async (id: string, kind: Kind, context: Uint8Array, bytes: Uint8Array) =>
      sealRecord(usable(id), kind, context, bytes),
    unwrap: async (id: string, kind: Kind, context: Uint8Array, blob: Buffer) =>
      openRecord(usable(id), kind, context, blob),
    close: () => keys.clear(),
  });
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
