import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { genesisHash, type JournalRecord } from './chain.ts';
import { createCursor, type Fault } from './cursor.ts';
import { listStreams, type StreamFiles } from './stream-files.ts';
import { checkIntents, checkOutcomes } from './verify-acts.ts';
import { createDuties } from './verify-duties.ts';
import { checkFiles } from './verify-files.ts';
import { createStreamChecker } from './verify-stream.ts';
import { type JournalTable, openTable } from './verify-table.ts';
import { checkSums, checkUsage } from './verify-usage.ts';
import { idText } from './obligations.ts';

/** WIRE.md, `journal verify`. */
export interface Verdict {
  readonly ok: boolean;
  readonly streams: number;
  /** Distinct records: one that is in a file and in the table counts once. */
  readonly records: number;
  /** Begins without an end in streams that are being written or not yet settled. */
  readonly openCalls: number;
  /** At most 1000. */
  readonly problems: readonly Fault[];
}

const maxProblems = 1000;

/**
 * Recomputes everything that can be recomputed: chains of files and table, their agreement, links between streams, begins and
 * ends, usage rows and sums, intents and acts. Reads only; safe beside a running gateway. Memory is bounded by a page, the
 * open calls and the streams.
 *
 * @param store null: files alone, where what was shipped and deleted can't be told from what was removed.
 * @throws {SallyportError} NOT_FOUND: files alone, and there are none.
 */
export async function verifyJournal({
  dir,
  store,
}: {
  readonly dir: string;
  readonly store: Pick<Store, 'asSystem'> | null;
}): Promise<Verdict> {
  const problems: Fault[] = [];
  const report = (fault: Fault): void => void (problems.length < maxProblems && problems.push(fault));
  const table = store === null ? null : await openTable(store);
  const shipped = (await table?.streams()) ?? new Map();
  const folder = new Map((await listStreams(dir)).map((files) => [files.stream, files]));
  if (table === null && folder.size === 0) {
    throw new SallyportError('NOT_FOUND', 'There are no journal files in that folder.', {
      fix: 'Name the folder that holds the files of the journal: a copy of DATA_DIR/journal.',
    });
  }
  const duties = createDuties(report);
  const opened: JournalRecord[] = [];
  const unshippedIntents = new Set<string>();
  const ends = new Map<string, number>();
  let records = 0;

  for (const files of folder.values()) {
    const nextSeq: number = shipped.get(files.stream)?.nextSeq ?? 0;
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
    for await (const chunk of checkFiles(files, before, report)) {
      const first = chunk[0]?.record.seq ?? 0;
      const last = Math.min(chunk.at(-1)?.record.seq ?? 0, nextSeq - 1);
      const stored = table !== null && first <= last ? await table.range(stream, first, last) : null;
      for (const { line, record } of chunk) {
        const other = stored?.get(record.seq);
        if (other !== undefined && other !== line.toString('utf8')) {
          report({
            stream,
            seq: record.seq,
            kind: 'mismatch',
            message: 'The line in the file is not the one in the database.',
          });
        }
        ends.set(stream, record.seq);
        if (record.seq < nextSeq) continue;
        records += 1;
        duties.see(record);
        if (record.event.endsWith('.intent')) unshippedIntents.add(idText(record['actId']));
        if (record.seq === 0) opened.push(record);
      }
    }
    const end = (ends.get(stream) ?? -1) + 1;
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

  if (store !== null && table !== null) {
    for (const [stream, { headHash, nextSeq }] of shipped) {
      const checker = createStreamChecker(stream, report);
      let head = genesisHash;
      for await (const lines of table.lines(stream, nextSeq)) {
        const page = lines.map((line) => checker.check(line)).filter((record) => record !== null);
        records += page.length;
        head = page.at(-1)?.hash ?? head;
        for (const record of page) {
          duties.see(record);
          if (record.seq === 0) opened.push(record);
        }
        await checkUsage(
          store,
          page.filter(({ event }) => event === 'use.end'),
          report,
        );
        await checkOutcomes(store, page, report);
      }
      ends.set(stream, Math.max(ends.get(stream) ?? -1, checker.nextSeq() - 1));
      if (checker.nextSeq() < nextSeq) {
        report({
          stream,
          seq: checker.nextSeq(),
          kind: 'missing',
          message: `The table ends before record ${nextSeq - 1}, which was shipped.`,
        });
      } else if (head !== headHash) {
        report({
          stream,
          seq: nextSeq - 1,
          kind: 'mismatch',
          message: 'journal_streams has another hash for the last record.',
        });
      }
    }
    await checkSums(store, table, report);
    await checkIntents(store, unshippedIntents, report);
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
    if (store === null && !isOnDisk(record, folder)) continue;
    report({
      stream: record.stream,
      seq: record.seq,
      kind: 'missing',
      message: `${record.event} of ${key} has no begin.`,
    });
  }
  const streams = new Set([...folder.keys(), ...shipped.keys()]).size;
  return { ok: problems.length === 0, streams, records, openCalls, problems };
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

interface Known {
  readonly dir: string;
  readonly folder: ReadonlyMap<string, StreamFiles>;
  readonly table: JournalTable | null;
  readonly shipped: ReadonlyMap<string, { nextSeq: number }>;
  /** The last record of each stream. */
  readonly ends: ReadonlyMap<string, number>;
}

/** Each stream names the head of the one before: whoever cuts a tail has to explain this. */
async function checkLinks(
  opened: readonly JournalRecord[],
  known: Known,
  report: (fault: Fault) => void,
): Promise<void> {
  for (const { previous, seq, stream } of opened) {
    if (typeof previous !== 'object' || previous === null) continue;
    const link = previous as unknown as { stream: string; seq: number; hash: string; state: string };
    const end = known.ends.get(link.stream);
    if (end === undefined) {
      if (known.table !== null)
        report({
          stream,
          seq,
          kind: 'link',
          message: `It follows ${link.stream}, of which nothing is left.`,
        });
    } else if (end < link.seq) {
      report({
        stream: link.stream,
        seq: end + 1,
        kind: 'missing',
        message: `The stream's end was cut: ${stream} found it at record ${link.seq}.`,
      });
    } else if (end > link.seq && link.state !== 'live') {
      report({
        stream: link.stream,
        seq: link.seq + 1,
        kind: 'link',
        message: `The stream goes on though ${stream} found it ended.`,
      });
    } else {
      const hash = await hashAt(link.stream, link.seq, known);
      if (hash !== null && hash !== link.hash) {
        report({
          stream,
          seq,
          kind: 'link',
          message: `It names another hash for record ${link.seq} of ${link.stream}.`,
        });
      }
    }
  }
}

async function hashAt(stream: string, seq: number, { dir, shipped, table }: Known): Promise<string | null> {
  if (table !== null && seq < (shipped.get(stream)?.nextSeq ?? 0)) return table.hashAt(stream, seq);
  const cursor = createCursor(dir, stream, { seq, hash: null });
  try {
    for (;;) {
      const { isAtEnd, records } = await cursor.read(seq + 1);
      if (records.length > 0) return records[0]?.record.hash ?? null;
      if (isAtEnd) return null;
    }
  } finally {
    await cursor.close();
  }
}
