import { sql } from 'kysely';
import type { Tx } from '../db/store.ts';
import { readMonths } from '../journal/checkpoint-rows.ts';
import { bounds, type HourOfCalls, type Subject } from './alert-rules.ts';

/** A stretch of one stream of the journal. */
export interface Stretch {
  readonly stream: string;
  readonly from: bigint;
  readonly until: bigint;
}

/** Records of one look at most: it holds a lock and a connection meanwhile. */
const maxRecords = 20_000n;

/** What nobody has looked at yet, a stretch a stream. */
export async function unseenStretches(tx: Tx): Promise<readonly Stretch[]> {
  const { rows } = await sql<Stretch>`
    select s.stream, coalesce(p.next_seq, 0) as "from", least(s.next_seq, coalesce(p.next_seq, 0) + ${maxRecords}) as until
    from journal_streams s left join alert_progress p on p.stream = s.stream
    where s.next_seq > coalesce(p.next_seq, 0) order by s.stream collate "C" limit 10000`.execute(tx);
  return rows;
}

/** There may be more behind it. */
export const isFull = ({ from, until }: Stretch): boolean => until - from >= maxRecords;

export async function markSeen(tx: Tx, { stream, until }: Stretch): Promise<void> {
  await tx
    .insertInto('alert_progress')
    .values({ stream, next_seq: until })
    .onConflict((conflict) => conflict.column('stream').doUpdateSet({ next_seq: until }))
    .execute();
}

/** Uses that begin alike; `network` null where the record has none. */
export interface Uses {
  readonly workspaceId: string;
  readonly keyId: string | null;
  readonly tokenId: string | null;
  readonly network: string | null;
  readonly firstAt: Date;
  readonly lastAt: Date;
  readonly count: number;
}

/** Within a canonical line's string every quote has a backslash before it: what matches is a member of the record. */
const networkOf = sql<string | null>`substring(line from '"network":"([0-9a-f]{8,64})"')`;
const codeOf = sql<string | null>`substring(line from '"code":"([A-Z_]{1,40})"')`;
const summarizedOf = sql<string | null>`substring(line from '"summarized":([0-9]{1,12})[,}]')`;

/** Only calls with a token: what the gateway does by itself comes from nowhere. */
export async function readUses(tx: Tx, stretch: Stretch): Promise<readonly Uses[]> {
  const { rows } = await sql<Omit<Uses, 'count'> & { count: bigint }>`
    select workspace_id as "workspaceId", key_id as "keyId", token_id as "tokenId", ${networkOf} as network,
      min(at) as "firstAt", max(at) as "lastAt", count(*) as count
    from journal where ${within(await readMonths(tx), stretch)} and event = 'use.begin'
      and workspace_id is not null and token_id is not null group by 1, 2, 3, 4`.execute(tx);
  return rows.map((row) => ({ ...row, count: Number(row.count) }));
}

/** Adds what was refused to the hours' counts. @returns the tokens and hours that were added to. */
export async function countRefusals(
  tx: Tx,
  stretch: Stretch,
): Promise<readonly { workspaceId: string; tokenId: string; hour: Date }[]> {
  const { rows } = await sql<{ workspaceId: string; tokenId: string; hour: Date }>`
    insert into refusal_counts (workspace_id, token_id, hour, code, count)
    select j.workspace_id, coalesce(token_id, ''), date_trunc('hour', at, 'UTC'), coalesce(${codeOf}, 'INTERNAL'),
      sum(coalesce(${summarizedOf}::bigint, 1))
    from journal j join workspaces w on w.id = j.workspace_id
    where ${within(await readMonths(tx), stretch)} and event = 'use.deny'
      and (token_id is not null or ${summarizedOf} is not null) group by 1, 2, 3, 4
    on conflict (workspace_id, hour, token_id, code) do update set count = refusal_counts.count + excluded.count
    returning workspace_id as "workspaceId", token_id as "tokenId", hour`.execute(tx);
  return rows.filter(({ tokenId }) => tokenId !== '');
}

/** Of one hour, by token ('' for those that were only counted) and code. */
export async function readRefusals(
  tx: Tx,
  { workspaceId, hour }: { readonly workspaceId: string; readonly hour: Date },
): Promise<readonly { tokenId: string; code: string; count: number }[]> {
  const rows = await tx
    .selectFrom('refusal_counts')
    .select(['token_id', 'code', 'count'])
    .where('workspace_id', '=', workspaceId)
    .where('hour', '=', hour)
    .execute();
  return rows.map(({ token_id, code, count }) => ({ tokenId: token_id, code, count: Number(count) }));
}

function within(months: readonly string[], { stream, from, until }: Stretch) {
  return sql`month = any(${months}::date[]) and stream = ${stream} and seq >= ${from} and seq < ${until}`;
}

