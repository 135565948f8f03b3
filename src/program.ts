import cluster from 'node:cluster';
import path from 'node:path';
import { readBreachClock } from './admin/breach-clock.ts';
import { findUndecryptable, listKeyOrigins } from './admin/key-survey.ts';
import { createApp } from './app.ts';
import { recordInStream } from './backup/journal-record.ts';
import { examine } from './cli/doctor.ts';
import type { CliDeps, Initialised } from './cli/deps.ts';
import { readEnvironmentKeys } from './cli/environment-keys.ts';
import type { Config } from './config.ts';
import type { ConnectionOptions } from './db/connection.ts';
import { hasDatabase, runningDatabase } from './db/embedded-running.ts';
import { schemaState } from './db/migrate.ts';
import { openStore, type Store } from './db/store.ts';
import { SallyportError } from './errors.ts';
import { migrateDatabase, openDatabase, openInstallation } from './installation.ts';
import { readRing } from './root-keys.ts';
import { checkJournal } from './journal-check.ts';
import { retireMonths } from './journal-retirement.ts';
import type { Fields } from './journal/journal.ts';
import { verifyJournal } from './journal/verify.ts';
import { serve } from './serve.ts';
import { createLog } from './telemetry/log.ts';
import { openLogSink } from './telemetry/log-sink.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { countSealed } from './vault/deployment.ts';
import { createVault, type Vault } from './vault/vault.ts';

export interface ProgramOptions {
  readonly version: string;
  readonly output: NodeJS.WritableStream & { isTTY?: boolean };
}

/** What the command line can do, over a configuration. Log lines go to standard error: standard output is the answer's. */
export function createCliDeps(config: Config, { version, output }: ProgramOptions): CliDeps {
  const sink = openLogSink(2);
  const metrics = createMetrics({ version, node: process.version });
  const serving = createLog({ level: config.logLevel, write: (line) => sink.write(line) });
  // A command says itself what came of it: of the rooms below only faults are told.
  const quiet = createLog({
    level: config.logLevel === 'silent' ? 'silent' : 'error',
    write: (line) => sink.write(line),
  });

  async function withApp<T>(work: (app: Awaited<ReturnType<typeof createApp>>) => Promise<T>): Promise<T> {
    const { app, close } = await openQuietly();
    try {
      return await work(app);
    } finally {
      await close();
    }
  }

  async function openQuietly() {
    const installation = await openInstallation(config, { log: quiet, metrics });
    try {
      const app = await createApp(config, { installation, log: quiet, metrics, version });
      const close = async (): Promise<void> => {
        await app.close(0);
        await installation.close();
      };
      return { app, close };
    } catch (error) {
      await installation.close();
      throw error;
    }
  }

  /** The database for a look: the running gateway's where one runs, else opened for the while. */
  async function withConnection<T>(
    work: (connection: ConnectionOptions) => Promise<T>,
    { mayMake } = { mayMake: false },
  ): Promise<T> {
    const running = config.databaseUrl === null ? runningDatabase(config.dataDir) : null;
    if (running !== null) return work(running);
    if (!mayMake && config.databaseUrl === null && !hasDatabase(config.dataDir)) throw notSetUp();
    const database = await openDatabase(config);
    try {
      return await work(database.connection);
    } finally {
      await database.stop();
    }
  }

  const look = <T>(work: (store: Store) => Promise<T>): Promise<T> =>
    withConnection((connection) => withStore(connection, work));

  const verify = (wanted: { since: Date | null; against: string | null } = { since: null, against: null }) =>
    look((store) =>
      withVault(config, store, (vault) => checkJournal(config, { store, vault, ...wanted })).catch(
        (error: unknown) => {
          // Records are checked without the ring, too; only the signing key's row is believed then.
          if (error instanceof VaultAway) return checkJournal(config, { store, vault: null, ...wanted });
          throw error;
        },
      ),
    );

  return Object.freeze<CliDeps>({
    // Loaded where it is asked for: its libraries would cost every other command a tenth of a second.
    safekeeping: async () =>
      (await import('./safekeeping.ts')).createSafekeeping(config, {
        log: quiet,
        metrics,
        version,
        withConnection,
      }),
    async serve({ keysFd }) {
      if (cluster.isWorker && config.workers > 1) {
        const { serveAsWorker } = await import('./workers/worker.ts');
        return serveAsWorker(config, { log: serving, metrics, version }).finally(() => {
          sink.flush();
          // Nothing else keeps a worker from ending.
          process.disconnect?.();
        });
      }
      const several =
        config.workers > 1 ? { createFront: (await import('./workers/primary.ts')).createWorkersFront } : {};
      const environmentKeys = keysFd === null ? [] : readEnvironmentKeys(keysFd);
      try {
        return await serve(config, { ...several, log: serving, metrics, version, environmentKeys, output });
      } finally {
        sink.flush();
      }
    },
    init: () => withApp((app): Promise<Initialised> => app.initialise()),
    migrate: () => withConnection((connection) => migrateDatabase(config, { connection }), { mayMake: true }),
    verifyJournal: ({ dir, ...wanted }) =>
      dir === null ? verify(wanted) : verifyJournal({ dir, store: null }),
    async retireJournal({ isDryRun }) {
      if (config.journalRetentionMonths === null) throw keepsAll();
      const record = async (event: string, fields: Fields): Promise<void> =>
        recordInStream(
          {
            dir: path.join(config.dataDir, 'journal'),
            sync: config.journalSync,
            maxBytes: config.journalMaxBytes,
            clock: Date.now,
          },
          event,
          fields,
        );
      return look((store) =>
        withVault(config, store, async (vault) => {
          const verdict = await checkJournal(config, { store, vault });
          return retireMonths(config, { store, vault, record, clock: Date.now }, { verdict, isDryRun });
        }).catch((error: unknown) => {
          throw error instanceof VaultAway ? error.cause : error;
        }),
      );
    },
    async openOffline() {
      // A mistyped DATA_DIR must not become a database and a keyring.
      if (config.databaseUrl === null && !hasDatabase(config.dataDir)) throw notSetUp();
      const { app, close } = await openQuietly();
      return {
        request: (method, path, body, headers) => app.operator.inject(method, path, body, headers),
        close,
      };
    },
    doctor: () =>
      examine({
        config,
        nodeVersion: process.version,
        schemaState: () => withConnection((connection) => schemaState(connection)),
        openVault: () => look((store) => surveyVault(config, store)),
        keyOrigins: () => look((store) => listKeyOrigins({ store })),
        verifyJournal: () => verify(),
        breachClock: () => look(readBreachClock),
        now: Date.now,
      }),
  });
}

