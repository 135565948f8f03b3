import { statSync } from 'node:fs';
import path from 'node:path';
import type { SocketConnection } from '../db/connection.ts';
import { databaseFiles, takeBaseBackup } from '../db/embedded-base-backup.ts';
import { SallyportError } from '../errors.ts';
import { type Archive, type Backup, databasePack } from './archive.ts';
import { journalFiles, mirrorJournal } from './journal-copy.ts';
import { measureFile, type PackedFile, writeWhole } from './packed-file.ts';
import { createFolderPack } from './packed-folder.ts';

export interface BackupDeps {
  readonly archive: Archive;
  /** The running server, as its superuser. */
  readonly maintenance: SocketConnection;
  readonly dataDir: string;
  readonly deployment: { readonly id: string; readonly rootKeyIds: readonly string[] };
  /** The keyring, encrypted to `recipients`; null: it stays out. */
  readonly keyring: {
    readonly recipients: readonly string[];
    readonly ids: readonly string[];
    readonly sealed: Uint8Array;
  } | null;
  /** Writes the journal's record of this backup: durable when it resolves. */
  readonly record: (fields: {
    readonly backup: string;
    readonly recipients: readonly string[];
  }) => Promise<void>;
  readonly clock: () => number;
  readonly version: string;
  /** Ends it between two files; nothing is left then. */
  readonly signal?: AbortSignal;
}

/**
 * One backup: the database's files as its server's own rules say, then the journal's files, which therefore hold all that the
 * database has of the journal. Whole or not there.
 */
export async function takeBackup(deps: BackupDeps): Promise<Backup> {
  const { archive, dataDir, deployment, keyring, maintenance, record } = deps;
  const databaseDir = path.join(dataDir, 'postgres');
  const id = archive.nextId(new Date(deps.clock()));
  const recipients = keyring?.recipients ?? [];
  return archive.publish(id, async (draft) => {
    const files: PackedFile[] = [];
    const pack = createFolderPack(path.join(draft, databasePack));
    const keep = (file: PackedFile | null): void => {
      if (file !== null) files.push({ ...file, path: `database/${file.path}` });
    };
    const base = await (async () => {
      try {
        const { folders } = databaseFiles(databaseDir);
        for (const name of folders) await pack.addFolder(name);
        const taken = await takeBaseBackup(maintenance, databaseDir, {
          begin: (systemIdentifier) => checkSame(archive, systemIdentifier),
          async copy(names) {
            for (const name of names) {
              deps.signal?.throwIfAborted();
              keep(await pack.addFile(path.join(databaseDir, name), name));
            }
          },
          write: async (name, content) => keep(await pack.addText(content, name)),
        });
        await pack.close();
        return taken;
      } finally {
        pack.abandon();
      }
    })();
    if (keyring !== null) await writeWhole(path.join(draft, 'keyring.age'), keyring.sealed);
    // Before it gets its name, and thus before anybody can take it for a backup.
    await record({ backup: id, recipients });
    files.push(...(await copyJournal(path.join(dataDir, 'journal'), path.join(draft, 'journal'))));
    return {
      finishedAt: base.finishedAt.toISOString(),
      program: deps.version,
      postgres: base.postgres,
      systemIdentifier: base.systemIdentifier,
      timeline: base.timeline,
      startLsn: base.startLsn,
      stopLsn: base.stopLsn,
      deploymentId: deployment.id,
      rootKeyIds: deployment.rootKeyIds,
      recipients,
      keyringIds: keyring?.ids ?? [],
      files: files.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    };
  });
}

/** Whoever keeps the newest seven would delete those of the other one by and by. @throws {SallyportError} CONFLICT */
function checkSame(archive: Archive, systemIdentifier: string): void {
  const other = archive.list().find(({ manifest }) => manifest.systemIdentifier !== systemIdentifier);
  if (other === undefined) return;
  throw new SallyportError('CONFLICT', `${archive.dir} holds backups of another database: ${other.id}.`, {
    fix: 'Name a folder for this one alone: --to DIR',
  });
}

async function copyJournal(from: string, into: string): Promise<PackedFile[]> {
  await mirrorJournal(from, into, new Map());
  return Promise.all(journalFiles(into).map((name) => measureFile(path.join(into, name), `journal/${name}`)));
}

/** Bytes of a backup as it lies on the disk, without what came after it. */
export function storedBytes({ folder, manifest }: Backup): number {
  const journal = manifest.files.map(({ path: name }) => name).filter((name) => name.startsWith('journal/'));
  return [databasePack, ...journal].reduce((sum, name) => sum + statSync(path.join(folder, name)).size, 0);
}
