import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { checkArchivePlace } from './backup/archive-place.ts';
import { openArchive, type Archive, type Backup } from './backup/archive.ts';
import { storedBytes, takeBackup } from './backup/backup.ts';
import { linesOf, writeNewFile } from './backup/export-file.ts';
import { recordInStream } from './backup/journal-record.ts';
import { restore } from './backup/restore.ts';
import { runSchedule } from './backup/schedule.ts';
import type { Safekeeping } from './cli/deps.ts';
import type { Config } from './config.ts';
import type { ConnectionOptions, SocketConnection } from './db/connection.ts';
import { hasDatabase, maintenanceOf, runningDatabase } from './db/embedded-running.ts';
import { checkUnfounded, refill } from './db/refill.ts';
import { withSnapshot } from './db/snapshot.ts';
import { openStore } from './db/store.ts';
import { SallyportError } from './errors.ts';
import { migrateDatabase, openDatabase } from './installation.ts';
import type { Fields } from './journal/journal.ts';
import { openRootKeys, createKeyringIds, readKeyring, readRing } from './root-keys.ts';
import { wipe } from './secret.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { ageBytes, openWithIdentities, sealToRecipients } from './vault/age.ts';
import { openCanary } from './vault/deployment.ts';
import { bytesOf, textOf } from './vault/export-format.ts';
import { createExport } from './vault/export.ts';
import { checkExport, readHeader, writeExport } from './vault/import.ts';
import { type KekRing, parseKeyring } from './vault/keyring.ts';

export interface SafekeepingDeps {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly version: string;
  /** The database as it runs, or opened for the while. @throws {SallyportError} CONFIG_INVALID: never set up. */
  readonly withConnection: <T>(work: (connection: ConnectionOptions) => Promise<T>) => Promise<T>;
}

