import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { HeldWal } from '../db/embedded-wal.ts';
import { walName, type WalPlace, walPlace } from '../db/wal-names.ts';
import type { Backup } from './archive.ts';
import { mirrorJournal } from './journal-copy.ts';
import { packedEnding, packFile, syncFolder, writeWhole } from './packed-file.ts';

/** How far the WAL behind a backup has been copied; `after/state.json`. */
export interface Followed {
  readonly lsn: string;
  readonly timeline: number;
  /** The server's time: whatever was committed before it can be restored. */
  readonly at: string;
  /** SHA-256 of the last segment up to `lsn`. */
  readonly sha256: string;
}

/** Keeps copying what happens after a backup, into the backup's own folder: it goes when the backup goes. */
export interface Follower {
  /** Copies what is new. Rejects when the server has gone, or no longer has the WAL. */
  follow(): Promise<Followed>;
}

export const afterFolder = (backup: Pick<Backup, 'folder'>): string => path.join(backup.folder, 'after');
export const partialEnding = '.partial';

export function readFollowed(backup: Pick<Backup, 'folder'>): Followed | null {
  try {
    return JSON.parse(readFileSync(path.join(afterFolder(backup), 'state.json'), 'utf8')) as Followed;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

export interface FollowDeps {
  readonly backup: Backup;
  readonly wal: HeldWal;
  readonly journalDir: string;
}

/**
 * Null where this server's WAL does not go on from what was copied: segments went while nobody held them, or it is another
 * server, or one that was restored. Then a new backup is due.
 */
export async function createFollower({ backup, wal, journalDir }: FollowDeps): Promise<Follower | null> {
  const { manifest } = backup;
  const known = new Map(
    manifest.files
      .filter((file) => file.path.startsWith('journal/'))
      .map((file) => [file.path.slice('journal/'.length), file.bytes]),
  );
  const into = path.join(afterFolder(backup), 'wal');
  const last = readFollowed(backup);
  const now = (await wal.position()).place;
  // A backup ends by a switch of segments: what follows begins with the next one.
  let next: WalPlace = walPlace(last?.lsn ?? manifest.stopLsn, manifest.timeline);
  if (wal.systemIdentifier !== manifest.systemIdentifier || now.timeline !== manifest.timeline) return null;
  if (last === null && next.offset > 0) next = { ...next, number: next.number + 1, offset: 0 };
  // At the very beginning of a segment nothing tells this server's history from that of a copy of it.
  if (last !== null && (next.offset === 0 || (await prefixHash(wal.dir, next)) !== last.sha256)) return null;
  if (now.number > next.number && !existsSync(path.join(wal.dir, walName(next)))) return null;

  async function copy(place: WalPlace): Promise<void> {
    const name = walName(place);
    const isWhole = place.offset === Infinity;
    const draft = `${name}.new`;
    await rm(path.join(into, `${draft}${packedEnding}`), { force: true });
    const packed = await packFile(path.join(wal.dir, name), into, draft, place.offset);
    if (packed === null) throw new Error(`WAL segment ${name} is gone before it was copied`);
    const to = isWhole ? name : `${name}${partialEnding}`;
    await rename(path.join(into, `${draft}${packedEnding}`), path.join(into, `${to}${packedEnding}`));
    if (isWhole) await rm(path.join(into, `${name}${partialEnding}${packedEnding}`), { force: true });
  }

  return Object.freeze<Follower>({
    async follow() {
      const { at, lsn, place } = await wal.position();
      if (place.timeline !== manifest.timeline) throw new Error('the server went over to another timeline');
      await mkdir(into, { recursive: true, mode: 0o700 });
      for (; next.number < place.number; next = { ...next, number: next.number + 1, offset: 0 })
        await copy({ ...next, offset: Infinity });
      if (place.number === next.number && place.offset > next.offset) {
        await copy(place);
        next = place;
      }
      await syncFolder(into);
      // After the WAL: whatever of the journal a restored database holds is then in these files too.
      await mirrorJournal(journalDir, path.join(afterFolder(backup), 'journal'), known);
      const followed: Followed = {
        lsn,
        timeline: place.timeline,
        at: at.toISOString(),
        sha256: await prefixHash(wal.dir, place),
      };
      await writeWhole(path.join(afterFolder(backup), 'state.json'), `${JSON.stringify(followed)}\n`);
      await wal.release(lsn);
      return followed;
    },
  });
}

/** Of a segment up to a place in it; empty where it is gone. */
async function prefixHash(dir: string, place: WalPlace): Promise<string> {
  const file = path.join(dir, walName(place));
  const hash = createHash('sha256').update(`${place.timeline} ${place.number} ${place.offset}\n`);
  if (place.offset > 0) {
    const handle = await open(file, 'r').catch(() => null);
    if (handle === null) return '';
    await handle.close();
    await pipeline(createReadStream(file, { end: place.offset - 1 }), hash);
  }
  return hash.digest('hex');
}
