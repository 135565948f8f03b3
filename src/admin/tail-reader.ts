import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { readMonths } from '../journal/checkpoint-rows.ts';
import { auditColumns, type AuditRow } from './audit-view.ts';
import type { TailPlace } from './tail-place.ts';
import type { OwnIds } from './tail-sight.ts';

/** Records `from` to `until` - 1 of a stream. */
export interface Stretch {
  readonly stream: string;
  readonly from: number;
  readonly until: number;
}

export interface TailHeads extends TailPlace {
  /** When each stream last grew, ms since the epoch. */
  readonly updated: ReadonlyMap<string, number>;
}

/** A stream that was closed is looked at for so long; one that was not, as long as it is among the newest. */
const closedMs = 3_600_000;
const mostStreams = 100;
/** Nodes' clocks may differ by this much. */
const skewMs = 600_000;

export type TailReader = ReturnType<typeof createTailReader>;

export function createTailReader({
  store,
  clock,
}: {
  readonly store: Pick<Store, 'asSystem' | 'asWorkspace'>;
  readonly clock: () => number;
}) {
  return Object.freeze({
    /** Where the streams stand now, as far as shipped. @param since  also the streams of an earlier place */
    async heads(since: TailPlace | null = null): Promise<TailHeads> {
      const at = clock();
      const named = since === null ? [] : [...since.next.keys()];
      const { rows } = await store.asSystem((tx) =>
        sql<{ stream: string; next_seq: bigint; updated_at: Date }>`
          (select stream, next_seq, updated_at from journal_streams
            where not closed or updated_at > ${new Date(at - closedMs)} order by updated_at desc limit ${mostStreams})
          union select stream, next_seq, updated_at from journal_streams where stream = any(${named}::text[])`.execute(
          tx,
        ),
      );
      return {
        at,
        next: new Map(rows.map((row) => [row.stream, Number(row.next_seq)])),
        updated: new Map(rows.map((row) => [row.stream, row.updated_at.getTime()])),
      };
    },

    /** What came between two places, stream by stream. */
    between(from: TailPlace, to: TailHeads): readonly Stretch[] {
      const stretches: Stretch[] = [];
      for (const [stream, until] of to.next) {
        const isNew = (to.updated.get(stream) ?? 0) > from.at - skewMs;
        const start = from.next.get(stream) ?? (isNew ? 0 : until);
        if (start < until) stretches.push({ stream, from: start, until });
      }
      return stretches;
    },

    /** A workspace's records of these stretches, stream by stream in order. Bounded by whoever cuts the stretches. */
    async rows(workspaceId: string, stretches: readonly Stretch[]): Promise<AuditRow[]> {
      if (stretches.length === 0) return [];
      const months = await store.asSystem(readMonths);
      return store.asWorkspace(workspaceId, async (tx) => {
        const columns = sql.join(auditColumns.map((name) => sql.ref(`j.${name}`)));
        const { rows } = await sql<AuditRow>`
          select ${columns} from unnest(${stretches.map(({ stream }) => stream)}::text[],
            ${stretches.map(({ from }) => from)}::bigint[], ${stretches.map(({ until }) => until)}::bigint[])
            with ordinality as part (stream, first, last, place)
          join journal as j on j.stream = part.stream and j.seq >= part.first and j.seq < part.last
          where j.month = any(${months}::date[]) and j.workspace_id = ${workspaceId}
          order by part.place, j.seq`.execute(tx);
        return rows;
      });
    },

    /** What is a user's own: it decides which records of others concern him. */
    async ownIds(workspaceId: string, userId: string): Promise<OwnIds> {
      return store.asWorkspace(workspaceId, async (tx) => {
        const of = async (table: 'provider_keys' | 'tokens') =>
          new Set(
            (
              await tx
                .selectFrom(table)
                .select('id')
                .where('workspace_id', '=', workspaceId)
                .where('user_id', '=', userId)
                .execute()
            ).map(({ id }) => id),
          );
        return { keys: await of('provider_keys'), tokens: await of('tokens') };
      });
    },
  });
}

/** The first so many records of these stretches. */
export function cutStretches(stretches: readonly Stretch[], most: number): readonly Stretch[] {
  const cut: Stretch[] = [];
  let left = most;
  for (const { stream, from, until } of stretches) {
    if (left === 0) break;
    const end = Math.min(until, from + left);
    cut.push({ stream, from, until: end });
    left -= end - from;
  }
  return cut;
}
