import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createAftermath } from './aftermath.ts';
import { giveDataToOwner } from './backup/data-owner.ts';
import type { Config } from './config.ts';
import { connectionsOf } from './db/connection-share.ts';
import type { ConnectionOptions } from './db/connection.ts';
import { startEmbedded } from './db/embedded.ts';
import type { ServerWatch } from './db/embedded-keeper.ts';
import { createEpochHints, type EpochHints } from './db/epoch-hints.ts';
import { migrate, schemaState } from './db/migrate.ts';
import { openStore, type Store } from './db/store.ts';
import { SallyportError } from './errors.ts';
import { createActLookup } from './journal/act-lookup.ts';
import type { FileSeam } from './journal/file-seam.ts';
import { openJournal, type Journal } from './journal/journal.ts';
import { demandAlone } from './journal/node-alone.ts';
import { nodeIdOf } from './journal/node-id.ts';
import { createShipper, type Shipper } from './journal/shipper.ts';
import { isAdministrative } from './providers/catalogue.ts';
import { openRootKeys } from './root-keys.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import type { KeyringHome } from './vault/keyring-home.ts';
import { createVault, type Vault } from './vault/vault.ts';

/** What is on disk and in the database, opened: the rooms below the gateway and the admin side. */
export interface Installation {
  readonly store: Store;
  readonly vault: Vault;
  readonly keyring: KeyringHome;
  readonly journal: Journal;
  readonly shipper: Shipper;
  /** This process: a stream of the journal, and a row of `nodes`. */
  readonly nodeId: string;
  readonly bootId: string;
  /** No workspace yet: `init` has to come first. */
  readonly isEmpty: boolean;
  /** The embedded database ends again and again, or does not come up. */
  readonly isDatabaseLost: () => boolean;
  /** Tells at once that the epoch has moved, where the database lets it. */
  readonly epochHints: EpochHints;
  /**
   * Ends what processes of this folder began that are gone. @param isSure whether no transaction of theirs can come through any more.
   *
   * @returns how many acts wait for being sure.
   */
  settle(isSure: boolean): Promise<number>;
  /** Ships what is left and ends everything; the database last. */
  close(): Promise<void>;
}

export interface Database {
  readonly connection: ConnectionOptions;
  /** Where it is ours to start again. */
  keep?(watch: ServerWatch): void;
  stop(): Promise<void>;
}

