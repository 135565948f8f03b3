import { type RawBuilder, sql } from 'kysely';
import type { Tx } from '../db/store.ts';
import type { Caller } from './caller.ts';
import type { Period } from './period.ts';
import { can } from './permissions.ts';
import { noSums, readSums, sumColumns, type SumRow } from './sums.ts';
import { usesOfTagged, visibleUses } from './use-visibility.ts';

export const buckets = ['hour', 'day', 'month'] as const;
export type Bucket = (typeof buckets)[number];

export const groupings = [...buckets, 'key', 'token', 'user', 'provider', 'model', 'tag'] as const;
export type Grouping = (typeof groupings)[number];

export const priceChoices = ['recorded', 'latest'] as const;
export type PriceChoice = (typeof priceChoices)[number];

export interface UsageFilter {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly keyId?: string | undefined;
  readonly tokenId?: string | undefined;
  readonly userId?: string | undefined;
  readonly provider?: string | undefined;
  /** As it was asked for. */
  readonly model?: string | undefined;
  /** Of tokens with this word among their tags. */
  readonly tag?: string | undefined;
}

export interface SumsQuery {
  readonly period: Period;
  readonly filter: UsageFilter;
  readonly groupBy: Grouping;
  /** `latest`: the newest costs that were reckoned anew, where there are any. */
  readonly prices: PriceChoice;
  /** Parts each group by time. */
  readonly bucket: Bucket | null;
  readonly keyIds?: readonly string[];
}

export interface GroupSums {
  readonly bucket: string | null;
  /** Null: no key, no token, no tag … */
  readonly group: string | null;
  readonly sums: SumRow;
}

/** Of one answer. More groups than these are cut, the totals are not. */
const maxGroups = 10_000;

/** Groups and their totals, of one moment. */
export async function readUsage(
  tx: Tx,
  caller: Caller,
  { period, filter, groupBy, bucket, prices, keyIds }: SumsQuery,
): Promise<{ readonly groups: readonly GroupSums[]; readonly totals: SumRow; readonly isCut: boolean }> {
  const isByHour = period.isByHour && prices === 'recorded';
  const table = isByHour ? 'usage_hourly' : 'usage_events';
  const time = sql.ref(isByHour ? 'hour' : 'started_at');
  const where = sql.join(
    [
      visibleUses(caller, 'usage:all'),
      sql`${time} >= ${period.from}`,
      sql`${time} < ${period.to}`,
      ...usageConditions(caller, filter),
      ...(keyIds === undefined ? [] : [sql`key_id = any(${keyIds}::text[])`]),
    ],
    sql` and `,
  );
  const columns = sumColumns[prices === 'latest' ? 'latest' : table];
  const from = prices === 'latest' ? withLatestCosts : sql`from ${sql.table(table)}`;
  const tags = groupBy === 'tag' ? tagsOf(caller) : sql``;
  const order = isBucket(groupBy) ? sql`2, 1` : sql`calls desc, 2`;
  const { rows } = await sql<GroupRow>`
    with groups as (
      select ${bucket === null ? sql`null::text` : timeColumn(bucket, time)} as bucket,
        ${groupColumn(groupBy, time)} as "group", ${columns}
      ${from} ${tags} where ${where} group by 1, 2 order by 1, ${order} limit ${maxGroups + 1})
    select row_number() over (order by bucket, ${isBucket(groupBy) ? sql`"group"` : sql`calls desc, "group"`}) as place, * from groups
    union all
    select null as place, null as bucket, null as "group", ${columns} ${from} where ${where}
    order by place nulls last`.execute(tx);
  const groups = rows.filter(({ place }) => place !== null);
  const total = rows.find(({ place }) => place === null);
  return {
    groups: groups
      .slice(0, maxGroups)
      .map((row) => ({ bucket: row.bucket, group: row.group, sums: readSums(row) })),
    totals: total === undefined ? noSums : readSums(total),
    isCut: groups.length > maxGroups,
  };
}

