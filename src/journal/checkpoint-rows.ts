import { sql } from 'kysely';
import type { Tx } from '../db/store.ts';
import type { CoveredStream } from './checkpoint-note.ts';

/** A stretch of a stream that no checkpoint covers yet. */
export interface Uncovered {
  readonly stream: string;
  readonly firstSeq: number;
  readonly nextSeq: number;
  /** Hex hash of record `nextSeq` - 1, as the shipper left it. */
  readonly headHash: string;
}

/** Streams with records that are in the database and in no checkpoint, by name. */
export async function readUncovered(tx: Tx): Promise<readonly Uncovered[]> {
  const { rows } = await sql<{ stream: string; first: bigint; next: bigint; head: Buffer }>`
    select s.stream, coalesce(c.next_seq, 0) as first, s.next_seq as next, s.head_hash as head
    from journal_streams s left join lateral (
      select next_seq from checkpoint_streams where stream = s.stream order by first_seq desc limit 1) c on true
    where s.next_seq > coalesce(c.next_seq, 0) order by s.stream collate "C"`.execute(tx);
  return rows.map(({ first, head, next, stream }) => ({
    stream,
    firstSeq: Number(first),
    nextSeq: Number(next),
    headHash: head.toString('hex'),
  }));
}

export interface CheckpointRow {
  readonly number: bigint;
  readonly at: Date;
  readonly note: string;
}

export async function readLastCheckpoint(tx: Tx): Promise<CheckpointRow | undefined> {
  return tx.selectFrom('checkpoints').selectAll().orderBy('number', 'desc').limit(1).executeTakeFirst();
}

/** Months in which records lie: every look at them by stream names the months, or it would read whole partitions. */
export async function readMonths(tx: Tx): Promise<readonly string[]> {
  const { rows } = await sql<{ month: string }>`
    with recursive found (month) as (
      select min(month) from journal
      union all select (select min(month) from journal where month > found.month) from found where found.month is not null)
    select month from found where month is not null`.execute(tx);
  return rows.map(({ month }) => month);
}

/** Hashes of records `firstSeq` to `nextSeq` - 1, one behind another: fewer bytes where records are missing. */
export async function readHashes(
  tx: Tx,
  months: readonly string[],
  { firstSeq, nextSeq, stream }: Omit<CoveredStream, 'headHash'>,
): Promise<Buffer> {
  const { rows } = await sql<{ hashes: Buffer | null }>`
    select string_agg(hash, ''::bytea order by seq) as hashes from journal
    where month = any(${months}::date[]) and stream = ${stream} and seq >= ${BigInt(firstSeq)} and seq < ${BigInt(nextSeq)}`.execute(
    tx,
  );
  return rows[0]?.hashes ?? Buffer.alloc(0);
}

export const hashBytes = 32;

/** As leaves of a tree. */
export function leavesOf(hashes: Buffer): Buffer[] {
  return Array.from({ length: hashes.length / hashBytes }, (_, i) =>
    hashes.subarray(i * hashBytes, (i + 1) * hashBytes),
  );
}
