import { statSync, type Stats } from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';

/** Whom the server runs as; null: as ourselves. PostgreSQL refuses to run as root. */
export type ServerIds = { readonly uid: number; readonly gid: number } | null;

/** `nobody` on Debian, Alpine and Fedora alike. initdb insists on a uid that has a name. */
const unprivileged = { uid: 65534, gid: 65534 };

function statOf(folder: string): Stats | null {
  return statSync(folder, { throwIfNoEntry: false }) ?? null;
}

/**
 * As root: the owner of the database folder, else of DATA_DIR, where that isn't root; else 65534. A database folder keeps its uid,
 * because PostgreSQL starts for the owner of its files alone.
 */
export function serverIds(dataDir: string, databaseDir: string): ServerIds {
  if (process.getuid?.() !== 0) return null;
  for (const folder of [databaseDir, dataDir]) {
    const found = statOf(folder);
    if (found !== null && found.uid !== 0) return { uid: found.uid, gid: found.gid };
  }
  return unprivileged;
}

/** The folders on the way to `target`, outermost first, without itself. */
function parentsOf(target: string): string[] {
  const parents: string[] = [];
  for (let at = path.dirname(target); ; at = path.dirname(at)) {
    parents.unshift(at);
    if (at === path.dirname(at)) return parents;
  }
}

/** By mode bits; access lists are not read. */
function canPass(folder: string, { uid, gid }: { uid: number; gid: number }): boolean {
  const found = statOf(folder);
  if (found === null) return true;
  if (found.uid === uid) return (found.mode & 0o100) !== 0;
  if (found.gid === gid) return (found.mode & 0o010) !== 0;
  return (found.mode & 0o001) !== 0;
}

/** A path as a POSIX shell takes it. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * Can the server's uid get to what it needs? `/root` with mode 0700 is the common case, and PostgreSQL's own message for it is
 * "No such file or directory".
 *
 * @throws {SallyportError} CONFIG_INVALID naming the folders that stop it and the command that opens them (passing only, not listing).
 */
export function checkPassable(ids: ServerIds, targets: readonly string[]): void {
  if (ids === null) return;
  const folders = new Set(targets.flatMap(parentsOf));
  const closed = [...folders].filter((folder) => !canPass(folder, ids));
  if (closed.length === 0) return;
  throw new SallyportError(
    'CONFIG_INVALID',
    `PostgreSQL may not run as root, and the user that it runs as (uid ${ids.uid}) cannot pass ${closed.join(' and ')}.`,
    { fix: `chmod o+x ${closed.map(quoted).join(' ')}` },
  );
}
