import { sql } from 'kysely';
import { monthOf } from '../db/months.ts';
import type { Store, Tx } from '../db/store.ts';
import { isId, timeOf } from '../ids.ts';
import { invalid } from './moment.ts';
import type { ToldKey } from './breach-message.ts';

/** Which keys, and when. */
export interface BreachScope {
  readonly since: Date;
  readonly until: Date;
  /** Null: all that were kept then or used in that time. */
  readonly keyIds: readonly string[] | null;
}

export interface Affected {
  readonly userId: string;
  readonly workspaceId: string;
  readonly keyIds: readonly string[];
  readonly keys: readonly ToldKey[];
}

interface Use {
  readonly workspaceId: string;
  readonly keyId: string | null;
  readonly userId: string | null;
  readonly fingerprint: string | null;
  readonly provider: string | null;
  uses: number;
  firstAt: Date;
  lastAt: Date;
}

interface Key {
  readonly id: string;
  readonly workspaceId: string;
  readonly userId: string;
  readonly name: string;
  readonly provider: string;
  readonly last4: string | null;
  readonly fingerprint: string | null;
}

const dayMs = 24 * 3_600_000;
/** Deleted keys of one query, which has half a minute. */
const goneAtOnce = 50;
/** As in alert-readings.ts: a quote within a canonical line's string has a backslash before it. */
const fingerprintOf = sql`substring(line from '"keyFingerprint":"([0-9a-f]{16})"')`;
const providerOf = sql`substring(line from '"provider":"([a-z0-9-]{1,64})"')`;

/**
 * Whom a breach concerns, from the journal: the owners of the keys, and whoever used them. A day of a workspace at a time, so that no
 * transaction gets long.
 *
 * @param keyPages by provider.
 * @throws {SallyportError} REQUEST_INVALID: a key that nobody knows.
 */
export async function findAffected(
  store: Pick<Store, 'asSystem'>,
  keyPages: (provider: string) => string | null,
  scope: BreachScope,
): Promise<readonly Affected[]> {
  const workspaces = await store.asSystem((tx) =>
    tx.selectFrom('workspaces').select('id').orderBy('id').execute(),
  );
  const uses: Use[] = [];
  for (const { id } of workspaces) uses.push(...(await readUses(store, id, scope)));
  const used = uses.flatMap(({ keyId }) => keyId ?? []);
  const keys = await store.asSystem((tx) =>
    readKeys(tx, scope, [...new Set([...used, ...(scope.keyIds ?? [])])]),
  );
  const gone = [...new Set(scope.keyIds ?? used)].filter((id) => !keys.has(id));
  const usedIn = new Map(
    uses.flatMap(({ keyId, workspaceId }) => (keyId === null ? [] : [[keyId, workspaceId]])),
  );
  for (let at = 0; at < gone.length; at += goneAtOnce)
    for (const key of await store.asSystem((tx) => readGone(tx, gone.slice(at, at + goneAtOnce), usedIn)))
      keys.set(key.id, key);
  const unknown = scope.keyIds?.find((id) => !keys.has(id) && !used.includes(id));
  if (unknown !== undefined) throw invalid('/keyIds', 'names a key that is not on record');
  return gather([...keys.values()], uses, keyPages);
}

async function readUses(
  store: Pick<Store, 'asSystem'>,
  workspaceId: string,
  { since, until, keyIds }: BreachScope,
): Promise<Use[]> {
  const ofKeys = keyIds === null ? sql`true` : sql`key_id = any(${[...keyIds]}::text[])`;
  const found = new Map<string, Use>();
  for (let from = since.getTime(); from < until.getTime(); from += dayMs) {
    const to = new Date(Math.min(from + dayMs, until.getTime()));
    const { rows } = await store.asSystem((tx) =>
      sql<Omit<Use, 'uses'> & { uses: bigint }>`
        select workspace_id as "workspaceId", key_id as "keyId", user_id as "userId",
          case when key_id is null then ${fingerprintOf} end as fingerprint, ${providerOf} as provider,
          count(*) as uses, min(at) as "firstAt", max(at) as "lastAt"
        from journal where workspace_id = ${workspaceId} and at >= ${new Date(from)} and at < ${to}
          and event = 'use.begin' and ${ofKeys} group by 1, 2, 3, 4, 5`.execute(tx),
    );
    for (const row of rows) {
      const name = JSON.stringify([row.keyId, row.userId, row.fingerprint, row.provider]);
      const before = found.get(name);
      if (before === undefined) found.set(name, { ...row, uses: Number(row.uses) });
      else {
        before.uses += Number(row.uses);
        before.lastAt = row.lastAt;
      }
    }
  }
  return [...found.values()];
}

