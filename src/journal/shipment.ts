import { isUtf8 } from 'node:buffer';
import { setImmediate } from 'node:timers/promises';
import { createBatch } from './batch.ts';
import { type JournalRecord, parseRecordText } from './chain.ts';
import { createColumnText } from './column-text.ts';
import type { Cursor, Place, StoredRecord, Stretch } from './cursor.ts';
import { createHourlySums, type HourlyIncrement, text, time, type UsageRow, usageRow } from './projection.ts';
import type { Position } from './ship-batch.ts';
import { type Columns, createColumns, hourlyColumns, usageTypes } from './usage-columns.ts';

/** Records of one stream on their way into the database, one behind another, as parameters of statements: until its packing begins anew. */
export interface Shipment {
  readonly stream: string;
  readonly firstSeq: number;
  readonly firstAt: string;
  /** Of the lines with their newlines. */
  readonly bytes: number;
  /** Where the stream stands behind them. */
  readonly next: Position;
  readonly isClosed: boolean;
  /** In UTF-8, newlines between them. */
  readonly lines: Buffer;
  readonly columns: Readonly<Record<keyof typeof columnsOfLine, Buffer>>;
  /** Null: none of them ends an attempt. */
  readonly usage: ShippedUsage | null;
}

export interface ShippedUsage {
  /** Rows; more than attempts, where one has two ends. */
  readonly count: number;
  readonly columns: Columns<UsageRow>;
  /** Sums of all of them. */
  readonly hourly: Columns<HourlyIncrement>;
}

/** What was read and made ready; no shipment where nothing was there. */
export interface Load extends Pick<Stretch, 'fault' | 'isAtEnd'> {
  readonly shipment: Shipment | null;
  /** Behind its last record. */
  readonly end: Place | null;
}

/** A shipment that is being made, a stretch at a time, in memory that is kept for another one. */
export interface Packing {
  /** In place of what it held. */
  begin(stream: string): void;
  add(records: readonly StoredRecord[]): void;
  isFull(): boolean;
  /** Null: nothing was added. */
  close(): Shipment | null;
}

/** Bounds of memory here and in PostgreSQL, which keeps a statement's rows in its work_mem of 4 MB. A stretch goes in whole. */
const [fullBytes, fullRecords] = [1536 * 1024, 3000];

const columnsOfLine = {
  workspaceId: (record: JournalRecord) => text(record['workspaceId']),
  at: (record: JournalRecord) => time(record.at),
  event: (record: JournalRecord) => text(record.event),
  callId: (record: JournalRecord) => text(record['callId']),
  keyId: (record: JournalRecord) => text(record['keyId']),
  tokenId: (record: JournalRecord) => text(record['tokenId']),
  userId: (record: JournalRecord) => text(record['userId']),
  hash: (record: JournalRecord) => record.hash,
} as const;

/** Reads into the packing until it is full, and lets calls have their turn after each stretch. */
export async function loadShipment(cursor: Cursor, until: number, packing: Packing): Promise<Load> {
  packing.begin(cursor.stream);
  for (;;) {
    const { records, fault, isAtEnd } = await cursor.read(until);
    await setImmediate();
    packing.add(records);
    if (fault !== null || isAtEnd || packing.isFull())
      return { shipment: packing.close(), end: cursor.place(), fault, isAtEnd };
    await setImmediate();
  }
}

/** The first row of each attempt that these lines end, by call and attempt: `<call id>#<attempt>`. */
export function usageRowsOf({ lines }: Pick<Shipment, 'lines'>): ReadonlyMap<string, UsageRow> {
  const rows = new Map<string, UsageRow>();
  for (const line of lines.toString('utf8').split('\n')) {
    const record = parseRecordText(line);
    const row = record === null ? null : usageRow(record);
    if (row !== null) rows.getOrInsert(`${row.call_id}#${row.attempt}`, row);
  }
  return rows;
}

export function createPacking(): Packing {
  const columns = Object.entries(columnsOfLine).map(
    ([name, read]) => [name, read, createColumnText()] as const,
  );
  const lines = createBatch();
  const usage = createColumns(usageTypes);
  let stream = '';
  let records = 0;
  let ends = 0;
  let sums = createHourlySums();
  let first: JournalRecord | null = null;
  let last: JournalRecord | null = null;

  function addLine(line: Buffer): void {
    const room = lines.room(line.length + 1);
    room[lines.length() + line.copy(room, lines.length())] = 0x0a;
    lines.add(line.length + 1);
  }

  function addUsage(record: JournalRecord): void {
    const row = usageRow(record);
    if (row === null) return;
    ends += 1;
    usage.add(row);
    sums.add(row);
  }

  return Object.freeze({
    begin(next: string) {
      stream = next;
      records = 0;
      ends = 0;
      sums = createHourlySums();
      first = null;
      last = null;
      lines.clear();
      usage.clear();
      for (const [, , column] of columns) column.clear();
    },
    add(stretch: readonly StoredRecord[]) {
      for (const { line, record } of stretch) {
        first ??= record;
        last = record;
        records += 1;
        addLine(line);
        for (const [, read, column] of columns) column.add(read(record));
        addUsage(record);
      }
    },
    isFull: () => lines.length() >= fullBytes || records >= fullRecords,
    close() {
      if (first === null || last === null) return null;
      return {
        stream,
        firstSeq: first.seq,
        firstAt: first.at,
        bytes: lines.length(),
        next: { nextSeq: last.seq + 1, headHash: last.hash },
        isClosed: last.event === 'stream.close',
        lines: wellFormed(lines.bytes().subarray(0, -1)),
        columns: Object.fromEntries(
          columns.map(([name, , column]) => [name, column.bytes()]),
        ) as Shipment['columns'],
        usage:
          ends === 0
            ? null
            : { count: ends, columns: usage.bytes(), hourly: hourlyColumns(sums.increments()) },
      };
    },
  });
}

/** A line that is no UTF-8 was changed together with its hash: `verify` tells, and shipping goes on. */
function wellFormed(lines: Buffer): Buffer {
  return isUtf8(lines) ? lines : Buffer.from(lines.toString('utf8'));
}
