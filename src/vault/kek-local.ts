import type { KeyObject } from 'node:crypto';
import { KekError, type KekProvider } from './kek-provider.ts';
import { proveKek } from './kek-self-test.ts';
import { openRecord, sealRecord, type Kind } from './record.ts';

/** Root keys in this process's memory; wrapped is a sealed record (record.ts). Its promises never wait. */
export function createLocalKek(keys: ReadonlyMap<string, KeyObject>): KekProvider {
  const held = new Map(keys);
  const keyOf = (id: string): KeyObject => {
    const key = held.get(id);
    if (key === undefined) throw new KekError('wrong_key', `Root key ${id} is not in the ring.`);
    return key;
  };
  const provider: KekProvider = {
    scheme: 'local',
    list: () => [...held.keys()],
    wrap: async (id: string, kind: Kind, context: Uint8Array, bytes: Uint8Array) =>
      sealRecord(keyOf(id), kind, context, bytes),
    unwrap: async (id: string, kind: Kind, context: Uint8Array, blob: Buffer) =>
      openRecord(keyOf(id), kind, context, blob),
    selfTest: (id, context) => proveKek(provider, id, context),
    close: () => held.clear(),
  };
  return Object.freeze(provider);
}
