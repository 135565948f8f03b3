import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { hourlyRows } from './hourly-rows.ts';
import { lockProjections } from './reproject-rows.ts';
import { hourlyTypes, names, summed } from './usage-columns.ts';

/** So many rows of `usage_hourly` were not the sums of their rows. */
export interface SumsDifference {
  readonly table: 'usage_hourly';
  readonly from: string;
  readonly rows: number;
}

/** So many keys or tokens were last used at another time than the records say. */
export interface UseDifference {
  readonly table: 'provider_keys' | 'tokens';
  readonly rows: number;
}

const key = ['workspace_id', 'hour', 'token_id', 'user_id', 'key_id', 'provider', 'model'] as const;

/** Makes the sums of these hours anew from their rows, where they are others. @param until null: all that is later, too */
export async function mendSums(
  store: Pick<Store, 'asSystem'>,
  from: Date,
  until: Date | null,
  isDry: boolean,
): Promise<readonly SumsDifference[]> {
  const within = (column: string) =>
    until === null
      ? sql`${sql.ref(column)} >= ${from}`
      : sql`${sql.ref(column)} >= ${from} and ${sql.ref(column)} < ${until}`;
  const expected = hourlyRows(within('started_at'));
  const columns = names(hourlyTypes);
  // One statement is one moment, and rows and sums are shipped together: without a lock too they have to agree.
  const count = async (tx: Tx): Promise<number> => {
    const { rows } = await sql<{ count: bigint }>`
      with expected as (${expected}), kept as (select ${columns} from usage_hourly where ${within('hour')})
      select count(distinct (${sql.join(key.map((name) => sql.ref(name)))})) as count from (
        (select ${columns} from expected except select ${columns} from kept)
        union all (select ${columns} from kept except select ${columns} from expected)) as differing`.execute(
      tx,
    );
    return Number(rows[0]?.count ?? 0);
  };
  const suspected = await store.asSystem(count);
  if (suspected === 0) return [];
  const told = (rows: number): readonly SumsDifference[] =>
    rows === 0 ? [] : [{ table: 'usage_hourly', from: from.toISOString(), rows }];
  if (isDry) return told(suspected);
  return store.asSystem(async (tx) => {
    await lockProjections(tx);
    const wrong = await count(tx);
    const isEqual = sql.join(
      [...key, ...summed].map((name) => sql`k.${sql.ref(name)} = e.${sql.ref(name)}`),
      sql` and `,
    );
    await sql`with expected as (${expected})
      delete from usage_hourly as k where ${within('k.hour')} and not exists (select from expected as e where ${isEqual})`.execute(
      tx,
    );
    await sql`insert into usage_hourly (${columns}) select ${columns} from (${expected}) as expected on conflict do nothing`.execute(
      tx,
    );
    return told(wrong);
  });
}

/** A use that is not shipped yet may have been noted already: what is as young as this is let be. */
const settlingMs = 300_000;

/**
 * Sets when keys and tokens were last used to what the rows say. One without a use in these months keeps what stands there, unless that
 * lies in them.
 */
export async function mendLastUse(
  store: Pick<Store, 'asSystem'>,
  since: string,
  now: Date,
  isDry: boolean,
): Promise<readonly UseDifference[]> {
  const settling = new Date(now.getTime() - settlingMs);
  const differences: UseDifference[] = [];
  for (const [table, column] of [
    ['provider_keys', 'key_id'],
    ['tokens', 'token_id'],
  ] as const) {
    const kind = table === 'tokens' ? sql`and owned.kind = 'gateway'` : sql``;
    const wrong = sql`
      select owned.id, used.at from ${sql.table(table)} as owned
      left join (select ${sql.ref(column)} as id, max(ended_at) as at from usage_events
        where month >= ${since}::date and token_id is not null and ${sql.ref(column)} is not null group by 1) as used on used.id = owned.id
      where owned.last_used_at is distinct from used.at ${kind}
        and (owned.last_used_at is null or owned.last_used_at < used.at or owned.last_used_at < ${settling} or owned.last_used_at > ${now})
        and (used.at is not null or owned.last_used_at >= ${since}::date)`;
    const { rows } = await store.asSystem((tx) =>
      isDry
        ? sql<{ id: string }>`${wrong}`.execute(tx)
        : sql<{
            id: string;
          }>`update ${sql.table(table)} as mended set last_used_at = wrong.at from (${wrong}) as wrong
            where mended.id = wrong.id returning mended.id`.execute(tx),
    );
    if (rows.length > 0) differences.push({ table, rows: rows.length });
  }
  return differences;
}