/** Sums by the version of prices: a reckoning's, or the record's where none was made. For `latest` alone. */
export async function readVersions(
  tx: Tx,
  caller: Caller,
  { period, filter }: Pick<SumsQuery, 'period' | 'filter'>,
): Promise<readonly VersionSums[]> {
  const { rows } = await sql<{
    version: string | null;
    attempts: bigint;
    recorded: string | null;
    latest: string | null;
  }>`
    select coalesce(latest_version, price_version) as version, count(*) as attempts,
      sum(cost_nano_usd) as recorded, sum(coalesce(latest_cost, cost_nano_usd)) as latest
    ${withLatestCosts} where ${sql.join(
      [
        visibleUses(caller, 'usage:all'),
        sql`started_at >= ${period.from}`,
        sql`started_at < ${period.to}`,
        ...usageConditions(caller, filter),
      ],
      sql` and `,
    )} group by 1 order by 1 limit 1000`.execute(tx);
  return rows.map(({ version, attempts, recorded, latest }) => ({
    version,
    attempts: Number(attempts),
    costNanoUsd: latest,
    recordedNanoUsd: recorded,
    differenceNanoUsd: latest === null ? null : String(BigInt(latest) - BigInt(recorded ?? 0)),
  }));
}

/** Sums of what is known; null where nothing is. */
export interface VersionSums {
  readonly version: string | null;
  readonly attempts: number;
  readonly costNanoUsd: string | null;
  readonly recordedNanoUsd: string | null;
  readonly differenceNanoUsd: string | null;
}

const withLatestCosts = sql`from usage_events left join lateral (
  select c.cost_nano_usd as latest_cost, c.version as latest_version from usage_costs as c
  where c.workspace_id = usage_events.workspace_id and c.call_id = usage_events.call_id and c.attempt = usage_events.attempt
  order by c.computed_at desc, c.version desc limit 1) as latest on true`;

type GroupRow = Readonly<Record<keyof SumRow, string | bigint>> & {
  readonly place: bigint | null;
  readonly bucket: string | null;
  readonly group: string | null;
};

/** Conditions on rows of either projection; time apart. */
export function usageConditions(caller: Caller, filter: UsageFilter): RawBuilder<boolean>[] {
  const { keyId, tokenId, userId, provider, model, tag } = filter;
  return [
    ...(keyId === undefined ? [] : [sql<boolean>`key_id = ${keyId}`]),
    ...(tokenId === undefined ? [] : [sql<boolean>`token_id = ${tokenId}`]),
    ...(userId === undefined ? [] : [sql<boolean>`user_id = ${userId}`]),
    ...(provider === undefined ? [] : [sql<boolean>`provider = ${provider}`]),
    ...(model === undefined ? [] : [sql<boolean>`model = ${model}`]),
    ...(tag === undefined ? [] : [usesOfTagged(caller, tag)]),
  ];
}

/**
 * A row for each tag of a use's token, one without where it has none: what has two tags is in both groups. Of others' tokens who doesn't
 * see the workspace's uses knows no tags.
 */
function tagsOf(caller: Caller): RawBuilder<unknown> {
  const own = can(caller.role, 'usage:all') ? sql`` : sql`and owned.user_id = ${caller.userId}`;
  return sql`left join lateral (
    select distinct unnest(owned.tags) as tag from tokens as owned
    where owned.workspace_id = ${caller.workspaceId} and owned.id = token_id ${own}) as tagged on true`;
}

function isBucket(groupBy: Grouping): groupBy is Bucket {
  return (buckets as readonly string[]).includes(groupBy);
}

function timeColumn(bucket: Bucket, time: RawBuilder<unknown>): RawBuilder<unknown> {
  const form = { hour: 'YYYY-MM-DD"T"HH24":00:00.000Z"', day: 'YYYY-MM-DD', month: 'YYYY-MM' }[bucket];
  return sql`to_char(${time} at time zone 'UTC', ${sql.lit(form)})`;
}

function groupColumn(groupBy: Grouping, time: RawBuilder<unknown>): RawBuilder<unknown> {
  if (isBucket(groupBy)) return timeColumn(groupBy, time);
  switch (groupBy) {
    case 'provider':
      return sql`provider`;
    case 'model':
      return sql`nullif(model, '')`;
    case 'tag':
      return sql`tagged.tag`;
    default:
      return sql`nullif(${sql.ref(`${groupBy}_id`)}, '')`;
  }
}
