import { open, readFile, rm, truncate } from 'node:fs/promises';
import type { Store } from '../db/store.ts';
import { parseRecord } from '../journal/chain.ts';
import { readLines } from '../journal/lines.ts';
import { idText } from '../journal/obligations.ts';
import { basePath, listStreams, segmentPath, type StreamFiles } from '../journal/stream-files.ts';
import { openTable, type JournalTable } from '../journal/verify-table.ts';
import { writeWhole } from './packed-file.ts';

/** Where the restored journal ends before its copy did; null: nowhere. */
export interface Cut {
  readonly stream: string;
  /** The first record that is left out. */
  readonly seq: number;
}

/** `<act>.done` of an act, where it stands. */
interface Done extends Cut {
  readonly actId: string;
  readonly path: string;
  readonly offset: number;
}

/**
 * Brings copied journal files and a restored database together. The files are at least as new as the database. Calls that they hold
 * beyond it did happen: they stay, and the next start ships them. But an act that the database does not know was undone by going
 * back: the journal is cut before the first record that says such a one was done.
 */
export async function cutJournal(dir: string, store: Pick<Store, 'asSystem'>): Promise<Cut | null> {
  const table = await openTable(store);
  const shipped = table.streams();
  await completeLast(dir, table, store);
  let cut: Cut | null = null;
  for (const files of await listStreams(dir)) {
    if (cut !== null) {
      await remove(files, 0);
      continue;
    }
    const undone = await firstUndone(files, shipped.get(files.stream)?.nextSeq ?? 0, store);
    if (undone === null) continue;
    await remove(files, undone.seq + 1);
    await truncate(undone.path, undone.offset);
    cut = { stream: undone.stream, seq: undone.seq };
    // Cut to nothing, a segment would look like a torn one.
    if (undone.offset === 0) await rm(undone.path, { force: true });
  }
  return cut;
}

/** Segments that begin at this record or later, and the mark of a record that is then no longer there. */
async function remove({ segments, base, condemnedAfter }: StreamFiles, from: number): Promise<void> {
  for (const segment of segments) if (segment.firstSeq >= from) await rm(segment.path, { force: true });
  if (condemnedAfter === null) return;
  // A damaged mark stays while anything of its stream is left.
  const end = condemnedAfter === 'unknown' ? 0 : condemnedAfter.seq + 1;
  if (end >= from) await rm(`${base}.condemned`, { force: true });
}

const pageActs = 500;

async function firstUndone(
  files: StreamFiles,
  nextSeq: number,
  store: Pick<Store, 'asSystem'>,
): Promise<Done | null> {
  let page: Done[] = [];
  const look = async (): Promise<Done | null> => {
    const ids = page.map(({ actId }) => actId);
    const rows =
      ids.length === 0
        ? []
        : await store.asSystem((tx) =>
            tx.selectFrom('acts').select('act_id').where('act_id', 'in', ids).execute(),
          );
    const committed = new Set(rows.map((row) => row.act_id));
    const found = page.find(({ actId }) => !committed.has(actId)) ?? null;
    page = [];
    return found;
  };
  for await (const done of doneRecords(files, nextSeq)) {
    page.push(done);
    if (page.length < pageActs) continue;
    const found = await look();
    if (found !== null) return found;
  }
  return look();
}

async function* doneRecords({ segments, stream }: StreamFiles, nextSeq: number): AsyncGenerator<Done> {
  for (const { path } of segments) {
    const file = await open(path, 'r');
    try {
      let offset = 0;
      for (;;) {
        const { lines, next } = await readLines(file, offset);
        if (lines.length === 0) break;
        for (const line of lines) {
          const record = line.includes('.done"') ? parseRecord(line) : null;
          if (record !== null && record.seq >= nextSeq && record.event.endsWith('.done'))
            yield { stream, seq: record.seq, actId: idText(record['actId']), path, offset };
          offset += line.length + 1;
        }
        offset = next;
      }
    } finally {
      await file.close();
    }
  }
}

/**
 * The database may hold more than the files of the stream that was being written: the copier ended between the WAL and the journal.
 * Its lines are completed from the table, for a stream whose writer is gone is settled from its file.
 */
async function completeLast(dir: string, table: JournalTable, store: Pick<Store, 'asSystem'>): Promise<void> {
  const last = await store.asSystem((tx) =>
    tx
      .selectFrom('journal_streams')
      .select(['stream', 'next_seq', 'closed'])
      .orderBy('updated_at', 'desc')
      .limit(1)
      .executeTakeFirst(),
  );
  // Closed and shipped, it needs no file.
  if (last === undefined || last.closed) return;
  const nextSeq = Number(last.next_seq);
  const all = await listStreams(dir);
  const segment = all.find(({ stream }) => stream === last.stream)?.segments.at(-1);
  const text = segment === undefined ? '' : await readFile(segment.path, 'utf8');
  const have = (segment?.firstSeq ?? 0) + text.split('\n').length - 1;
  if (have >= nextSeq) return;
  const missing: string[] = [];
  for await (const page of table.rows(last.stream, have, nextSeq))
    for (const { line } of page) missing.push(`${line}\n`);
  const generation = (all.at(-1)?.generation ?? 0) + 1;
  await writeWhole(
    segment?.path ?? segmentPath(basePath(dir, generation, last.stream), 0),
    text + missing.join(''),
  );
}
