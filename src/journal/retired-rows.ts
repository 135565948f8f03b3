import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import type { CoveredStream } from './checkpoint-note.ts';
import { latestOf } from './retired-note.ts';

/** The records of a month's partition, as a stub names them: what lies in the default one stays. */
export interface Stretches {
  readonly records: number;
  readonly usageRows: number;
  /** Sorted by stream and number. */
  readonly streams: readonly CoveredStream[];
  /** Is each of them a leaf of a checkpoint's tree? */
  readonly isCovered: boolean;
  /** Did one of them come when the month was long over? Then it lies there because somebody put it there, or a clock was wrong. */
  readonly isLate: boolean;
}

/** A stream at a time, each in a transaction of its own: counting a large month may take longer than one is given. */
export async function readStretches(store: Pick<Store, 'asSystem'>, month: string): Promise<Stretches> {
  const usageRows = await store.asSystem(async (tx) => {
    const { rows } = await sql<{ count: bigint }>`
      select count(*) from usage_events
      where month = ${month}::date and tableoid <> 'usage_events_default'::regclass`.execute(tx);
    return Number(rows[0]?.count ?? 0);
  });
  const streams: CoveredStream[] = [];
  let [isCovered, isLate] = [true, false];
  for (let stream = await following(store, month, ''); stream !== null;) {
    const { covered, late, stretches } = await ofStream(store, month, stream);
    streams.push(...stretches);
    isCovered &&= stretches.every(({ nextSeq }) => nextSeq <= covered);
    isLate ||= late;
    stream = await following(store, month, stream);
  }
  const records = streams.reduce((sum, { firstSeq, nextSeq }) => sum + nextSeq - firstSeq, 0);
  return { records, usageRows, streams, isCovered, isLate };
}

/** The name behind that one among the streams of the month. */
async function following(
  store: Pick<Store, 'asSystem'>,
  month: string,
  after: string,
): Promise<string | null> {
  const { rows } = await store.asSystem((tx) =>
    sql<{ stream: string }>`select stream from journal
      where month = ${month}::date and stream > ${after} and tableoid <> 'journal_default'::regclass
      order by stream limit 1`.execute(tx),
  );
  return rows[0]?.stream ?? null;
}

/** Numbers without a gap are one stretch; checkpoints cover a stream from its beginning. */
async function ofStream(store: Pick<Store, 'asSystem'>, month: string, stream: string) {
  return store.asSystem(async (tx) => {
    const { rows } = await sql<{ first: bigint; last: bigint; head: Buffer; late: boolean }>`
      select s.first, s.last, j.hash as head, exists (
        select from checkpoint_streams c join checkpoints before on before.number = c.number - 1
        where c.stream = ${stream} and c.first_seq <= s.last and c.next_seq > s.first and before.at >= ${latestOf(month)}) as late
      from (
        select min(seq) as first, max(seq) as last
        from (select seq, seq - row_number() over (order by seq) as island from journal
          where month = ${month}::date and stream = ${stream}) as numbered
        group by island) as s
      join journal j on j.month = ${month}::date and j.stream = ${stream} and j.seq = s.last
      order by s.first`.execute(tx);
    const coverage = await sql<{ next: bigint }>`
      select max(next_seq) as next from checkpoint_streams where stream = ${stream}`.execute(tx);
    return {
      covered: Number(coverage.rows[0]?.next ?? 0),
      late: rows.some(({ late }) => late),
      stretches: rows.map(({ first, head, last }) => ({
        stream,
        firstSeq: Number(first),
        nextSeq: Number(last) + 1,
        headHash: head.toString('hex'),
      })),
    };
  });
}
