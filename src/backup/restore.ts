import { constants, createWriteStream, existsSync, lchownSync, readdirSync, statSync } from 'node:fs';
import { chmod, mkdir, open, readFile, rename, rm, truncate } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { startRecovered } from '../db/embedded-recovery.ts';
import { serverIds, type ServerIds } from '../db/embedded-ids.ts';
import { withSnapshot } from '../db/snapshot.ts';
import { openStore } from '../db/store.ts';
import { segmentBytes } from '../db/wal-names.ts';
import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import {
  type Backup,
  backupIds,
  damaged,
  databasePack,
  isBackupId,
  isInside,
  readBackup,
  startedAt,
} from './archive.ts';
import { giveToOwnerOf } from './data-owner.ts';
import { afterFolder, partialEnding, readFollowed } from './follow.ts';
import { cutJournal, type Cut } from './journal-cut.ts';
import { journalFiles } from './journal-copy.ts';
import { measureFile, packedEnding, syncFolder, unpackFile, writeWhole } from './packed-file.ts';
import { chownTo, unpackFolder } from './packed-folder.ts';

export interface RestoreOptions {
  /** The folder of backups, or one of them. */
  readonly from: string;
  /** Nothing may be in it. */
  readonly dataDir: string;
  /** The state of this moment; null: the newest that there is. */
  readonly at: Date | null;
  /** Opens `keyring.age` of the backup: resolves with the keyring's text. */
  readonly openKeyring: ((sealed: Uint8Array) => Promise<Uint8Array>) | null;
  /** Writes the journal's record of it, in the journal of that folder. */
  readonly record: (journalDir: string, restored: Restored) => Promise<void>;
}

export interface Restored {
  readonly backup: string;
  /** Everything committed until here is there. */
  readonly restoredTo: string;
  readonly deploymentId: string;
  /** What the keyring has to hold for the restored keys to open. */
  readonly rootKeyIds: readonly string[];
  /** Those of them that did not come with it. */
  readonly missingRootKeyIds: readonly string[];
  /** What acts after `restoredTo` had written to the journal is left out from here on. */
  readonly cut: Cut | null;
  readonly hasKeyring: boolean;
}

const staging = '.restore';

