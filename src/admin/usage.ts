import { type RawBuilder, sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { isId } from '../ids.ts';
import type { Caller } from './caller.ts';
import { viewCall, type CallRow, type CallView } from './call-view.ts';
import { notFound } from './found.ts';
import { visibleKeys } from './key-visibility.ts';
import { iso, readMoment } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { type Period, readPeriod } from './period.ts';
import { demand } from './permissions.ts';
import { addSums, noSums, sumColumns, type SumRow, type Sums, viewSums } from './sums.ts';
import { usesOfTagged, visibleUses } from './use-visibility.ts';

export const groupings = ['hour', 'day', 'key', 'token', 'user', 'provider', 'model'] as const;
export type Grouping = (typeof groupings)[number];

export interface UsageFilter {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly keyId?: string | undefined;
  readonly tokenId?: string | undefined;
  readonly userId?: string | undefined;
  readonly provider?: string | undefined;
  /** Of tokens with this word among their tags. */
  readonly tag?: string | undefined;
}

export interface UsageReport {
  readonly from: string;
  readonly to: string;
  readonly groupBy: Grouping;
  readonly data: readonly ({ readonly group: string | null } & Sums)[];
  readonly totals: Sums;
}

export interface KeyStats {
  readonly from: string;
  readonly to: string;
  readonly data: readonly ({
    readonly keyId: string;
    readonly name: string;
    readonly provider: string;
    readonly lastUsedAt: string | null;
  } & Sums)[];
  readonly totals: Sums;
}

/** Of one answer. More groups than these are cut, the totals are not. */
const maxGroups = 10_000;
const maxStatKeys = 1_000;

export type UsageReports = ReturnType<typeof createUsageReports>;

/** What the projections of the journal say. Who may not see the workspace's uses sees his own and those of his keys. */
export function createUsageReports({
  store,
  clock,
}: {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly clock: () => number;
}) {
  return Object.freeze({
    async sums(
      caller: Caller,
      filter: UsageFilter & { readonly groupBy?: Grouping | undefined },
    ): Promise<UsageReport> {
      demand(caller, 'usage:read');
      const period = readPeriod(filter, clock());
      const groupBy = filter.groupBy ?? 'day';
      const { rows, totals } = await store.asWorkspace(caller.workspaceId, async (tx) => ({
        rows: await sumRows(tx, caller, period, filter, groupBy),
        totals: (await sumRows(tx, caller, period, filter, null))[0] ?? { group: null, ...noSums },
      }));
      return {
        from: iso(period.from),
        to: iso(period.to),
        groupBy,
        data: rows.map((row) => ({ group: row.group, ...viewSums(row) })),
        totals: viewSums(totals),
      };
    },

    async calls(
      caller: Caller,
      filter: UsageFilter & Page & { readonly outcome?: string | undefined },
    ): Promise<List<CallView>> {
      demand(caller, 'usage:read');
      const after = placeOf(filter, [timePattern, /^call_[0-9a-f]{32}$/, /^\d{1,4}$/]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        let query = visibleCalls(tx, caller)
          .orderBy('started_at', 'desc')
          .orderBy('call_id', 'desc')
          .orderBy('attempt', 'desc')
          .limit(rowsToRead(filter));
        if (filter.from !== undefined)
          query = query.where('started_at', '>=', readMoment('/from', filter.from));
        if (filter.to !== undefined) query = query.where('started_at', '<', readMoment('/to', filter.to));
        if (filter.keyId !== undefined) query = query.where('key_id', '=', filter.keyId);
        if (filter.tokenId !== undefined) query = query.where('token_id', '=', filter.tokenId);
        if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
        if (filter.provider !== undefined) query = query.where('provider', '=', filter.provider);
        if (filter.tag !== undefined) query = query.where(usesOfTagged(caller, filter.tag));
        if (filter.outcome !== undefined) query = query.where('outcome', '=', filter.outcome);
        if (after !== null) {
          const [at, callId, attempt] = after;
          query = query.where(
            sql<boolean>`(started_at, call_id, attempt) < (${new Date(at)}, ${callId}, ${Number(attempt)})`,
          );
        }
        return query.execute();
      });
      return toList(rows, filter, (row) => [iso(row.started_at), row.call_id, String(row.attempt)], viewCall);
    },

    /** One call with all its attempts, the first one first. @throws {SallyportError} NOT_FOUND */
    async call(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly attempts: readonly CallView[] }> {
      demand(caller, 'usage:read');
      if (!isId('call', id)) throw notFound('call');
      const rows = await store.asWorkspace(caller.workspaceId, (tx) =>
        visibleCalls(tx, caller).where('call_id', '=', id).orderBy('attempt').limit(100).execute(),
      );
      if (rows.length === 0) throw notFound('call');
      return { id, attempts: rows.map(viewCall) };
    },

    /** The keys that the caller sees, the newest 1000, each with what it did in the period. */
    async keyStats(caller: Caller, input: Pick<UsageFilter, 'from' | 'to'>): Promise<KeyStats> {
      demand(caller, 'keys:read');
      demand(caller, 'usage:read');
      const period = readPeriod(input, clock());
      return store.asWorkspace(caller.workspaceId, async (tx) => {
        const keys = await visibleKeys(tx, caller)
          .select(['id', 'name', 'provider', 'last_used_at'])
          .orderBy('id', 'desc')
          .limit(maxStatKeys)
          .execute();
        const rows = await sumRows(
          tx,
          caller,
          period,
          {},
          'key',
          keys.map((key) => key.id),
        );
        const byKey = new Map<string | null, SumRow>(rows.map((row) => [row.group, row]));
        const used = keys.map((key) => ({ key, sums: byKey.get(key.id) ?? noSums }));
        return {
          from: iso(period.from),
          to: iso(period.to),
          data: used.map(({ key, sums }) => ({
            keyId: key.id,
            name: key.name,
            provider: key.provider,
            lastUsedAt: iso(key.last_used_at),
            ...viewSums(sums),
          })),
          totals: viewSums(used.reduce((total, { sums }) => addSums(total, sums), noSums)),
        };
      });
    },
  });
}

