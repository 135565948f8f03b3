import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { genesisHash, type JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { idText } from './obligations.ts';
import type { Position } from './ship-batch.ts';
import { listStreams, type StreamFiles } from './stream-files.ts';
import { checkIntents, countActs } from './verify-acts.ts';
import { checkCheckpoints } from './verify-checkpoints.ts';
import { checkCopy, type Copy } from './verify-copy.ts';
import { createDuties } from './verify-duties.ts';
import { checkFiles } from './verify-files.ts';
import { readKeys } from './verify-keys.ts';
import { checkLinks } from './verify-links.ts';
import { createPace, type Pace } from './verify-pace.ts';
import { checkPresumed, presumedOf, type Presumed } from './verify-presumed.ts';
import { nothingRetired, readRetiredMonths } from './verify-retired.ts';
import { checkStreamRows } from './verify-rows.ts';
import { findStart } from './verify-since.ts';
import { checkSums } from './verify-sums.ts';
import { type JournalTable, openTable } from './verify-table.ts';
import { checkGhosts } from './verify-usage.ts';

/** WIRE.md, `journal verify`. */
export interface Verdict {
  readonly ok: boolean;
  readonly streams: number;
  /** Distinct records: one that is in a file and in the table counts once. */
  readonly records: number;
  /** Begins without an end in streams that are being written or not yet settled. */
  readonly openCalls: number;
  readonly checkpoints: number;
  /** At most 1000, and at most 50 of one kind in one stream. */
  readonly problems: readonly Fault[];
}

export interface VerifyOptions {
  readonly dir: string;
  /** Null: files alone, where what was shipped and deleted can't be told from what was removed. */
  readonly store: Pick<Store, 'asSystem'> | null;
  /** From the last checkpoint before this moment on; where there is none, all. Files are gone through whole. */
  readonly since?: Date | null;
  /** A file of checkpoints to compare the database's with. */
  readonly copy?: Copy | null;
  /** The public key that signs now, as the vault opens it; left out: the database is believed. */
  readonly activeKey?: Uint8Array | null;
  readonly pace?: Pace;
}

/** In all, and of one kind in one stream: what breaks a thousand records must not hide what breaks one. */
export const maxProblems = 1000;
const maxAlike = 50;
const maxLooks = 3;

/**
 * Recomputes everything that can be recomputed: chains of files and table, their agreement, links between streams, begins and
 * ends, usage rows and sums, intents and acts, checkpoints. Reads only; safe beside a running gateway. Memory is bounded by a page, the
 * open calls and the streams.
 *
 * @throws {SallyportError} NOT_FOUND: files alone, and there are none; a copy without a checkpoint.
 */
export async function verifyJournal(options: VerifyOptions): Promise<Verdict> {
  let verdict = await verifyOnce(options);
  // Beside a gateway, segments are shipped and removed while they are looked at, acts are committed, and months are dropped. What is wrong is
  // wrong each time, and what only moved is not.
  for (let look = 1; look < maxLooks && !verdict.ok && options.store !== null; look += 1)
    verdict = await verifyOnce(options);
  return verdict;
}

async function verifyOnce(options: VerifyOptions): Promise<Verdict> {
  const { activeKey = null, copy = null, dir, pace = createPace(), store } = options;
  const problems: Fault[] = [];
  const report = createReport(problems);
  // In this order: what is shipped and removed in between is in the table then.
  const folder = new Map((await listStreams(dir)).map((files) => [files.stream, files]));
  const table = store === null ? null : await openTable(store);
  const shipped: ReadonlyMap<string, Position> = table?.streams() ?? new Map();
  if (table === null && folder.size === 0) {
    throw new SallyportError('NOT_FOUND', 'There are no journal files in that folder.', {
      fix: 'Name the folder that holds the files of the journal: a copy of DATA_DIR/journal.',
    });
  }
  const keys = store === null ? null : await readKeys(store, activeKey, report);
  const retired =
    store === null || keys === null ? nothingRetired : await readRetiredMonths(store, keys, report);
  const since = options.since ?? null;
  const start =
    since === null || store === null || keys === null ? null : await findStart(store, keys, since);
  const from = start === null ? null : since;
  // PostgreSQL adds up while the records are gone through here.
  const wrongSums: Fault[] = [];
  const sums =
    store === null ? null : checkSums(store, from, retired.months, (fault) => wrongSums.push(fault));
  sums?.catch(() => {});

  const duties = createDuties(report);
  const opened: JournalRecord[] = [];
  const presumed: Presumed[] = [];
  const unshippedIntents = new Set<string>();
  const ends = new Map<string, number>();
  let records = 0;
  const see = (record: JournalRecord) => {
    records += 1;
    if (record.seq === 0) opened.push(record);
    const one = presumedOf(record);
    if (one !== null) presumed.push(one);
    return duties.see(record);
  };

  for (const files of folder.values()) {
    const { stream } = files;
    const nextSeq = shipped.get(stream)?.nextSeq ?? 0;
    for await (const record of checkFolder(files, dir, table, nextSeq, report)) {
      ends.set(stream, record.seq);
      if (record.seq < nextSeq) continue;
      see(record);
      if (record.event.endsWith('.intent')) unshippedIntents.add(idText(record['actId']));
      await pace.turn();
    }
  }

  let checkpoints = 0;
  if (store !== null && table !== null) {
    let [usageRows, acts] = [0, 0];
    for (const [stream, position] of shipped) {
      const begin = start?.heads.get(stream) ?? { nextSeq: 0, headHash: genesisHash };
      const found = await checkStreamRows(
        { store, table, keys, retired, pace, see },
        { stream, from: begin, until: position },
        report,
      );
      usageRows += found.usageRows;
      acts += found.acts;
      ends.set(stream, Math.max(ends.get(stream) ?? -1, found.nextSeq - 1));
    }
    await sums;
    // Every row has its record where there are as many of them as records that want one; more than are counted are all looked at.
    if (from !== null || usageRows !== table.usageRows() || problems.length > 0)
      await checkGhosts(store, table, from, { pace, retired }, report);
    await checkPresumed(presumed, table, report);
    wrongSums.forEach(report);
    if (from !== null || acts !== (await countActs(store, null)) || problems.length > 0)
      await checkIntents(store, unshippedIntents, latest(from, retired.until), report);
    if (keys !== null) {
      checkpoints = await checkCheckpoints(
        { store, keys, months: table.months(), retired, start, pace },
        report,
      );
      if (copy !== null) await checkCopy({ store, copy, keys, pace }, report);
    }
  }

  await checkLinks(opened, { dir, folder, table, shipped, ends }, report);
  let openCalls = 0;
  for (const [key, record] of duties.open()) {
    if (mayBeOpen(record.stream, folder)) openCalls += record.event === 'use.begin' ? 1 : 0;
    else
      report({
        stream: record.stream,
        seq: record.seq,
        kind: 'missing',
        message: `${record.event} of ${key} has no end.`,
      });
  }
  for (const [key, record] of duties.orphans()) {
    if (from !== null || retired.hasBeginOf(record) || (store === null && !isOnDisk(record, folder)))
      continue;
    report({
      stream: record.stream,
      seq: record.seq,
      kind: 'missing',
      message: `${record.event} of ${key} has no begin.`,
    });
  }
  const streams = new Set([...folder.keys(), ...shipped.keys()]).size;
  return { ok: problems.length === 0, streams, records, openCalls, checkpoints, problems };
}

function latest(a: Date | null, b: Date | null): Date | null {
  return a === null || (b !== null && b > a) ? b : a;
}

function createReport(problems: Fault[]): (fault: Fault) => void {
  const alike = new Map<string, number>();
  return (fault) => {
    const key = `${fault.kind} ${fault.stream}`;
    const count = (alike.get(key) ?? 0) + 1;
    alike.set(key, count);
    if (count <= maxAlike && problems.length < maxProblems) problems.push(fault);
  };
}

/** The records of one stream's files, compared with those of them that are in the table. */
async function* checkFolder(
  files: StreamFiles,
  dir: string,
  table: JournalTable | null,
  nextSeq: number,
  report: (fault: Fault) => void,
): AsyncGenerator<JournalRecord> {
  const firstSeq = files.segments[0]?.firstSeq ?? 0;
  const { stream } = files;
  if (table !== null && firstSeq > nextSeq) {
    report({
      stream,
      seq: nextSeq,
      kind: 'missing',
      message: `Records ${nextSeq} to ${firstSeq - 1} are neither on disk nor in the database.`,
    });
  }
  const before = firstSeq === 0 ? genesisHash : ((await table?.hashAt(stream, firstSeq - 1)) ?? null);
  let end = 0;
  for await (const chunk of checkFiles(files, before, report)) {
    const first = chunk[0]?.record.seq ?? 0;
    const last = Math.min(chunk.at(-1)?.record.seq ?? 0, nextSeq - 1);
    const stored = table !== null && first <= last ? await table.range(stream, first, last) : null;
    for (const { record, text } of chunk) {
      const other = stored?.get(record.seq);
      if (other !== undefined && other !== text) {
        report({
          stream,
          seq: record.seq,
          kind: 'mismatch',
          message: 'The line in the file is not the one in the database.',
        });
      }
      end = record.seq + 1;
      yield record;
    }
  }
  // Unless it was deleted while we read.
  if (
    end < nextSeq &&
    (await listStreams(dir)).some((now) => now.stream === stream && now.segments[0]?.firstSeq === firstSeq)
  ) {
    report({
      stream,
      seq: end,
      kind: 'missing',
      message: `The file ends before record ${nextSeq - 1}, which is in the database.`,
    });
  }
}

/** Its writer lives, or the next start will settle it, or it is another machine's. */
function mayBeOpen(stream: string, folder: ReadonlyMap<string, StreamFiles>): boolean {
  const files = folder.get(stream);
  if (files !== undefined) return !files.isSettled;
  const node = stream.slice(0, stream.indexOf(':'));
  return ![...folder.values()].some(({ nodeId }) => nodeId === node);
}

/** Should the begin of this end be among the files? */
function isOnDisk(end: JournalRecord, folder: ReadonlyMap<string, StreamFiles>): boolean {
  const stream = end['beginStream'] ?? end.stream;
  const first = folder.get(idText(stream))?.segments[0]?.firstSeq;
  return first !== undefined && first <= Number(end['beginSeq'] ?? 0);
}
