import path from 'node:path';
import type { Config } from './config.ts';
import type { Store } from './db/store.ts';
import { createEgress } from './egress/egress.ts';
import { createExchange } from './egress/exchange.ts';
import { SallyportError } from './errors.ts';
import { secretCopy } from './secret.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { countSealed } from './vault/deployment.ts';
import { createKekTroubles } from './vault/kek-troubles.ts';
import { createKeyringFile, keyringFileStamp, readKeyringFile } from './vault/keyring-file.ts';
import { createKeyringHome, type KeyringHome } from './vault/keyring-home.ts';
import { rootKeysInUse } from './vault/keyring-survey.ts';
import { keyringText, readKeyringText, type RingKey } from './vault/keyring-text.ts';
import { createKekRing, type KekRing, type KekServices } from './vault/keyring.ts';

type RingConfig = Pick<
  Config,
  'keyring' | 'dataDir' | 'transitToken' | 'awsCredentials' | 'egressProxy' | 'egressDirectOrigins'
>;

const environment = 'SALLYPORT_KEYRING';

/** The ring that there is: from the settings, else the file. @throws {SallyportError} CONFIG_INVALID */
export async function readRing(config: RingConfig): Promise<KekRing> {
  const [keys, origin] = await readKeys(config);
  return createKekRing(keys, origin, servicesOf(config));
}

/** Its text, for a backup that is encrypted to somebody; the caller's to wipe. @throws {SallyportError} CONFIG_INVALID */
export async function readKeyring(config: RingConfig): Promise<{ ids: string[]; text: Buffer }> {
  const [keys] = await readKeys(config);
  return { ids: openingIds(keys), text: secretCopy(Buffer.from(keyringText(keys))) };
}

/**
 * The root keys that it opens with, or will, to be asked for again and again: a file is read anew when it was written anew, as its text is
 * the secret itself, and leaves a piece of it in memory each time.
 *
 * @throws {SallyportError} CONFIG_INVALID
 */
export function createKeyringIds(config: RingConfig): () => Promise<readonly string[]> {
  let known: { readonly stamp: string | null; readonly ids: readonly string[] } | null = null;
  return async () => {
    const stamp = config.keyring === null ? await keyringFileStamp(keyringFile(config)) : environment;
    if (known === null || stamp === null || stamp !== known.stamp)
      known = { stamp, ids: openingIds((await readKeys(config))[0]) };
    return known.ids;
  };
}

const openingIds = (keys: readonly RingKey[]): string[] =>
  keys.filter(({ state }) => state !== 'retired').map(({ id }) => id);

/**
 * The same for a gateway, with the place where it is kept. Made on the very first start and never again.
 *
 * @throws {SallyportError} CONFIG_INVALID
 */
export async function openRootKeys(
  config: RingConfig,
  {
    store,
    log,
    metrics,
    ca,
  }: {
    readonly store: Store;
    readonly log: Log;
    readonly metrics: Metrics;
    readonly ca?: string | undefined;
  },
): Promise<KeyringHome> {
  const file = config.keyring === null ? keyringFile(config) : null;
  const keys = await openKeys(config, store, log);
  const troubles = createKekTroubles({
    clock: Date.now,
    tell: ({ rootKeyId, code, detail }) => {
      if (code === null) log.info('root-key.well', { record: rootKeyId });
      else log.error('root-key.trouble', { record: rootKeyId, code, detail });
    },
  });
  const services: KekServices = {
    ...servicesOf(config, ca),
    onUse(use) {
      metrics.rootKeyUsed(use.scheme, use.trouble?.code ?? 'ok');
      troubles(use);
    },
  };
  const origin = file ?? environment;
  const ring = createKekRing(keys, origin, services);
  return createKeyringHome({
    ring,
    file,
    async prove(key, context) {
      const { close: _, ...shared } = services;
      const alone = createKekRing([{ ...key, state: 'active' } as RingKey], origin, shared);
      try {
        await alone.selfTest(key.id, context);
      } finally {
        alone.close();
      }
    },
    async inUse(ids) {
      const uses = await rootKeysInUse({ store, ring });
      return ids.filter((id) => uses.has(id));
    },
  });
}

function keyringFile({ dataDir }: Pick<Config, 'dataDir'>): string {
  return path.join(dataDir, 'keyring.json');
}

async function readKeys(config: RingConfig): Promise<readonly [readonly RingKey[], string]> {
  if (config.keyring !== null) return [readKeyringText(config.keyring, environment), environment];
  const file = keyringFile(config);
  return [await readKeyringFile(file), file];
}

async function openKeys(config: RingConfig, store: Store, log: Log): Promise<readonly RingKey[]> {
  const found = await countSealed(store);
  const read = async (): Promise<readonly RingKey[]> => (await readKeys(config))[0];
  if (config.keyring !== null || found.workspaceKeys > 0 || found.hasDeployment) return read();
  const file = keyringFile(config);
  try {
    // Overwrites nothing: a file that is there is read, and says itself what is wrong with it.
    const keys = await createKeyringFile(file, found);
    log.info('keyring.created', { file });
    return keys;
  } catch {
    return read();
  }
}

/** A way out of its own: that of providers ends with the calls, and root keys are needed until the last record is written. */
function servicesOf(config: RingConfig, ca?: string): KekServices {
  const egress = createEgress({
    proxy: config.egressProxy,
    directOrigins: config.egressDirectOrigins,
    ...(ca === undefined ? {} : { ca }),
  });
  return {
    exchange: createExchange(egress),
    transitToken() {
      try {
        return config.transitToken();
      } catch (error) {
        // The file of an agent that is being written this moment; what is wrong with it is told as a refusal.
        if (error instanceof SallyportError) return null;
        throw error;
      }
    },
    awsCredentials: config.awsCredentials,
    clock: Date.now,
    random: Math.random,
    close: () => void egress.close(),
  };
}
