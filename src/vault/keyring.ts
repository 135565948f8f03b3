import type { KeyObject } from 'node:crypto';
import type { Exchange } from '../egress/exchange.ts';
import { SallyportError } from '../errors.ts';
import { createHoldOff } from './kek-hold-off.ts';
import { createKmsKek, type AwsCredentials } from './kek-kms.ts';
import { createLocalKek } from './kek-local.ts';
import { placeText } from './kek-place.ts';
import { KekError, type KekProvider, type KekScheme } from './kek-provider.ts';
import { createTransitKek } from './kek-transit.ts';
import { readKeyringText, type RingKey, type RootKeyState } from './keyring-text.ts';
import type { Kind } from './record.ts';

export { newKeyringText, rootKeyId } from './keyring-text.ts';

export interface RootKey {
  readonly id: string;
  readonly state: RootKeyState;
  /** Null: retired, and its key is gone from the ring. */
  readonly scheme: KekScheme | null;
  /** In words, of a key in a service. */
  readonly place: string | null;
}

/**
 * The root keys, wherever they live: in memory here, in a key service elsewhere, so wrapping is asynchronous.
 * `wrap` and `unwrap` take the record's kind and context and refuse a root key that is unknown, or retired.
 */
export interface KekRing {
  /** Of the active key. */
  readonly scheme: KekScheme;
  active(): RootKey;
  get(id: string): RootKey | null;
  list(): readonly RootKey[];
  /** @throws {KekError} */
  wrap(id: string, kind: Kind, context: Uint8Array, bytes: Uint8Array): Promise<Buffer>;
  /** The answer is the caller's to wipe. @throws {KekError}, {VaultError} */
  unwrap(id: string, kind: Kind, context: Uint8Array, blob: Buffer): Promise<Buffer>;
  /** As KekProvider's. */
  selfTest(id: string, context: Uint8Array): Promise<void>;
  /** The same ring with the keys of a newer text; key services that stay keep their connection and their pause. */
  replace(keys: readonly RingKey[]): void;
  close(): void;
}

/** What key services need; without it a ring holds local keys alone. */
export interface KekServices {
  readonly exchange: Exchange;
  readonly transitToken: () => string | null;
  readonly awsCredentials: AwsCredentials | null;
  readonly clock: () => number;
  /** [0, 1), for the pauses after failures. */
  readonly random: () => number;
  /** Each use of a key in a service: null when it went well. */
  readonly onUse?: (use: {
    readonly rootKeyId: string;
    readonly scheme: KekScheme;
    readonly trouble: KekError | null;
  }) => void;
  /** With the ring. */
  readonly close?: () => void;
}

/** A ring from its text. @throws {SallyportError} CONFIG_INVALID (keyring-text.ts); a key in a service without `services` too. */
export function parseKeyring(text: string, origin: string, services?: KekServices): KekRing {
  return createKekRing(readKeyringText(text, origin), origin, services);
}

export function createKekRing(given: readonly RingKey[], origin: string, services?: KekServices): KekRing {
  let keys: ReadonlyMap<string, { readonly root: RootKey; readonly provider: KekProvider | null }> =
    new Map();
  let active: RootKey;

  function remoteOf(entry: RingKey): KekProvider | null {
    if (!('transit' in entry) && !('kms' in entry)) return null;
    if (services === undefined) {
      throw new SallyportError(
        'CONFIG_INVALID',
        `The keyring (${origin}) cannot be used: ${entry.id} lives in a key service, which cannot be reached here.`,
      );
    }
    const holdOff = createHoldOff(services);
    const { exchange, transitToken: token, awsCredentials: credentials, clock } = services;
    return 'transit' in entry
      ? createTransitKek({ place: entry.transit, exchange, token, holdOff })
      : createKmsKek({ place: entry.kms, exchange, credentials, holdOff, clock });
  }

  function take(entries: readonly RingKey[]): void {
    const before = keys;
    const locals = new Map<string, KeyObject>();
    for (const entry of entries)
      if ('key' in entry && entry.state !== 'retired') locals.set(entry.id, entry.key);
    const localKek = createLocalKek(locals);
    keys = new Map(
      entries.map((entry) => {
        const provider =
          entry.state === 'retired'
            ? null
            : 'key' in entry
              ? localKek
              : (remoteKept(before.get(entry.id)?.provider) ?? remoteOf(entry));
        const root = Object.freeze({
          id: entry.id,
          state: entry.state,
          scheme: provider?.scheme ?? null,
          place: placeOf(entry),
        });
        return [entry.id, { root, provider }];
      }),
    );
    const first = [...keys.values()].find(({ root }) => root.state === 'active');
    if (first === undefined) throw new TypeError('a ring has an active key');
    active = first.root;
    const kept = new Set([...keys.values()].map(({ provider }) => provider));
    for (const { provider } of before.values()) if (!kept.has(provider)) provider?.close();
  }

  const providerOf = (id: string): KekProvider => {
    const provider = keys.get(id)?.provider ?? null;
    if (provider === null) throw new KekError('wrong_key', `Root key ${id} is not in the ring, or retired.`);
    return provider;
  };

  async function use<T>(id: string, work: (provider: KekProvider) => Promise<T>): Promise<T> {
    const provider = providerOf(id);
    if (provider.scheme === 'local' || services?.onUse === undefined) return work(provider);
    const { onUse } = services;
    try {
      const result = await work(provider);
      onUse({ rootKeyId: id, scheme: provider.scheme, trouble: null });
      return result;
    } catch (error) {
      // A record that was changed is no trouble of the service.
      onUse({ rootKeyId: id, scheme: provider.scheme, trouble: error instanceof KekError ? error : null });
      throw error;
    }
  }

  take(given);
  return Object.freeze<KekRing>({
    get scheme() {
      return active.scheme ?? 'local';
    },
    active: () => active,
    get: (id) => keys.get(id)?.root ?? null,
    list: () => [...keys.values()].map(({ root }) => root),
    wrap: (id, kind, context, bytes) => use(id, (provider) => provider.wrap(id, kind, context, bytes)),
    unwrap: (id, kind, context, blob) => use(id, (provider) => provider.unwrap(id, kind, context, blob)),
    selfTest: (id, context) => use(id, (provider) => provider.selfTest(id, context)),
    replace: take,
    close() {
      for (const { provider } of keys.values()) provider?.close();
      services?.close?.();
    },
  });
}

function remoteKept(provider: KekProvider | null | undefined): KekProvider | null {
  return provider === null || provider === undefined || provider.scheme === 'local' ? null : provider;
}

function placeOf(entry: RingKey): string | null {
  if ('transit' in entry) return placeText(entry.transit);
  return 'kms' in entry ? placeText(entry.kms) : null;
}