async function withStore<T>(connection: ConnectionOptions, work: (store: Store) => Promise<T>): Promise<T> {
  const store = openStore({ connection, maxConnections: 2 });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** The ring is not at hand, or not that of this database. */
class VaultAway extends Error {
  override readonly name = 'VaultAway';
}

/** Opens the vault as a start would, but founds nothing: a look changes nothing. @throws {VaultAway} */
async function withVault<T>(config: Config, store: Store, work: (vault: Vault) => Promise<T>): Promise<T> {
  if (!(await countSealed(store)).hasDeployment) throw new VaultAway('', { cause: notSetUp() });
  const away = (cause: unknown): never => {
    throw new VaultAway('', { cause });
  };
  const ring = await readRing(config).catch(away);
  try {
    const vault = await createVault({
      store,
      ring,
      clock: Date.now,
      knownOrigins: (provider) => (config.origins as Readonly<Record<string, string>>)[provider] ?? null,
    }).catch(away);
    try {
      return await work(vault);
    } finally {
      vault.close();
    }
  } finally {
    ring.close();
  }
}

async function surveyVault(config: Config, store: Store): Promise<string[]> {
  try {
    return await withVault(config, store, (vault) => findUndecryptable({ store, vault }));
  } catch (error) {
    throw error instanceof VaultAway ? error.cause : error;
  }
}

function keepsAll(): SallyportError {
  return new SallyportError(
    'CONFIG_INVALID',
    'All months of the journal are kept: nothing is to be dropped.',
    {
      fix: 'Set JOURNAL_RETENTION_MONTHS to drop those that are older.',
    },
  );
}

function notSetUp(): SallyportError {
  return new SallyportError('CONFIG_INVALID', 'This installation has not been set up yet.', {
    fix: 'Run bin/sallyport init, or start the gateway once: npm start',
  });
}