/** Those that were used or named; of all, whatever was kept before the time was over. */
async function readKeys(tx: Tx, { keyIds, until }: BreachScope, ids: string[]): Promise<Map<string, Key>> {
  const wanted =
    keyIds === null
      ? sql<boolean>`(created_at < ${until} or id = any(${ids}::text[]))`
      : sql<boolean>`id = any(${ids}::text[])`;
  const rows = await tx
    .selectFrom('provider_keys')
    .select(['id', 'workspace_id', 'user_id', 'name', 'provider', 'last4', 'fingerprint'])
    .where(wanted)
    .execute();
  return new Map(
    rows.map(({ workspace_id: workspaceId, user_id: userId, ...row }) => [
      row.id,
      { ...row, workspaceId, userId },
    ]),
  );
}

/**
 * Keys that were deleted since: whose they were stands in the record of their making. When that was stands in their ids (ids.ts): in a
 * journal of years nothing else is looked at, and other workspaces only for a key that was not used.
 *
 * @param usedIn its workspace by key.
 */
async function readGone(
  tx: Tx,
  ids: readonly string[],
  usedIn: ReadonlyMap<string, string>,
): Promise<readonly Key[]> {
  const known = ids.filter((id) => isId('key', id) && madeAt(id) < latest);
  if (known.length === 0) return [];
  const places = known.map((id) => usedIn.get(id) ?? null);
  const times = known.map(madeAt);
  const { rows } = await sql<Key>`
    select distinct on (j.key_id) j.key_id as id, j.workspace_id as "workspaceId", j.user_id as "userId",
      'deleted key ' || j.key_id as name, coalesce(${providerOf}, 'unknown') as provider, null as last4, null as fingerprint
    from unnest(${known}::text[], ${places}::text[], ${times}::timestamptz[], ${times.map(monthOf)}::date[])
        as gone (id, workspace_id, made_at, month)
      join workspaces w on gone.workspace_id is null or w.id = gone.workspace_id
      cross join lateral (
        select * from journal where workspace_id = w.id and key_id = gone.id and month >= gone.month - interval '1 month'
          and at >= gone.made_at - interval '10 minutes' and at < gone.made_at + interval '10 minutes'
          and event in ('key.create.intent', 'key.create.done') and user_id is not null) j
    order by j.key_id, j.event desc`.execute(tx);
  return rows;
}

const latest = new Date('9999-01-01T00:00:00Z');

const madeAt = (id: string): Date => new Date(timeOf(id));

function gather(
  keys: readonly Key[],
  uses: readonly Use[],
  keyPages: (provider: string) => string | null,
): readonly Affected[] {
  const users = new Map<
    string,
    { userId: string; workspaceId: string; keyIds: Set<string>; keys: ToldKey[] }
  >();
  const entryOf = (userId: string, workspaceId: string) =>
    users.getOrInsertComputed(userId, () => ({ userId, workspaceId, keyIds: new Set(), keys: [] }));
  const byKey = Map.groupBy(uses, ({ keyId }) => keyId);
  const byId = new Map(keys.map((key) => [key.id, key]));
  for (const key of keys) {
    const entry = entryOf(key.userId, key.workspaceId);
    const { name: label, provider, last4, fingerprint } = key;
    entry.keyIds.add(key.id);
    entry.keys.push({
      label,
      provider,
      last4,
      fingerprint,
      keyPage: keyPages(provider),
      isOwn: true,
      ...sumOf(byKey.get(key.id) ?? []),
    });
  }
  for (const use of uses) {
    const key = use.keyId === null ? null : (byId.get(use.keyId) ?? null);
    if (use.userId === null || key?.userId === use.userId) continue;
    const entry = entryOf(use.userId, use.workspaceId);
    if (use.keyId !== null) entry.keyIds.add(use.keyId);
    const provider = use.provider ?? key?.provider ?? 'unknown';
    const isOwn = use.keyId === null;
    // Of a key that is another's he is told what he knows: its label and what he did with it.
    const label = isOwn ? null : (key?.name ?? `deleted key ${use.keyId ?? ''}`);
    const keyPage = isOwn ? keyPages(provider) : null;
    entry.keys.push({
      label,
      provider,
      last4: null,
      fingerprint: use.fingerprint,
      keyPage,
      isOwn,
      ...sumOf([use]),
    });
  }
  return [...users.values()]
    .map((entry) => ({ ...entry, keyIds: [...entry.keyIds].toSorted() }))
    .toSorted((a, b) => (a.userId < b.userId ? -1 : 1));
}

function sumOf(uses: readonly Use[]): Pick<ToldKey, 'uses' | 'firstAt' | 'lastAt'> {
  const times = uses.flatMap(({ firstAt, lastAt }) => [firstAt.getTime(), lastAt.getTime()]);
  return {
    uses: uses.reduce((sum, { uses: count }) => sum + count, 0),
    firstAt: times.length === 0 ? null : new Date(Math.min(...times)),
    lastAt: times.length === 0 ? null : new Date(Math.max(...times)),
  };
}