/** What leaves an installation to be kept, and how it comes back. Each leaves a record in the journal before it leaves. */
export function createSafekeeping(config: Config, deps: SafekeepingDeps): Safekeeping {
  const { version, withConnection } = deps;
  const { dataDir } = config;
  const clock = Date.now;
  const journalDir = path.join(dataDir, 'journal');
  const keyringIds = createKeyringIds(config);
  const record = (event: string, fields: Fields, dir = journalDir): Promise<void> =>
    recordInStream({ dir, sync: config.journalSync, maxBytes: config.journalMaxBytes, clock }, event, fields);

  /** Checks, too, that this keyring is the one that a restored database will need. */
  async function sealedKeyring(recipients: readonly string[], row: Row | null) {
    if (recipients.length === 0 || row === null) return null;
    const ring = await readRing(config);
    try {
      wipe(await openCanary(ring, { id: textOf(row['id']), canary: bytesOf(row['canary']) }));
    } finally {
      ring.close();
    }
    const { ids, text } = await readKeyring(config);
    return { recipients, ids, sealed: await sealToRecipients(recipients, text).finally(() => wipe(text)) };
  }

  /** Can whom backups are for now open what follows this one? A root key that came since is not in its keyring. */
  async function isUpToDate({ manifest }: Backup, recipients: readonly string[]): Promise<boolean> {
    if (recipients.length === 0) return true;
    const ids = await keyringIds();
    return (
      recipients.every((recipient) => manifest.recipients.includes(recipient)) &&
      ids.every((id) => manifest.keyringIds?.includes(id) === true)
    );
  }

  async function take(
    archive: Archive,
    maintenance: SocketConnection,
    recipients: readonly string[],
    signal?: AbortSignal,
  ): Promise<Backup> {
    const own = { ...maintenance, user: 'sallyport', database: 'sallyport' };
    const { row, rootKeyIds } = await withSnapshot(own, async (snapshot) => {
      const { value: rows } = await snapshot.rows('deployment').next();
      const [text] = (rows ?? []) as readonly string[];
      return {
        row: text === undefined ? null : (JSON.parse(text) as Row),
        rootKeyIds: await snapshot.rootKeyIds(),
      };
    });
    if (row === null) throw notSetUp();
    return takeBackup({
      archive,
      maintenance,
      dataDir,
      deployment: { id: textOf(row['id']), rootKeyIds },
      keyring: await sealedKeyring(recipients, row),
      record: (fields) => record('backup.make', fields),
      clock,
      version,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  async function openOwnArchive(to: string): Promise<Archive> {
    requireEmbedded(config);
    if (!hasDatabase(dataDir)) throw notSetUp();
    checkArchivePlace(to, dataDir);
    return openArchive(to);
  }

  return Object.freeze<Safekeeping>({
    async exportVault({ to, recipients }) {
      const ring = await readRing(config);
      try {
        return await withConnection((connection) =>
          withSnapshot(connection, async (snapshot) => {
            const made = await createExport({ snapshot, ring, recipients, clock, version });
            const { deploymentId, rootKeyIds } = made.header;
            await writeNewFile(to, made.lines(), () =>
              record('vault.export', { deploymentId, recipients, counts: { ...made.manifest().counts } }),
            );
            return {
              file: to,
              deploymentId,
              rootKeyIds,
              isPortable: recipients.length > 0,
              ...made.manifest(),
            };
          }),
        );
      } finally {
        ring.close();
      }
    },

    async importVault({ from, identities }) {
      const lines = (): AsyncIterable<Buffer> => linesOf(from);
      const header = await readHeader(lines);
      const source =
        header.transport === null
          ? await readRing(config)
          : await transportRing(header.transport.age, identities);
      // All of it is verified before anything is made here.
      const checked = await checkExport(lines, source).catch((error: unknown) => {
        source.close();
        throw error;
      });
      const database = await openDatabase(config);
      const owner =
        config.databaseMigrateUrl === null ? database.connection : { url: config.databaseMigrateUrl };
      const store = openStore({ connection: database.connection, maxConnections: 2 });
      let target: KekRing = source;
      try {
        await migrateDatabase(config, database);
        await checkUnfounded(owner);
        if (header.transport !== null) target = (await openRootKeys(config, { ...deps, store })).ring;
        const { sha256, manifest } = checked;
        const { deploymentId } = header;
        const fields = { deploymentId, sha256, exportedAt: header.exportedAt };
        await record('vault.import', fields);
        await refill(owner, (into) => writeExport(lines, checked, { source, target }, into));
        await record('vault.imported', fields);
        return { deploymentId, rootKeyIds: [target.active().id], counts: manifest.counts };
      } finally {
        source.close();
        if (target !== source) target.close();
        await store.close();
        await database.stop();
      }
    },

    async backup({ to, recipients, keep }) {
      const archive = await openOwnArchive(to);
      try {
        const made = await withConnection((connection) =>
          take(archive, maintenanceOf(connection as SocketConnection), recipients),
        );
        const pruned = keep === null ? [] : await archive.prune(keep);
        const { id, folder, manifest } = made;
        return { id, folder, finishedAt: manifest.finishedAt, bytes: storedBytes(made), pruned };
      } finally {
        archive.close();
      }
    },

    async keepBackups({ everyMs, keep, onEvent, recipients, signal, to }) {
      const archive = await openOwnArchive(to);
      try {
        await runSchedule({
          archive,
          dataDir,
          everyMs,
          keep,
          running() {
            const connection = runningDatabase(dataDir);
            return connection === null ? null : maintenanceOf(connection);
          },
          isUpToDate: (backup) => isUpToDate(backup, recipients),
          take: (maintenance) => take(archive, maintenance, recipients, signal),
          clock,
          pause: (ms) => pause(ms, undefined, { signal }).catch(() => {}),
          signal,
          onEvent,
        });
      } finally {
        archive.close();
      }
    },

    async restore({ at, from, identities }) {
      requireEmbedded(config);
      return restore({
        from,
        dataDir,
        at,
        openKeyring: identities === null ? null : (sealed) => openWithIdentities(identities, sealed),
        record: (dir, { backup, restoredTo, cut }) =>
          record('backup.restore', { backup, restoredTo, cut: cut === null ? null : { ...cut } }, dir),
      });
    },
  });
}

type Row = Readonly<Record<string, unknown>>;

async function transportRing(age: string, identities: string | null): Promise<KekRing> {
  if (identities === null) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'The export is encrypted to an age recipient: its identity is needed.',
      {
        fix: 'bin/sallyport vault import FILE --identity IDENTITY_FILE',
      },
    );
  }
  const text = await openWithIdentities(identities, ageBytes(age));
  try {
    return parseKeyring(Buffer.from(text).toString('utf8'), 'the export');
  } finally {
    wipe(text);
  }
}

function requireEmbedded({ databaseUrl }: Config): void {
  if (databaseUrl === null) return;
  throw new SallyportError(
    'CONFIG_INVALID',
    'DATABASE_URL names a server of your own, which is backed up by its own means.',
    {
      fix: 'docs/backup.md says how: pg_basebackup or a managed server’s own recovery; the vault alone: bin/sallyport vault export',
    },
  );
}

function notSetUp(): SallyportError {
  return new SallyportError('CONFIG_INVALID', 'This installation has not been set up yet.', {
    fix: 'Run bin/sallyport init, or start the gateway once: npm start',
  });
}
