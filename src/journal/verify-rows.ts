import type { Store } from '../db/store.ts';
import type { JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { text, time } from './projection.ts';
import type { Position } from './ship-batch.ts';
import { checkOutcomes } from './verify-acts.ts';
import type { Pair } from './verify-duties.ts';
import type { NoteKeys } from './verify-keys.ts';
import type { Pace } from './verify-pace.ts';
import type { Retired } from './verify-retired.ts';
import { createStreamChecker } from './verify-stream.ts';
import { absent, columnNames, type JournalTable, separator, type TableRow } from './verify-table.ts';
import { checkUsage } from './verify-usage.ts';

export interface StreamRows {
  readonly nextSeq: number;
  /** Rows of `usage_events` and of `acts` that its records stand behind. */
  readonly usageRows: number;
  readonly acts: number;
}

/** Goes through the rows of one stream, from a head that is known to where the shipper says that it stands. */
export async function checkStreamRows(
  deps: {
    readonly store: Pick<Store, 'asSystem'>;
    readonly table: JournalTable;
    readonly keys: NoteKeys | null;
    readonly retired: Retired;
    readonly pace: Pace;
    readonly see: (record: JournalRecord) => Pair | null;
  },
  wanted: { readonly stream: string; readonly from: Position; readonly until: Position },
  report: (fault: Fault) => void,
): Promise<StreamRows> {
  const { keys, pace, retired, see, store, table } = deps;
  const { from, stream, until } = wanted;
  const checker = createStreamChecker(stream, report);
  checker.resume(from.nextSeq, from.headHash);
  /** Over what was dropped, on to the hash that its stub names. */
  function skipRetired(): void {
    for (let gone = retired.at(stream, checker.nextSeq()); gone !== null;) {
      checker.resume(gone.nextSeq, gone.headHash);
      gone = retired.at(stream, checker.nextSeq());
    }
  }

  let [usageRows, acts] = [0, 0];
  /** The database compares one page while the next one is gone through here. */
  let comparing: Promise<void> = Promise.resolve();

  async function compare(ends: readonly JournalRecord[], pairs: readonly Pair[]): Promise<void> {
    usageRows += await checkUsage(store, ends, retired.months, report);
    acts += await checkOutcomes(store, pairs, report);
  }

  for await (const rows of table.rows(stream, from.nextSeq, until.nextSeq)) {
    const ends: JournalRecord[] = [];
    const pairs: Pair[] = [];
    for (const row of rows) {
      skipRetired();
      const record = checker.check(row.line);
      await pace.turn();
      if (record === null) continue;
      checkColumns(row, record, report);
      const pair = see(record);
      if (record.event === 'use.end') ends.push(record);
      else if (pair !== null && pair.opener.event !== 'use.begin') pairs.push(pair);
      if (record.event === 'checkpoint.key') checkKey(record, keys, report);
    }
    await comparing;
    comparing = compare(ends, pairs);
    comparing.catch(() => {});
  }
  await comparing;
  skipRetired();
  const seq = checker.nextSeq();
  if (seq < until.nextSeq) {
    const message = `The table ends before record ${until.nextSeq - 1}, which was shipped.`;
    report({ stream, seq, kind: 'missing', message });
  } else if (checker.head() !== until.headHash) {
    const message = 'journal_streams has another hash for the last record.';
    report({ stream, seq: until.nextSeq - 1, kind: 'mismatch', message });
  }
  return { nextSeq: seq, usageRows, acts };
}

function checkColumns(row: TableRow, record: JournalRecord, report: (fault: Fault) => void): void {
  const at = time(record.at);
  const expected = [
    record.hash,
    text(record.event),
    text(record['workspaceId']),
    text(record['callId']),
    text(record['keyId']),
    text(record['tokenId']),
    text(record['userId']),
  ];
  let joined = '';
  for (const value of expected) joined += (value ?? absent) + separator;
  // A time that no column takes was replaced by that of receipt, which is on no record.
  const isSame =
    at === null ? row.columns.startsWith(joined) : row.columns === joined + String(Date.parse(at));
  if (isSame && row.seq === record.seq) return;
  const theirs = row.columns.split(separator);
  const wrong = `${joined}${at === null ? '' : Date.parse(at)}`.split(separator);
  const names = columnNames.filter((_, i) => wrong[i] !== theirs[i]);
  report({
    stream: record.stream,
    seq: record.seq,
    kind: 'mismatch',
    message: `The row differs from its line in ${names.length === 0 ? 'seq' : names.join(', ')}.`,
  });
}

/** What a process has said that it signs with. */
function checkKey(record: JournalRecord, keys: NoteKeys | null, report: (fault: Fault) => void): void {
  const { publicKey, seq, stream } = record;
  if (keys === null || (typeof publicKey === 'string' && keys.texts.has(publicKey))) return;
  report({ stream, seq, kind: 'checkpoint', message: 'It names a key that is none of this deployment.' });
}