export interface InstallationDeps {
  readonly log: Log;
  readonly metrics: Metrics;
  /** In place of the one that the configuration names. */
  readonly database?: Database;
  /** Trusted for key services instead of the built-in roots (tests). */
  readonly ca?: string;
  /** In place of the disk, for the journal: a test can make it fail. */
  readonly journalFiles?: FileSeam;
  /** This process works beside another one of this folder, which migrates, and settles and ships what the dead left. */
  readonly isWorker?: boolean;
  readonly maxConnections?: number | undefined;
  /** Ends what may take long without anything being done: the look for a copy of this node. Rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** Other workers fill the journal's folder, and empty it: one that looked only when it removes something itself would stay `full`. */
const measureMs = 1000;

/** The server that this installation uses: the one named, or its own. */
export async function openDatabase(config: Config): Promise<Database> {
  if (config.databaseUrl !== null) return { connection: { url: config.databaseUrl }, stop: async () => {} };
  const { dataDir, workers } = config;
  const server = await startEmbedded({
    dataDir,
    ...(workers === 1 ? {} : { settings: { max_connections: String(connectionsOf(workers)) } }),
  });
  giveDataToOwner(dataDir);
  return server;
}

/** Brings the schema up to date: as its owner, where he is kept apart from the user that serves. */
export function migrateDatabase(
  config: Config,
  { connection }: Pick<Database, 'connection'>,
): Promise<{ applied: string[]; version: string }> {
  if (config.databaseMigrateUrl === null) return migrate(connection);
  const runtimeUser =
    config.databaseUrl === null ? '' : decodeURIComponent(new URL(config.databaseUrl).username);
  return migrate({ url: config.databaseMigrateUrl }, runtimeUser === '' ? {} : { runtimeUser });
}

/**
 * Opens an installation: database, schema, ring, vault, journal, in the order in which each can refuse before the next is touched.
 *
 * @throws {SallyportError} CONFIG_INVALID: nothing was changed but the schema.
 */
export async function openInstallation(
  config: Config,
  {
    log,
    metrics,
    database: given,
    ca,
    journalFiles,
    isWorker = false,
    maxConnections,
    signal,
  }: InstallationDeps,
): Promise<Installation> {
  const clock = Date.now;
  let isClosing = false;
  const closers: (() => Promise<void> | void)[] = [];
  const close = async (): Promise<void> => {
    isClosing = true;
    for (const closer of closers.splice(0).toReversed()) {
      await Promise.resolve(closer()).catch((error: unknown) => log.error('close.failed', { error }));
    }
  };
  try {
    // After all else is closed: segments begin and files are made for as long as there is anybody to make them.
    closers.push(() => giveDataToOwner(config.dataDir));
    const database = given ?? (await openDatabase(config));
    closers.push(() => database.stop());
    let isLost = false;
    database.keep?.({
      onLost: () => log.warn('database.lost'),
      onBack({ pid, durationMs }) {
        isLost = false;
        metrics.databaseRestarted();
        log.info('database.back', { pid, durationMs });
      },
      onFailed(error, attempts) {
        isLost = true;
        log.error('database.failed', { error, attempts });
      },
    });
    if (!isWorker) await bringUpToDate(config, database, log);
    const store = openStore({
      connection: database.connection,
      ...(maxConnections === undefined ? {} : { maxConnections }),
    });
    closers.push(() => store.close());
    const keyring = await openRootKeys(config, { store, log, metrics, ca });
    closers.push(() => keyring.ring.close());
    const vault = await createVault({
      store,
      ring: keyring.ring,
      clock,
      knownOrigins: (provider) => (config.origins as Readonly<Record<string, string>>)[provider] ?? null,
      isAdministrative,
      alarm: (alarm) => log.error('vault.alarm', { ...alarm }),
    });
    closers.push(() => vault.close());
    metrics.setJournalLimit(config.journalMaxBytes);
    const dir = path.join(config.dataDir, 'journal');
    const nodeId = await nodeIdOf(dir);
    // The embedded database is in the folder too: a copy has one of its own.
    if (!isWorker && config.databaseUrl !== null)
      await demandAlone({
        dir,
        nodeId,
        store,
        pause: (ms) => delay(ms, undefined, signal === undefined ? {} : { signal }),
        onWait: () => log.warn('node.looked-for', { node: nodeId }),
      });
    const bootId = randomBytes(8).toString('hex');
    const journal = await openJournal({
      dir,
      nodeId,
      bootId,
      sync: config.journalSync,
      maxBytes: config.journalMaxBytes,
      clock,
      ...(journalFiles === undefined ? {} : { files: journalFiles }),
      onAppended: (event, seconds) => metrics.journalAppended(event, seconds),
      onGate: (closed) => {
        metrics.journalGate(closed);
        if (isClosing) return;
        if (closed) log.error('journal.gate-closed');
        else log.info('journal.gate-open');
      },
    });
    closers.push(() => journal.close());
    if (config.workers > 1) {
      const measuring = setInterval(() => void journal.measure().catch(() => {}), measureMs).unref();
      closers.push(() => clearInterval(measuring));
    }
    const aftermath = createAftermath({ journal, lookup: createActLookup(store), log });
    if (!isWorker) await aftermath.start();
    const shipper = createShipper({
      store,
      journal,
      clock,
      isOwnOnly: isWorker,
      onAlarm: (fault) =>
        log.error('journal.alarm', { stream: fault.stream, seq: fault.seq, kind: fault.kind }),
      onError: (error, stream) =>
        log.warn('journal.shipping-failed', { error, ...(stream === undefined ? {} : { stream }) }),
    });
    shipper.start();
    closers.push(() => shipLast(journal, shipper, log));
    closers.push(() => aftermath.stop());
    const isEmpty = await store.asSystem(
      async (tx) =>
        (await tx.selectFrom('workspaces').select('id').limit(1).executeTakeFirst()) === undefined,
    );
    const epochHints = createEpochHints(
      config.databaseListenUrl === null ? database.connection : { url: config.databaseListenUrl },
    );
    closers.push(() => epochHints.stop());
    giveDataToOwner(config.dataDir);
    return Object.freeze({
      store,
      vault,
      keyring,
      journal,
      shipper,
      nodeId,
      bootId,
      isEmpty,
      isDatabaseLost: () => isLost,
      epochHints,
      settle: (isSure: boolean) => aftermath.settle(isSure),
      close,
    });
  } catch (error) {
    await close();
    throw error;
  }
}

async function bringUpToDate(config: Config, database: Database, log: Log): Promise<void> {
  if (config.migrate === 'auto') {
    const { applied, version } = await migrateDatabase(config, database);
    if (applied.length > 0) log.info('database.migrated', { version, count: applied.length });
    return;
  }
  const { pending } = await schemaState(database.connection);
  if (pending.length === 0) return;
  throw new SallyportError(
    'CONFIG_INVALID',
    `The database lacks the migrations ${pending.join(', ')}, and MIGRATE is off.`,
    {
      fix: 'Run bin/sallyport migrate, or set MIGRATE=auto.',
    },
  );
}

/** The journal is closed first, so that its last record goes along; what a lost database leaves behind, the next start ships. */
async function shipLast(journal: Journal, shipper: Shipper, log: Log): Promise<void> {
  await journal.close();
  log.debug('closed', { name: 'journal' });
  await shipper.flush().catch((error: unknown) => log.warn('journal.shipping-failed', { error }));
  await shipper.stop();
  log.debug('closed', { name: 'shipper' });
}
