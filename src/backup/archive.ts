import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import { createStreamLocks } from '../journal/stream-lock.ts';
import { type PackedFile, syncFolder, writeWhole } from './packed-file.ts';

/** `manifest.json`: written last, so a folder that has one is whole. */
export interface Manifest {
  readonly format: 1;
  readonly id: string;
  /** The state of this moment at the earliest; RFC 3339, UTC. */
  readonly finishedAt: string;
  readonly program: string;
  readonly postgres: string;
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly startLsn: string;
  readonly stopLsn: string;
  readonly deploymentId: string;
  /** What the keyring has to hold for the stored keys to open. */
  readonly rootKeyIds: readonly string[];
  /** age recipients of `keyring.age`; none: the keyring is not in it. */
  readonly recipients: readonly string[];
  /** What the keyring in it opens with. Backups from before this was written down have it not. */
  readonly keyringIds?: readonly string[];
  /** `database/…` are in `database.tar.zst`, `journal/…` lie there as they are. */
  readonly files: readonly PackedFile[];
}

/** A folder of backups: `backup-<time>` each, what is being written under another name. */
export interface Archive {
  readonly dir: string;
  /** Whole ones, oldest first; damaged ones are left out, and left alone by all that is done here. */
  list(): Backup[];
  /** A name for a backup of now. It sorts behind those that are there, whatever became of the clock in between. */
  nextId(now: Date): string;
  /** Makes a folder, lets it be filled, and gives it its name when `fill` has resolved; else nothing is left. */
  publish(id: string, fill: (folder: string) => Promise<Omit<Manifest, 'id' | 'format'>>): Promise<Backup>;
  /** Keeps the newest `keep`. @returns ids of those that went. */
  prune(keep: number): Promise<string[]>;
  close(): void;
}

export interface Backup {
  readonly id: string;
  readonly folder: string;
  readonly manifest: Manifest;
}

/** The database's files; folders that are empty are in it too. */
export const databasePack = 'database.tar.zst';

/** Exactly what is made here: the folder is the operator's, and may hold other things. */
const draftName = /^\.(draft|old)-backup-\d{8}T\d{6}\.\d{3}Z(-\w{6})?$/;
const backupName = /^backup-\d{8}T\d{6}\.\d{3}Z$/;
const maxManifestBytes = 64 * 1024 * 1024;

/** `backup-20260803T120000.123Z`: names sort by time. */
export function backupId(now: Date): string {
  return `backup-${now.toISOString().replaceAll(/[-:]/g, '')}`;
}

export const isBackupId = (name: string): boolean => backupName.test(name);

/** When it was begun, by the clock of then. */
export function startedAt(id: string): Date {
  return new Date(id.replace(/^backup-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)/, '$1-$2-$3T$4:$5:'));
}

/** Names, oldest first, damaged ones too. */
export function backupIds(dir: string): string[] {
  return readdirSync(dir).filter(isBackupId).toSorted();
}

/** @throws {SallyportError} CONFLICT (readManifest) */
export function readBackup(dir: string, id: string): Backup {
  const folder = path.join(dir, id);
  return { id, folder, manifest: readManifest(folder) };
}

/** One that is damaged must not keep the others from being used, nor new ones from being made. */
function listWhole(dir: string): Backup[] {
  return backupIds(dir).flatMap((id) => {
    try {
      return [readBackup(dir, id)];
    } catch (error) {
      if (error instanceof SallyportError) return [];
      throw error;
    }
  });
}

/** @throws {SallyportError} CONFLICT: not there, not JSON, of a format that is not known. */
export function readManifest(folder: string): Manifest {
  const file = path.join(folder, 'manifest.json');
  const size = lstatSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0 || size > maxManifestBytes) throw damaged(folder, 'it has no manifest.json');
  let read: Partial<Manifest>;
  try {
    read = JSON.parse(readFileSync(file, 'utf8')) as Partial<Manifest>;
  } catch {
    throw damaged(folder, 'its manifest.json is not JSON');
  }
  if (read.format !== 1) throw damaged(folder, 'its format is not known to this version');
  if (!Array.isArray(read.files) || typeof read.finishedAt !== 'string')
    throw damaged(folder, 'its manifest.json lacks a part');
  if (!read.files.every((file) => isInside((file as Partial<PackedFile>).path)))
    throw damaged(folder, 'its manifest.json names a path outside of it');
  return read as Manifest;
}

export function damaged(folder: string, what: string): SallyportError {
  return new SallyportError('CONFLICT', `The backup ${path.basename(folder)} cannot be used: ${what}.`, {
    fix: 'Take another copy of it, or name another backup: --from DIR/backup-…; nothing was changed.',
  });
}

/** A relative path that stays below its folder. */
export function isInside(name: unknown): boolean {
  return typeof name === 'string' && /^[\w.-]+(\/[\w.-]+)*$/.test(name) && !name.split('/').includes('..');
}

/** @throws {SallyportError} CONFLICT while another backup writes there. */
export async function openArchive(dir: string): Promise<Archive> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const lock = createStreamLocks().takeAlone(path.join(dir, 'backup'));
  if (lock === null) {
    throw new SallyportError('CONFLICT', `Another backup writes to ${dir} at this moment.`, {
      fix: 'Let it end, or choose another folder.',
    });
  }
  // Under the lock: whoever wrote them is gone.
  for (const name of readdirSync(dir).filter((name) => draftName.test(name)))
    await rm(path.join(dir, name), { recursive: true, force: true });

  return Object.freeze<Archive>({
    dir,
    list: () => listWhole(dir),
    nextId(now) {
      const last = backupIds(dir).at(-1);
      return backupId(
        new Date(Math.max(now.getTime(), last === undefined ? 0 : startedAt(last).getTime() + 1)),
      );
    },
    async publish(id, fill) {
      const draft = await mkdtemp(path.join(dir, `.draft-${id}-`));
      try {
        await chmod(draft, 0o700);
        const manifest: Manifest = { format: 1, id, ...(await fill(draft)) };
        await writeWhole(path.join(draft, 'manifest.json'), `${JSON.stringify(manifest, null, 1)}\n`);
        for (const name of readdirSync(draft, { recursive: true, withFileTypes: true }))
          if (name.isDirectory()) await syncFolder(path.join(name.parentPath, name.name));
        const folder = path.join(dir, id);
        await rename(draft, folder);
        await syncFolder(dir);
        return { id, folder, manifest };
      } catch (error) {
        await rm(draft, { recursive: true, force: true });
        throw error;
      }
    },
    async prune(keep) {
      const gone = listWhole(dir).slice(0, -keep);
      for (const { id, folder } of gone) {
        // Half deleted it would look whole.
        const old = path.join(dir, `.old-${id}`);
        await rename(folder, old);
        await rm(old, { recursive: true, force: true });
      }
      return gone.map(({ id }) => id);
    },
    close: () => lock.release(),
  });
}
