import { randomBytes } from 'node:crypto';
import type { Store } from '../../src/db/store.ts';
import { newId } from '../../src/ids.ts';
import { newKeyringText, parseKeyring, type KekRing } from '../../src/vault/keyring.ts';
import {
  createVault,
  type SealedKey,
  type SecretToSeal,
  type Vault,
  type VaultAlarm,
} from '../../src/vault/vault.ts';
import { testDatabase, type TestDatabase } from '../support/database.ts';

interface Teardown {
  teardown(work: () => Promise<void> | void): void;
}

/** Stand in for the catalogue and the operator's settings. */
export const knownOrigins = (provider: string): string | null =>
  ({ openai: 'https://api.openai.com', groq: 'https://groq.internal:8443' })[provider] ?? null;

/** Never in a literal of its own: what leaks in a test is found by searching for it. */
export function newSecret(): Buffer {
  return Buffer.from(`sk-test-${randomBytes(24).toString('hex')}`);
}

export interface TestVault {
  readonly database: TestDatabase;
  readonly text: string;
  readonly ring: KekRing;
  readonly vault: Vault;
  readonly time: { now: number };
  readonly alarms: VaultAlarm[];
  /** Another gateway on the same database. */
  readonly restart: (ring?: KekRing, store?: Store) => Promise<Vault>;
  readonly newWorkspace: () => Promise<string>;
  readonly seal: (input: Partial<SecretToSeal> & Pick<SecretToSeal, 'workspaceId'>) => Promise<SealedKey>;
}

/** @param ringOf  in place of a ring with one key of its own. */
export async function testVault(
  t: Teardown,
  ringOf?: (time: { readonly now: number }) => Promise<KekRing>,
): Promise<TestVault> {
  const database = await testDatabase(t);
  const text = newKeyringText();
  const time = { now: Date.UTC(2026, 0, 2, 3, 4, 5, 678) };
  const ring = (await ringOf?.(time)) ?? parseKeyring(text, 'test');
  const alarms: VaultAlarm[] = [];
  const restart = async (other: KekRing = ring, store: Store = database.store): Promise<Vault> => {
    const vault = await createVault({
      store,
      ring: other,
      clock: () => time.now,
      knownOrigins,
      alarm: (alarm) => alarms.push(alarm),
    });
    t.teardown(() => vault.close());
    return vault;
  };
  const vault = await restart();
  return {
    database,
    text,
    ring,
    vault,
    time,
    alarms,
    restart,
    async newWorkspace() {
      const id = newId('ws');
      await database.store.asWorkspace(id, async (tx) => {
        await tx.insertInto('workspaces').values({ id, name: id }).execute();
        await vault.createWorkspaceKey(tx, id);
      });
      return id;
    },
    async seal(input) {
      const whole: SecretToSeal = {
        keyId: newId('key'),
        version: 1,
        provider: 'openai',
        auth: 'bearer',
        secret: newSecret(),
        origins: ['https://api.openai.com'],
        ...input,
      };
      const { workspaceId, keyId, version, provider, auth } = whole;
      const sealed = await database.store.asWorkspace(workspaceId, (tx) => vault.sealSecret(tx, whole));
      const { wrap, payload, workspaceKeyVersion } = sealed;
      return {
        workspaceId,
        keyId,
        version,
        provider,
        auth,
        protection: whole.seal === undefined || whole.seal === null ? 'standard' : 'sealed',
        sealId: whole.seal?.id ?? null,
        sealPublicKey:
          whole.seal === undefined || whole.seal === null ? null : Buffer.from(whole.seal.publicKey),
        workspaceKeyVersion,
        wrap,
        payload,
      };
    },
  };
}
