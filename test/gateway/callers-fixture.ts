import { defaultPolicy } from '../../src/token-policy.ts';
import { newId } from '../../src/ids.ts';
import type { CallerSnapshot, KeySnapshot } from '../../src/gateway/snapshot.ts';
import { providers } from '../../src/providers/catalogue.ts';
import type { Resolver } from '../../src/gateway/model-choice.ts';

/** Rows as the snapshot reader hands them on, with nothing sealed in them: what decides is pure and opens nothing. */
export function keyOf(provider: string, more: Partial<KeySnapshot> = {}): KeySnapshot {
  const known = providers.get(provider);
  const id = newId('key');
  return {
    id,
    name: 'main',
    provider,
    ownerId: `owner of ${more.source ?? 'own'}`,
    source: 'own',
    isCallersOwn: (more.source ?? 'own') === 'own',
    protection: 'standard',
    auth: 'bearer',
    origins: [provider === 'custom' ? 'https://models.example' : (known?.origin ?? '')],
    basePath: known?.basePath ?? '/v1',
    isOperatorOrigin: false,
    version: 1,
    fingerprint: 'f00d5ea1f00d5ea1',
    purpose: 'relay',
    weight: 1,
    asksStreamUsage: false,
    isActive: true,
    isRefused: false,
    expiresAt: null,
    sealed: {
      workspaceId: newId('ws'),
      keyId: id,
      version: 1,
      provider,
      protection: 'standard',
      sealId: null,
      sealPublicKey: null,
      workspaceKeyVersion: 1,
      wrap: Buffer.alloc(0),
      payload: Buffer.alloc(0),
      auth: 'bearer',
    },
    prepare: () => Promise.reject(new Error('nothing is opened here')),
    ...more,
  };
}

export function callerOf(keys: readonly KeySnapshot[], more: Partial<CallerSnapshot> = {}): CallerSnapshot {
  return {
    tokenId: newId('tok'),
    prefix: 'spt_0123456789ab',
    workspaceId: newId('ws'),
    userId: newId('usr'),
    providers: null,
    models: null,
    keyIds: null,
    requestsPerMinute: 600,
    concurrentCalls: 100,
    endpoints: null,
    networks: null,
    policy: defaultPolicy,
    aliases: [],
    prices: [],
    addressSalts: [],
    expiresAt: null,
    keys,
    refusedKeys: keys.filter(({ isRefused }) => isRefused),
    ...more,
  };
}

export const now = Date.UTC(2026, 0, 1);

export const resolver: Resolver = {
  providers,
  listed: () => [],
  originOf: (name) => providers.get(name)?.origin ?? '',
  isOperatorSet: () => false,
  now: () => now,
  random: () => 0,
  isWell: () => true,
};
