import { sql } from 'kysely';
import type { Store } from '../db/store.ts';

const expiringMs = 14 * 24 * 3600 * 1000;

export interface KeyCounts {
  readonly active: number;
  readonly disabled: number;
  readonly expired: number;
  readonly auth_failed: number;
  /** Active ones that expire within 14 days. */
  readonly expiring: number;
}

/** How many provider keys are in which state, over all workspaces. */
export async function countKeys(
  { store }: { readonly store: Pick<Store, 'asSystem'> },
  now: number,
): Promise<KeyCounts> {
  const { rows } = await store.asSystem((tx) =>
    sql<{ status: Exclude<keyof KeyCounts, 'expiring'>; count: bigint; expiring: bigint }>`
      select case when not is_active then 'disabled'
                  when expires_at <= ${new Date(now)} then 'expired'
                  when auth_failed_at is not null then 'auth_failed'
                  else 'active' end as status, count(*) as count,
             count(*) filter (where is_active and expires_at > ${new Date(now)}
                                and expires_at <= ${new Date(now + expiringMs)}) as expiring
        from provider_keys group by 1`.execute(tx),
  );
  const counts = { active: 0, disabled: 0, expired: 0, auth_failed: 0, expiring: 0 };
  for (const { status, count, expiring } of rows) {
    counts[status] = Number(count);
    counts.expiring += Number(expiring);
  }
  return counts;
}