/**
 * Puts a backup back into an empty data directory: the database at a moment, the journal up to where it fits. All is made in a
 * folder aside; what is half done is never a data directory.
 *
 * @throws {SallyportError} CONFLICT: something is there already, no backup is old enough, one is damaged; CONFIG_INVALID.
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { at, dataDir, openKeyring, record } = options;
  const backup = chooseBackup(options.from, at);
  checkEmpty(dataDir);
  const keyringFile = path.join(backup.folder, 'keyring.age');
  const keyring =
    openKeyring !== null && existsSync(keyringFile) ? await openKeyring(await readFile(keyringFile)) : null;
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const draft = path.join(dataDir, staging);
  try {
    await mkdir(draft, { mode: 0o711 });
    await chmod(draft, 0o711);
    const ids = serverIds(dataDir, path.join(dataDir, 'postgres'));
    // The server's own user has to come through, as in startEmbedded.
    if (ids !== null && ids.uid !== statSync(dataDir).uid) await chmod(dataDir, 0o711);
    const databaseDir = path.join(draft, 'postgres');
    await unpackDatabase(backup, databaseDir, ids);
    const followed = readFollowed(backup);
    if (followed !== null) await unpackWal(backup, path.join(databaseDir, 'pg_wal'), ids);
    await unpackJournal(backup, path.join(draft, 'journal'));
    const end = followed?.at ?? backup.manifest.finishedAt;
    const until = followed !== null && at !== null && at.getTime() < Date.parse(end) ? at : null;
    // The copier may have ended between WAL and journal: what the journal was not copied for is not replayed.
    const last = followed === null ? null : { lsn: followed.lsn };
    const server = await startRecovered(draft, until === null ? last : { time: until });
    let cut: Cut | null;
    let rootKeyIds: readonly string[];
    try {
      // Not as the manifest has them: what was copied after it may be under others.
      rootKeyIds = await withSnapshot(server.connection, (snapshot) => snapshot.rootKeyIds());
      const store = openStore({ connection: server.connection, maxConnections: 2 });
      try {
        cut = await cutJournal(path.join(draft, 'journal'), store);
      } finally {
        await store.close();
      }
    } finally {
      await server.stop();
    }
    const held = backup.manifest.keyringIds ?? backup.manifest.rootKeyIds;
    const restored: Restored = {
      backup: backup.id,
      restoredTo: until?.toISOString() ?? end,
      deploymentId: backup.manifest.deploymentId,
      rootKeyIds,
      missingRootKeyIds: keyring === null ? rootKeyIds : rootKeyIds.filter((id) => !held.includes(id)),
      cut,
      hasKeyring: keyring !== null,
    };
    await record(path.join(draft, 'journal'), restored);
    giveToOwnerOf(dataDir, path.join(draft, 'journal'));
    if (keyring !== null) {
      await writeWhole(path.join(dataDir, 'keyring.json'), keyring);
      giveToOwnerOf(dataDir, path.join(dataDir, 'keyring.json'));
    }
    // The database last: a folder that has one is a data directory.
    await rename(path.join(draft, 'journal'), path.join(dataDir, 'journal'));
    await rename(databaseDir, path.join(dataDir, 'postgres'));
    await syncFolder(dataDir);
    return restored;
  } finally {
    if (keyring !== null) wipe(keyring);
    await rm(draft, { recursive: true, force: true });
  }
}

function chooseBackup(from: string, at: Date | null): Backup {
  if (statSync(from, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new SallyportError('NOT_FOUND', 'There is no such folder of backups.', {
      fix: 'Name the folder that bin/sallyport backup wrote to: --from DIR',
    });
  }
  const dir = path.resolve(from);
  if (isBackupId(path.basename(dir))) {
    const named = readBackup(path.dirname(dir), path.basename(dir));
    if (isFitting(named)) return named;
    return noneFits(named);
  }
  let oldest: Backup | null = null;
  for (const id of backupIds(dir).toReversed()) {
    try {
      oldest = readBackup(dir, id);
    } catch (error) {
      // A damaged one that may be what is wanted is not passed over in silence: an older one has less in it.
      if (at === null || startedAt(id) <= at) throw error;
      continue;
    }
    if (isFitting(oldest)) return oldest;
  }
  return noneFits(oldest);

  function isFitting({ manifest }: Backup): boolean {
    return at === null || Date.parse(manifest.finishedAt) <= at.getTime();
  }
}
function noneFits(oldest: Backup | null): never {
  throw new SallyportError(
    'NOT_FOUND',
    oldest === null
      ? 'There is no backup in that folder.'
      : `No backup is that old: the first is of ${oldest.manifest.finishedAt}.`,
    { fix: oldest === null ? 'Name another folder.' : 'Name that time or a later one.' },
  );
}

function checkEmpty(dataDir: string): void {
  const found = existsSync(dataDir) ? readdirSync(dataDir) : [];
  if (found.length === 0) return;
  throw new SallyportError('CONFLICT', `${dataDir} is not empty; nothing was changed.`, {
    fix: found.includes(staging)
      ? `An earlier restore broke off there: delete ${path.join(dataDir, staging)}, or choose an empty DATA_DIR.`
      : 'Set DATA_DIR to an empty folder; keep the old one until you know that you need nothing of it.',
  });
}

async function unpackDatabase({ folder, manifest }: Backup, into: string, ids: ServerIds): Promise<void> {
  const own = chownTo(ids);
  await mkdir(into, { mode: 0o700 });
  own(into);
  const wanted = new Map(
    manifest.files
      .filter((file) => file.path.startsWith('database/'))
      .map((file) => [file.path.slice('database/'.length), file]),
  );
  // Compared before anything is written: what the manifest does not name fills no disk.
  const isWanted = (name: string, bytes: number | null): boolean =>
    isInside(name) && (bytes === null || wanted.get(name)?.bytes === bytes);
  const found = await unpackFolder(path.join(folder, databasePack), into, { isWanted, own }).catch(
    (error: Error) => {
      throw damaged(folder, `${databasePack} does not unpack (${error.message})`);
    },
  );
  for (const { bytes, path: name, sha256 } of found) {
    const told = wanted.get(name);
    if (told?.bytes !== bytes || told.sha256 !== sha256)
      throw damaged(folder, `${name} is not what was packed`);
    wanted.delete(name);
  }
  const [missing] = wanted.keys();
  if (missing !== undefined) throw damaged(folder, `${missing} is missing in it`);
}

/** The WAL that was copied after the backup. */
async function unpackWal(backup: Backup, into: string, ids: ServerIds): Promise<void> {
  const from = path.join(afterFolder(backup), 'wal');
  const names = readdirSync(from).filter((name) => /^[0-9A-F]{24}(\.partial)?\.zst$/.test(name));
  for (const packed of names.toSorted()) {
    const name = packed.slice(0, -packedEnding.length);
    const to = path.join(into, name.replace(partialEnding, ''));
    // The whole one stands before it, where the copier ended between writing one and deleting the other.
    if (name.endsWith(partialEnding) && names.includes(packed.replace(partialEnding, ''))) continue;
    await unpackFile(from, name, to, segmentBytes).catch((error: Error) => {
      throw damaged(backup.folder, `after/wal/${packed} does not unpack (${error.message})`);
    });
    await truncate(to, segmentBytes);
    if (ids !== null) lchownSync(to, ids.uid, ids.gid);
  }
}

/** The backup's own files, and over them what came later, which is longer. */
async function unpackJournal(backup: Backup, into: string): Promise<void> {
  await mkdir(into, { mode: 0o700 });
  for (const { path: name, sha256 } of backup.manifest.files) {
    if (!name.startsWith('journal/')) continue;
    const to = path.join(into, name.slice('journal/'.length));
    await copyPlain(backup, name, to);
    if ((await measureFile(to, name)).sha256 !== sha256)
      throw damaged(backup.folder, `${name} is not what was copied`);
  }
  const later = path.join(afterFolder(backup), 'journal');
  for (const name of journalFiles(later)) {
    const have = statSync(path.join(into, name), { throwIfNoEntry: false });
    const { size } = statSync(path.join(later, name));
    if (have === undefined || have.size < size)
      await copyPlain(backup, `after/journal/${name}`, path.join(into, name));
  }
}

/** Whoever wrote the backup may have put a link there: what it points to, root would hand to the gateway's user. */
async function copyPlain({ folder }: Backup, name: string, to: string): Promise<void> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const source = await open(path.join(folder, name), flags).catch(() => null);
  try {
    if (source === null || !(await source.stat()).isFile()) throw damaged(folder, `${name} is no file`);
    await pipeline(
      source.createReadStream({ autoClose: false }),
      createWriteStream(to, { mode: 0o600, flush: true }),
    );
  } finally {
    await source?.close();
  }
}
