import { sql } from 'kysely';
import { liveSeconds } from '../db/node-beat.ts';
import type { Store, Tx } from '../db/store.ts';
import { parseRecordText } from './chain.ts';
import { readMonths } from './checkpoint-rows.ts';
import type { Journal } from './journal.ts';
import { useIdentity } from './use-identity.ts';

export interface PresumptionDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly journal: Pick<Journal, 'append'>;
  /** Our own: the streams of our folder are settled for good, by a start (recovery.ts), never presumed. */
  readonly nodeId: string;
  /** Milliseconds that only grow (performance.now): a clock that is set must not make anybody look gone for longer. */
  readonly clock: () => number;
  /** How long a process must have been gone. */
  readonly graceMs?: number;
  /** Looks further apart are no unbroken watch: this process stood still, and may know nothing of what was meanwhile. */
  readonly maxGapMs?: number;
  /** Records of one transaction. */
  readonly pageRecords?: number;
}

export interface Presumption {
  /**
   * Looks once at who is gone, and presumes what has become due. To be called every few seconds.
   *
   * @returns how many uses were presumed ended.
   * @throws when the database, or the journal, does not take it: the watch begins anew.
   */
  look(): Promise<number>;
}

/**
 * Uses that a process of another node began and never ended: after five minutes without it they are put down as `use.presumed`, in our
 * own stream, so that whoever holds something for them can let go. It ends nothing: the usage row, and what it costs, come with the
 * `use.end` that the owner writes, by its next start at the latest, and that supersedes the presumption.
 *
 * With the database away every heartbeat stops while calls go on. So the five minutes are those of an unbroken watch: in every look
 * the database answered, and in every look the heartbeat was gone and the stream as long as before. One look that fails, and all
 * begins anew.
 */
export function createPresumption(deps: PresumptionDeps): Presumption {
  const { clock, graceMs = 5 * 60_000, journal, maxGapMs = 30_000, nodeId, pageRecords = 5000, store } = deps;
  /** Streams without a living process: since when, and how long they were then. */
  const watched = new Map<string, { readonly since: number; readonly nextSeq: bigint }>();
  /** By stream: of a page whose transaction was lost after the records were written. They are not written again. */
  const written = new Map<string, Set<number>>();
  let lastLook = Number.NEGATIVE_INFINITY;

  async function look(): Promise<number> {
    const now = clock();
    if (now - lastLook > maxGapMs) watched.clear();
    lastLook = now;
    const gone = new Map(
      (await store.asSystem((tx) => readGone(tx, nodeId))).map((one) => [one.stream, one]),
    );
    for (const [stream, { nextSeq }] of watched)
      if (gone.get(stream)?.nextSeq !== nextSeq) watched.delete(stream);
    let count = 0;
    for (const { nextSeq, stream } of gone.values()) {
      const known = watched.get(stream);
      if (known === undefined) watched.set(stream, { since: now, nextSeq });
      else if (now - known.since >= graceMs) count += await presume(stream, now - known.since);
    }
    return count;
  }

  /** One page of a stream; what is left of it comes with the next look. */
  async function presume(stream: string, goneMs: number): Promise<number> {
    const count = await store.asSystem(async (tx) => {
      const page = await lockPage(tx, stream, pageRecords);
      if (page === null) return 0;
      const before = written.get(stream) ?? new Set();
      written.set(stream, before);
      const begins = (await readOpen(tx, stream, page)).filter(({ seq }) => !before.has(seq));
      // A write to our own disk within the transaction: of several nodes that look, the row's lock lets one write.
      await Promise.all(
        begins.map(async (begin) => {
          await journal.append('use.presumed', {
            ...useIdentity(begin),
            reservedNanoUsd: begin['reservedNanoUsd'] ?? null,
            goneSeconds: Math.floor(goneMs / 1000),
          });
          before.add(begin.seq);
        }),
      );
      await tx
        .updateTable('journal_streams')
        .set({ presumed_seq: page.until })
        .where('stream', '=', stream)
        .execute();
      return begins.length;
    });
    written.delete(stream);
    return count;
  }

  return Object.freeze<Presumption>({
    async look() {
      try {
        return await look();
      } catch (error) {
        watched.clear();
        throw error;
      }
    },
  });
}

/**
 * Streams of other nodes that were not closed and have no living process. By the database's clock alone. The streams that one process
 * begins after a failed write have the boot's id and a number for their name.
 */
async function readGone(tx: Tx, nodeId: string): Promise<readonly { stream: string; nextSeq: bigint }[]> {
  const { rows } = await sql<{ stream: string; nextSeq: bigint }>`
    select stream, next_seq as "nextSeq" from journal_streams
    where not closed and next_seq > presumed_seq and split_part(stream, ':', 1) <> ${nodeId}
      and not exists (
        select from nodes where node_id = split_part(stream, ':', 1)
          and (boot_id = split_part(stream, ':', 2) or starts_with(split_part(stream, ':', 2), boot_id || '-'))
          and beat_at > now() - make_interval(secs => ${liveSeconds}))
    order by stream limit 1000`.execute(tx);
  return rows;
}

interface Page {
  readonly from: bigint;
  readonly until: bigint;
}

/** Null: nothing is left, or somebody else is at it, be it the owner, who ships again. */
async function lockPage(tx: Tx, stream: string, records: number): Promise<Page | null> {
  const row = await tx
    .selectFrom('journal_streams')
    .select(['next_seq', 'presumed_seq'])
    .where('stream', '=', stream)
    .forUpdate()
    .skipLocked()
    .executeTakeFirst();
  if (row === undefined || row.presumed_seq >= row.next_seq) return null;
  const until = row.presumed_seq + BigInt(records);
  return { from: row.presumed_seq, until: until < row.next_seq ? until : row.next_seq };
}

/** Begins without a usage row. The attempt is no column: it is read where it stands in every line, behind the time. */
async function readOpen(tx: Tx, stream: string, { from, until }: Page) {
  const months = await readMonths(tx);
  const { rows } = await sql<{ line: string }>`
    select line from journal as begun
    where month = any(${months}::date[]) and stream = ${stream} and seq >= ${from} and seq < ${until}
      and event = 'use.begin' and not exists (
        select from usage_events as ended where ended.workspace_id = begun.workspace_id
          and ended.call_id = begun.call_id
          and ended.attempt = substring(begun.line from '^\\{"at":"[^"]*","attempt":([0-9]{1,9})[,}]')::integer)
    order by seq`.execute(tx);
  return rows.map(({ line }) => parseRecordText(line)).filter((record) => record !== null);
}
