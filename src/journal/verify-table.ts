import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import type { JournalRecord } from './chain.ts';
import { parseRecordText } from './chain.ts';
import { readMonths } from './checkpoint-rows.ts';
import { mergeBySeq } from './verify-merge.ts';
import type { Position } from './ship-batch.ts';

/** Pages of this many rows: what `verify` holds in memory, twice over. */
const pageRows = 2000;

/** A row as far as it is checked: the line, and the columns that say the same. */
export interface TableRow {
  readonly seq: number;
  readonly line: string;
  /** Of `columnNames`, joined; a missing one is `absent`. */
  readonly columns: string;
}

/** Columns of the table that repeat what the line says; queries go by them. */
export const columnNames = [
  'hash',
  'event',
  'workspace_id',
  'call_id',
  'key_id',
  'token_id',
  'user_id',
  'at',
] as const;
export const [separator, absent] = ['\u001f', '\u0002'] as const;

/** Reads of the journal's table, each in a short transaction of its own, by primary key a month at a time. */
export interface JournalTable {
  /** Where each stream stood when the table was opened. */
  streams(): ReadonlyMap<string, Position>;
  /** Rows of `usage_events` at that same moment; null: more than are counted. */
  usageRows(): number | null;
  /** Rows `from` to `until` - 1 of a stream, in order, whatever months they lie in. */
  rows(stream: string, from: number, until: number): AsyncGenerator<readonly TableRow[]>;
  /** Lines of a stream from `first` to `last`, by seq. */
  range(stream: string, first: number, last: number): Promise<Map<number, string>>;
  hashAt(stream: string, seq: number): Promise<string | null>;
  /** All records of these calls. */
  ofCalls(callIds: readonly string[]): Promise<JournalRecord[]>;
  months(): readonly string[];
}

/** Ten seconds. Beyond it the rows are gone through in pages instead: that takes long, but no statement too long. */
const mostCounted = 10_000_000;

export async function openTable(store: Pick<Store, 'asSystem'>, most = mostCounted): Promise<JournalTable> {
  // Before the months: a row that comes between is beyond what is looked at.
  const found = await store.asSystem(async (tx) => {
    // One statement is one moment: what is shipped with a position is counted with it.
    const { rows } = await sql<{
      stream: string | null;
      next_seq: bigint;
      head_hash: Buffer;
      usage_rows: bigint;
    }>`select stream, next_seq, head_hash, usage_rows
      from (select count(*) as usage_rows from (select from usage_events limit ${most + 1}) as looked) as counted left join journal_streams on true
      order by updated_at, stream`.execute(tx);
    return rows;
  });
  const months = await store.asSystem(readMonths);
  const usageRows = Number(found[0]?.usage_rows ?? 0);
  const streams = new Map<string, Position>();
  for (const { head_hash, next_seq, stream } of found)
    if (stream !== null)
      streams.set(stream, { nextSeq: Number(next_seq), headHash: head_hash.toString('hex') });

  const range = async (stream: string, first: number, last: number): Promise<Map<number, string>> => {
    const lines = new Map<number, string>();
    const { rows } = await store.asSystem((tx) =>
      sql<{ seq: bigint; line: string }>`select seq, line from journal where month = any(${months}::date[])
        and stream = ${stream} and seq between ${BigInt(first)} and ${BigInt(last)}`.execute(tx),
    );
    for (const { line, seq } of rows) lines.set(Number(seq), line);
    return lines;
  };

  /** Of one month; a page is asked for while the one before it is gone through. */
  async function* rowsOfMonth(
    month: string,
    stream: string,
    from: number,
    until: number,
  ): AsyncGenerator<readonly TableRow[]> {
    const page = async (after: number): Promise<readonly TableRow[]> => {
      const { rows } = await store.asSystem((tx) =>
        sql<{ seq: bigint; line: string; columns: string }>`
          select seq, line, concat_ws(${separator}, encode(hash, 'hex'), event, coalesce(workspace_id, ${absent}),
            coalesce(call_id, ${absent}), coalesce(key_id, ${absent}), coalesce(token_id, ${absent}),
            coalesce(user_id, ${absent}), (date_part('epoch', at) * 1000)::bigint) as columns
          from journal where month = ${month}::date and stream = ${stream} and seq > ${BigInt(after)} and seq < ${BigInt(until)}
          order by seq limit ${pageRows}`.execute(tx),
      );
      return rows.map(({ columns, line, seq }) => ({ seq: Number(seq), line, columns }));
    };
    let next: Promise<readonly TableRow[]> | null = page(from - 1);
    while (next !== null) {
      const rows: readonly TableRow[] = await next;
      next = rows.length === pageRows ? page(rows.at(-1)?.seq ?? until) : null;
      // It may fail while nobody waits for it.
      next?.catch(() => {});
      if (rows.length > 0) yield rows;
    }
  }

  return Object.freeze<JournalTable>({
    months: () => months,
    range,
    streams: () => streams,
    usageRows: () => (usageRows > most ? null : usageRows),
    async *rows(stream, from, until) {
      const { rows } = await store.asSystem((tx) =>
        sql<{ month: string }>`select month from unnest(${months}::date[]) as m (month) where exists (
            select from journal as j where j.month = m.month and j.stream = ${stream}
              and j.seq >= ${BigInt(from)} and j.seq < ${BigInt(until)})`.execute(tx),
      );
      // A clock that was set back over the end of a month puts later records into an earlier one.
      yield* mergeBySeq(rows.map(({ month }) => rowsOfMonth(month, stream, from, until)));
    },
    async hashAt(stream, seq) {
      const line = (await range(stream, seq, seq)).get(seq);
      return line === undefined ? null : (parseRecordText(line)?.hash ?? null);
    },
    async ofCalls(callIds) {
      if (callIds.length === 0) return [];
      const rows = await store.asSystem((tx) =>
        tx
          .selectFrom('journal')
          .select('line')
          .where('call_id', 'in', [...callIds])
          .where('event', 'in', ['use.begin', 'use.end'])
          .execute(),
      );
      return rows.map(({ line }) => parseRecordText(line)).filter((record) => record !== null);
    },
  });
}
