import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from './file-seam.ts';

/** One file of a stream: JSON lines from record `firstSeq` on. */
export interface Segment {
  readonly firstSeq: number;
  readonly path: string;
  readonly bytes: number;
}

/** The last acknowledged record, as `.condemned` has it. */
export interface Mark {
  readonly seq: number;
  readonly hash: string;
}

/** What the journal's folder holds of one stream. */
export interface StreamFiles {
  readonly stream: string;
  readonly nodeId: string;
  /** Counts the streams of a folder upwards, so that a listing is in order of time. */
  readonly generation: number;
  /** Path without the ending: `.lock`, `.condemned`, `.settled` and `.<first seq>.jsonl` follow. */
  readonly base: string;
  readonly segments: readonly Segment[];
  /**
   * A write failed here: what stands after this record was never acknowledged and counts for nothing. `unknown`: the mark is damaged,
   * so nobody can say how much counts.
   */
  readonly condemnedAfter: Mark | 'unknown' | null;
  /** Every begin of this stream has its end on record. */
  readonly isSettled: boolean;
}

/** Parts of a stream's name: they become file names and stand before the first `.` of a receipt. */
const namePart = /^[A-Za-z0-9_-]{1,80}$/;
const fileName =
  /^((\d{8})\.([A-Za-z0-9_-]{1,80})\.([A-Za-z0-9_-]{1,80}))\.(?:(\d{12})\.jsonl|(condemned|settled|lock))$/;

/** `<nodeId>:<bootId>`; a stream begun after a failed write adds `-2`, `-3`, … to the boot. */
export function streamName(nodeId: string, bootId: string, part: number): string {
  const boot = part === 1 ? bootId : `${bootId}-${part}`;
  if (!namePart.test(nodeId) || !namePart.test(boot)) {
    throw new TypeError('node and boot ids are 1 to 80 of A-Z a-z 0-9 _ -');
  }
  return `${nodeId}:${boot}`;
}

export function basePath(dir: string, generation: number, stream: string): string {
  return join(dir, `${String(generation).padStart(8, '0')}.${stream.replace(':', '.')}`);
}

export function segmentPath(base: string, firstSeq: number): string {
  return `${base}.${String(firstSeq).padStart(12, '0')}.jsonl`;
}

/** The streams of a folder, oldest first; a folder that doesn't exist holds none. Streams without a segment are left out. */
export async function listStreams(dir: string): Promise<StreamFiles[]> {
  const found = new Map<string, { names: string[]; segments: Segment[]; marks: Set<string> }>();
  for (const name of await namesIn(dir)) {
    const match = fileName.exec(name);
    if (match === null) continue;
    const key = match[1] as string;
    const entry = found.get(key) ?? { names: match, segments: [], marks: new Set() };
    found.set(key, entry);
    if (match[6] !== undefined) entry.marks.add(match[6]);
    else {
      const path = join(dir, name);
      // Deleted since the listing: another process has shipped it.
      const bytes = await sizeOf(path);
      if (bytes !== null) entry.segments.push({ firstSeq: Number(match[5]), path, bytes });
    }
  }
  const streams: StreamFiles[] = [];
  for (const [key, { names, segments, marks }] of [...found].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (segments.length === 0) continue;
    const base = join(dir, key);
    const condemnedAfter = marks.has('condemned') ? await readMark(base) : null;
    if (condemnedAfter === 'gone') continue;
    streams.push({
      stream: `${names[3]}:${names[4]}`,
      nodeId: names[3] as string,
      generation: Number(names[2]),
      base,
      segments: segments.toSorted((a, b) => a.firstSeq - b.firstSeq),
      condemnedAfter,
      isSettled: marks.has('settled'),
    });
  }
  return streams;
}

/** Bytes of all files of the folder: what JOURNAL_MAX_BYTES bounds. */
export async function folderBytes(dir: string): Promise<number> {
  let sum = 0;
  for (const name of await namesIn(dir)) sum += (await sizeOf(join(dir, name))) ?? 0;
  return sum;
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null;
    throw error;
  }
}

/** A file system that was mended may have left it empty; that must neither end a start nor look like no mark. */
async function readMark(base: string): Promise<Mark | 'unknown' | 'gone'> {
  try {
    const { seq, hash } = JSON.parse(await readFile(`${base}.condemned`, 'utf8')) as Mark;
    return Number.isSafeInteger(seq) && seq >= 0 && /^[0-9a-f]{64}$/.test(hash) ? { seq, hash } : 'unknown';
  } catch (error) {
    // Shipped and deleted since the listing, segments first.
    return isErrno(error, 'ENOENT') ? 'gone' : 'unknown';
  }
}