/** Keys and tokens that are still there, by id, and when they were made. */
export async function readSubjects(
  tx: Tx,
  ids: string[],
): Promise<ReadonlyMap<string, Subject & { readonly madeAt: Date }>> {
  const columns = ['id', 'workspace_id', 'user_id', 'created_at'] as const;
  const found = await Promise.all(
    (['provider_keys', 'tokens'] as const).map((table) =>
      tx
        .selectFrom(table)
        .select(columns)
        .where(sql<boolean>`id = any(${ids}::text[])`)
        .execute(),
    ),
  );
  return new Map(
    found.flatMap((rows, i) =>
      rows.map((row) => [
        row.id,
        {
          id: row.id,
          kind: i === 0 ? ('key' as const) : ('token' as const),
          workspaceId: row.workspace_id,
          userId: row.user_id,
          madeAt: row.created_at,
        },
      ]),
    ),
  );
}

/** Last uses by subject and network; the network '' is any. */
export async function readSeen(
  tx: Tx,
  ids: string[],
): Promise<ReadonlyMap<string, ReadonlyMap<string, Date>>> {
  const rows = await tx
    .selectFrom('seen_uses')
    .select(['subject', 'network', 'last_at'])
    .where(sql<boolean>`subject = any(${ids}::text[])`)
    .execute();
  const seen = new Map<string, Map<string, Date>>();
  for (const { subject, network, last_at } of rows)
    seen.getOrInsertComputed(subject, () => new Map()).set(network, last_at);
  return seen;
}

export async function markUsed(
  tx: Tx,
  rows: readonly { subject: Subject; network: string; lastAt: Date }[],
): Promise<void> {
  if (rows.length === 0) return;
  await sql`insert into seen_uses (workspace_id, subject, network, user_id, last_at)
    select workspace_id, subject, network, user_id, max(last_at) from unnest(
      ${rows.map(({ subject }) => subject.workspaceId)}::text[], ${rows.map(({ subject }) => subject.id)}::text[],
      ${rows.map(({ network }) => network)}::text[], ${rows.map(({ subject }) => subject.userId)}::text[],
      ${rows.map(({ lastAt }) => lastAt)}::timestamptz[]) as r (workspace_id, subject, network, user_id, last_at)
    group by 1, 2, 3, 4 order by 1, 2, 3
    on conflict (workspace_id, subject, network)
      do update set last_at = greatest(seen_uses.last_at, excluded.last_at)`.execute(tx);
}

/** The last hour with an attempt before that of `at`, as the sums have it: for what was in use before anybody looked. */
export async function readLastHour(
  tx: Tx,
  { id, kind, workspaceId }: Subject,
  at: Date,
): Promise<Date | null> {
  const row = await tx
    .selectFrom('usage_hourly')
    .select((eb) => eb.fn.max('hour').as('hour'))
    .where('workspace_id', '=', workspaceId)
    .where(kind === 'key' ? 'key_id' : 'token_id', '=', id)
    .where('hour', '<', sql<Date>`date_trunc('hour', ${at}::timestamptz, 'UTC')`)
    .executeTakeFirst();
  return row?.hour ?? null;
}

/** This hour and the one before, of keys with enough calls to be looked at. */
export async function readBusyHours(tx: Tx, now: Date): Promise<readonly HourOfCalls[]> {
  const { rows } = await sql<{
    workspaceId: string;
    id: string;
    userId: string;
    hour: Date;
    calls: string;
    callsBefore: string;
    hoursWithCalls: bigint;
  }>`
    select w.id as "workspaceId", k.id, k.user_id as "userId", n.hour, n.calls, b.calls as "callsBefore", b.hours as "hoursWithCalls"
    from workspaces w cross join lateral (
      select key_id, hour, sum(calls) as calls from usage_hourly
      where workspace_id = w.id and key_id <> '' and hour >= date_trunc('hour', ${now}::timestamptz, 'UTC') - interval '1 hour'
        and hour <= ${now} group by 1, 2 having sum(calls) >= ${bounds.rateLeastCalls}) n
    join provider_keys k on k.workspace_id = w.id and k.id = n.key_id
    cross join lateral (
      select coalesce(sum(calls), 0) as calls, count(distinct hour) as hours from usage_hourly u
      where u.workspace_id = w.id and u.key_id = n.key_id and u.calls > 0 and u.hour < n.hour
        and u.hour >= n.hour - make_interval(hours => 24 * ${bounds.rateDays}::int)) b`.execute(tx);
  return rows.map(({ workspaceId, id, userId, hour, ...row }) => ({
    subject: { id, kind: 'key', workspaceId, userId },
    hour,
    calls: Number(row.calls),
    callsBefore: Number(row.callsBefore),
    hoursWithCalls: Number(row.hoursWithCalls),
  }));
}

/** Forgets what no rule asks for: uses of half a year ago (the sums have the last one), refusals of the day before yesterday. */
export async function forgetOld(tx: Tx, now: Date): Promise<void> {
  await sql`delete from seen_uses where last_at < ${now}::timestamptz - interval '180 days'`.execute(tx);
  await sql`delete from refusal_counts where hour < ${now}::timestamptz - interval '2 days'`.execute(tx);
}
