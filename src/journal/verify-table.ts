import type { Store } from '../db/store.ts';
import type { JournalRecord } from './chain.ts';
import { parseRecord } from './chain.ts';
import type { Position } from './ship-batch.ts';

/** Pages of this many rows: what `verify` holds in memory. */
const pageRows = 2000;

/** Reads of the journal's table, each in a short transaction of its own, by primary key a month at a time. */
export interface JournalTable {
  streams(): Promise<Map<string, Position>>;
  /** Lines of a stream below `until`, in order. */
  lines(stream: string, until: number): AsyncGenerator<readonly Buffer[]>;
  /** Lines of a stream from `first` to `last`, by seq. */
  range(stream: string, first: number, last: number): Promise<Map<number, string>>;
  hashAt(stream: string, seq: number): Promise<string | null>;
  /** All records of these calls. */
  ofCalls(callIds: readonly string[]): Promise<JournalRecord[]>;
  months(): readonly string[];
}

export async function openTable(store: Pick<Store, 'asSystem'>): Promise<JournalTable> {
  const months: string[] = [];
  for (;;) {
    const after = months.at(-1) ?? '0001-01-01';
    const row = await store.asSystem((tx) =>
      tx
        .selectFrom('journal')
        .select(({ fn }) => fn.min('month').as('month'))
        .where('month', '>', after)
        .executeTakeFirst(),
    );
    // An aggregate over nothing is null, whatever its type says.
    const month = row?.month as string | null | undefined;
    if (month === null || month === undefined) break;
    months.push(month);
  }

  const range = async (stream: string, first: number, last: number): Promise<Map<number, string>> => {
    const lines = new Map<number, string>();
    for (const month of months) {
      const rows = await store.asSystem((tx) =>
        tx
          .selectFrom('journal')
          .select(['seq', 'line'])
          .where('month', '=', month)
          .where('stream', '=', stream)
          .where('seq', '>=', BigInt(first))
          .where('seq', '<=', BigInt(last))
          .execute(),
      );
      for (const { line, seq } of rows) lines.set(Number(seq), line);
    }
    return lines;
  };

  return Object.freeze({
    months: () => months,
    range,
    async streams() {
      const rows = await store.asSystem((tx) =>
        tx.selectFrom('journal_streams').selectAll().orderBy('updated_at').execute(),
      );
      return new Map(
        rows.map((row) => [
          row.stream,
          { nextSeq: Number(row.next_seq), headHash: row.head_hash.toString('hex') },
        ]),
      );
    },
    async *lines(stream: string, until: number) {
      for (const month of months) {
        let after = -1n;
        for (;;) {
          const last = after;
          const rows = await store.asSystem((tx) =>
            tx
              .selectFrom('journal')
              .select(['seq', 'line'])
              .where('month', '=', month)
              .where('stream', '=', stream)
              .where('seq', '>', last)
              .where('seq', '<', BigInt(until))
              .orderBy('seq')
              .limit(pageRows)
              .execute(),
          );
          if (rows.length === 0) break;
          after = rows.at(-1)?.seq ?? last;
          yield rows.map(({ line }) => Buffer.from(line));
          if (rows.length < pageRows) break;
        }
      }
    },
    async hashAt(stream: string, seq: number) {
      const line = (await range(stream, seq, seq)).get(seq);
      return line === undefined ? null : (parseRecord(Buffer.from(line))?.hash ?? null);
    },
    async ofCalls(callIds: readonly string[]) {
      if (callIds.length === 0) return [];
      const rows = await store.asSystem((tx) =>
        tx
          .selectFrom('journal')
          .select('line')
          .where('call_id', 'in', [...callIds])
          .where('event', 'in', ['use.begin', 'use.end'])
          .execute(),
      );
      return rows.map(({ line }) => parseRecord(Buffer.from(line))).filter((record) => record !== null);
    },
  });
}
