import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { isId } from '../ids.ts';
import type { Caller } from './caller.ts';
import { viewCall, type CallRow, type CallView } from './call-view.ts';
import { notFound } from './found.ts';
import { visibleKeys } from './key-visibility.ts';
import type { Export, ExportFormat, Exports } from './exports.ts';
import { iso, readMoment } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { readPeriod } from './period.ts';
import { demand } from './permissions.ts';
import { addSums, noSums, type SumRow, type Sums, viewSums } from './sums.ts';
import {
  type Bucket,
  type Grouping,
  type PriceChoice,
  readUsage,
  readVersions,
  type VersionSums,
  usageConditions,
  type UsageFilter,
} from './usage-sums.ts';
import { visibleUses } from './use-visibility.ts';

export interface UsageQuery extends UsageFilter {
  readonly groupBy?: Grouping | undefined;
  readonly bucket?: Bucket | undefined;
  readonly prices?: PriceChoice | undefined;
}

export type UsageGroup = { readonly group: string | null; readonly bucket: string | null } & Sums;

export interface UsageReport {
  readonly from: string;
  readonly to: string;
  readonly groupBy: Grouping;
  readonly data: readonly UsageGroup[];
  readonly totals: Sums;
  /** There are more groups than `data` has; the totals are of all. */
  readonly isCut: boolean;
  readonly prices: PriceChoice;
  /** Of `latest`: the same calls by the version of their prices, beside what was recorded. */
  readonly versions: readonly VersionSums[];
}

export interface CallsFilter extends UsageFilter {
  readonly outcome?: string | undefined;
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

const exportRows = 500;
const maxStatKeys = 1_000;

export type UsageReports = ReturnType<typeof createUsageReports>;

/** What the projections of the journal say. Who may not see the workspace's uses sees his own and those of his keys. */
export function createUsageReports({
  store,
  exports,
  clock,
}: {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly exports: Exports;
  readonly clock: () => number;
}) {
  const sums = async (caller: Caller, query: UsageQuery): Promise<UsageReport> => {
    demand(caller, 'usage:read');
    const period = readPeriod(query, clock());
    const { groupBy = 'day', bucket = null, prices = 'recorded' } = query;
    const { groups, totals, isCut, versions } = await store.asWorkspace(caller.workspaceId, async (tx) => ({
      ...(await readUsage(tx, caller, { period, filter: query, groupBy, bucket, prices })),
      versions: prices === 'latest' ? await readVersions(tx, caller, { period, filter: query }) : [],
    }));
    return {
      from: iso(period.from),
      to: iso(period.to),
      groupBy,
      data: groups.map(({ sums: row, ...names }) => ({ ...names, ...viewSums(row) })),
      totals: viewSums(totals),
      isCut,
      prices,
      versions,
    };
  };

  function readCalls(
    caller: Caller,
    filter: CallsFilter,
    after: CallPlace | null,
    limit: number,
  ): Promise<CallRow[]> {
    const [from, to] = [filter.from, filter.to];
    const [since, until] = [
      from === undefined ? null : readMoment('/from', from),
      to === undefined ? null : readMoment('/to', to),
    ];
    return store.asWorkspace(caller.workspaceId, (tx) => {
      let query = visibleCalls(tx, caller)
        .orderBy('started_at', 'desc')
        .orderBy('call_id', 'desc')
        .orderBy('attempt', 'desc')
        .limit(limit);
      if (since !== null) query = query.where('started_at', '>=', since);
      if (until !== null) query = query.where('started_at', '<', until);
      for (const condition of usageConditions(caller, filter)) query = query.where(condition);
      if (filter.outcome !== undefined) query = query.where('outcome', '=', filter.outcome);
      if (after !== null) {
        const [at, callId, attempt] = after;
        query = query.where(
          sql<boolean>`(started_at, call_id, attempt) < (${new Date(at)}, ${callId}, ${Number(attempt)})`,
        );
      }
      return query.execute();
    });
  }

  return Object.freeze({
    sums,

    /** The groups of a report. */
    exportSums(caller: Caller, query: UsageQuery, format: ExportFormat): Promise<Export<UsageGroup>> {
      demand(caller, 'usage:read');
      readPeriod(query, clock());
      return exports.open(caller, 'usage', format, { ...query }, async function* () {
        yield (await sums(caller, query)).data;
      });
    },

    /** All calls that a filter finds, newest first. */
    exportCalls(caller: Caller, filter: CallsFilter, format: ExportFormat): Promise<Export<CallView>> {
      demand(caller, 'usage:read');
      return exports.open(caller, 'calls', format, { ...filter }, async function* () {
        let after: CallPlace | null = null;
        for (;;) {
          const rows = await readCalls(caller, filter, after, exportRows);
          const last = rows.at(-1);
          if (last === undefined) return;
          yield rows.map(viewCall);
          if (rows.length < exportRows) return;
          after = placeOfCall(last);
        }
      });
    },

    async calls(caller: Caller, filter: CallsFilter & Page): Promise<List<CallView>> {
      demand(caller, 'usage:read');
      const after = placeOf(filter, [timePattern, /^call_[0-9a-f]{32}$/, /^\d{1,4}$/]);
      const rows = await readCalls(caller, filter, after, rowsToRead(filter));
      return toList(rows, filter, placeOfCall, viewCall);
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
        const { groups } = await readUsage(tx, caller, {
          period,
          filter: {},
          groupBy: 'key',
          bucket: null,
          prices: 'recorded',
          keyIds: keys.map((key) => key.id),
        });
        const byKey = new Map<string | null, SumRow>(groups.map((row) => [row.group, row.sums]));
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

type CallPlace = readonly [at: string, callId: string, attempt: string];

function placeOfCall(row: CallRow): CallPlace {
  return [iso(row.started_at), row.call_id, String(row.attempt)];
}
