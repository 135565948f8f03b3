import { isUtf8 } from 'node:buffer';
import { setImmediate } from 'node:timers/promises';
import type { JournalRecord } from './chain.ts';
import { createColumnText } from './column-text.ts';
import type { Cursor, Place, StoredRecord, Stretch } from './cursor.ts';
import { type HourlyIncrement, text, time, type UsageRow, usageRow } from './projection.ts';
import type { Position } from './ship-batch.ts';
import { type Columns, createColumns, hourlyColumns, usageTypes } from './usage-columns.ts';

/** Records of one stream on their way into the database, one behind another, as parameters of statements. */
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
  readonly columns: Readonly<Record<keyof typeof columnsOfLine, string>>;
  /** Null: none of them ends an attempt. */
  readonly usage: ShippedUsage | null;
}

export interface ShippedUsage {
  /** By call and attempt, as `<call id>#<attempt>`. */
  readonly rows: ReadonlyMap<string, UsageRow>;
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

/** A shipment that is being made, a stretch at a time. */
interface Packing {
  /** The lines are copied by `close`: their buffer must not change until then. */
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

/** Reads until a shipment is full, and lets calls have their turn after each stretch. */
export async function loadShipment(cursor: Cursor, until: number): Promise<Load> {
  const packing = createPacking(cursor.stream);
  for (;;) {
    const { records, fault, isAtEnd } = await cursor.read(until);
    await setImmediate();
    packing.add(records);
    if (fault !== null || isAtEnd || packing.isFull())
      return { shipment: packing.close(), end: cursor.place(), fault, isAtEnd };
    await setImmediate();
  }
}

function createPacking(stream: string): Packing {
  const columns = Object.entries(columnsOfLine).map(
    ([name, read]) => [name, read, createColumnText()] as const,
  );
  const usage = createColumns(usageTypes);
  const rows = new Map<string, UsageRow>();
  const lines: Buffer[] = [];
  let bytes = 0;
  let first: JournalRecord | null = null;
  let last: JournalRecord | null = null;

  function addUsage(record: JournalRecord): void {
    const row = usageRow(record);
    if (row === null) return;
    const attempt = `${row.call_id}#${row.attempt}`;
    if (rows.has(attempt)) return;
    rows.set(attempt, row);
    usage.add(row);
  }

  return Object.freeze({
    add(records: readonly StoredRecord[]) {
      for (const { line, record } of records) {
        first ??= record;
        last = record;
        bytes += line.length + 1;
        lines.push(line);
        for (const [, read, column] of columns) column.add(read(record));
        addUsage(record);
      }
    },
    isFull: () => bytes >= fullBytes || lines.length >= fullRecords,
    close() {
      if (first === null || last === null) return null;
      return {
        stream,
        firstSeq: first.seq,
        firstAt: first.at,
        bytes,
        next: { nextSeq: last.seq + 1, headHash: last.hash },
        isClosed: last.event === 'stream.close',
        lines: joined(lines, bytes - 1),
        columns: Object.fromEntries(
          columns.map(([name, , column]) => [name, column.text()]),
        ) as Shipment['columns'],
        usage:
          rows.size === 0 ? null : { rows, columns: usage.texts(), hourly: hourlyColumns(rows.values()) },
      };
    },
  });
}

/** A line that is no UTF-8 was changed together with its hash: `verify` tells, and shipping goes on. */
function joined(lines: readonly Buffer[], length: number): Buffer {
  const all = Buffer.alloc(length, 0x0a);
  let at = 0;
  for (const line of lines) at += line.copy(all, at) + 1;
  return isUtf8(all) ? all : Buffer.from(all.toString('utf8'));
}
