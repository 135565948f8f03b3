import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Journal } from './journal.ts';
import { listStreams, type StreamFiles } from './stream-files.ts';

type Folder = Pick<Journal, 'dir' | 'locks' | 'own' | 'oldestOpen' | 'measure'>;

/**
 * Deletes what is wholly in the database and what no start would need: all files of a settled stream whose writer is gone, and
 * of an own stream the segments behind the one being written and before the oldest record that still waits for its end.
 *
 * @param shipped the stream's `next_seq`, and whether nothing of it is left on disk to ship.
 */
export async function removeShipped(
  journal: Folder,
  shipped: ReadonlyMap<string, { nextSeq: number; isAll: boolean }>,
): Promise<void> {
  const own = new Set(journal.own().map(({ stream }) => stream));
  const streams = await listStreams(journal.dir);
  let isChanged = false;
  for (const files of streams) {
    const progress = shipped.get(files.stream);
    if (progress === undefined) continue;
    const isOwn = own.has(files.stream);
    if (!isOwn && progress.isAll && files.isSettled) {
      isChanged = (await removeStream(journal, files)) || isChanged;
    } else if (isOwn) {
      const needed = Math.min(progress.nextSeq, journal.oldestOpen(files.stream) ?? Infinity);
      for (const [i, segment] of files.segments.entries()) {
        const following = files.segments[i + 1];
        if (following === undefined || following.firstSeq > needed) break;
        await rm(segment.path, { force: true });
        isChanged = true;
      }
    }
  }
  if (isChanged) await journal.measure();
}

/** Not while somebody settles: he may need the ends that stand here. The marks go last, for without `settled` a rest looks unsettled. */
async function removeStream(journal: Folder, files: StreamFiles): Promise<boolean> {
  const alone = journal.locks.takeAlone(join(journal.dir, 'recovery'));
  const lock = journal.locks.take(files.base);
  try {
    if (alone === null || lock === null) return false;
    for (const { path } of files.segments) await rm(path, { force: true });
    for (const mark of ['condemned', 'settled', 'lock']) await rm(`${files.base}.${mark}`, { force: true });
    return true;
  } finally {
    lock?.release();
    alone?.release();
  }
}

/** Marks whose stream is gone: a process died between a stream's lock and its first record, or within a removal. */
export async function removeOrphans(journal: Pick<Journal, 'dir' | 'locks'>): Promise<void> {
  const bases = new Set((await listStreams(journal.dir)).map(({ base }) => base));
  for (const name of await readdir(journal.dir)) {
    const match = /^(\d{8}\.[\w-]+\.[\w-]+)\.(?:lock|settled|condemned)(?:\.new)?$/.exec(name);
    if (match === null) continue;
    const base = join(journal.dir, match[1] as string);
    if (bases.has(base)) continue;
    const lock = journal.locks.takeAlone(base);
    if (lock === null) continue;
    // A stream that was being begun while we looked has its first segment by the time its lock can be had.
    const isGone = !(await listStreams(journal.dir)).some((files) => files.base === base);
    if (isGone)
      for (const mark of ['condemned', 'settled', 'lock']) await rm(`${base}.${mark}`, { force: true });
    lock.release();
  }
}