const timePattern = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

function visibleCalls(tx: Tx, caller: Caller) {
  return tx.selectFrom('usage_events').selectAll().where(visibleUses(caller, 'usage:all')).$castTo<CallRow>();
}

/** @param groupBy null: one row of totals. */
async function sumRows(
  tx: Tx,
  caller: Caller,
  period: Period,
  filter: UsageFilter,
  groupBy: Grouping | null,
  keyIds?: readonly string[],
): Promise<readonly ({ readonly group: string | null } & SumRow)[]> {
  const table = period.isByHour ? 'usage_hourly' : 'usage_events';
  const time = sql.ref(period.isByHour ? 'hour' : 'started_at');
  const conditions = [
    visibleUses(caller, 'usage:all'),
    sql`${time} >= ${period.from}`,
    sql`${time} < ${period.to}`,
    ...(filter.keyId === undefined ? [] : [sql`key_id = ${filter.keyId}`]),
    ...(filter.tokenId === undefined ? [] : [sql`token_id = ${filter.tokenId}`]),
    ...(filter.userId === undefined ? [] : [sql`user_id = ${filter.userId}`]),
    ...(filter.provider === undefined ? [] : [sql`provider = ${filter.provider}`]),
    ...(filter.tag === undefined ? [] : [usesOfTagged(caller, filter.tag)]),
    ...(keyIds === undefined ? [] : [sql`key_id = any(${keyIds}::text[])`]),
  ];
  const isByTime = groupBy === 'hour' || groupBy === 'day';
  const query = sql<{ group: string | null } & SumRow>`
    select ${groupBy === null ? sql`null` : groupColumn(groupBy, time)} as "group", ${sumColumns[table]}
    from ${sql.table(table)}
    where ${sql.join(conditions, sql` and `)}
    ${groupBy === null ? sql`` : sql`group by 1 order by ${isByTime ? sql`1` : sql`calls desc, 1`} limit ${maxGroups}`}`;
  return (await query.execute(tx)).rows;
}

function groupColumn(groupBy: Grouping, time: RawBuilder<unknown>): RawBuilder<unknown> {
  switch (groupBy) {
    case 'hour':
      return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24":00:00.000Z"')`;
    case 'day':
      return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD')`;
    case 'provider':
      return sql`provider`;
    case 'model':
      return sql`nullif(model, '')`;
    default:
      return sql`nullif(${sql.ref(`${groupBy}_id`)}, '')`;
  }
}
