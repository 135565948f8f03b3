import { sql } from 'kysely';
import type { Store } from '../db/store.ts';

export interface WebhookCounts {
  /** Webhooks whose last message that ended was given up: a receiver that has been away for a day. */
  readonly dead: number;
  /** Messages that are not delivered yet. */
  readonly waiting: number;
}

/** Over all workspaces. */
export async function countWebhooks({
  store,
}: {
  readonly store: Pick<Store, 'asSystem'>;
}): Promise<WebhookCounts> {
  const { rows } = await store.asSystem((tx) =>
    sql<{ dead: bigint; waiting: bigint }>`
      select (select count(*) from webhook_deliveries where next_at is not null) as waiting,
             (select count(*) from (
                select distinct on (webhook_id) outcome from webhook_deliveries
                where outcome is not null order by webhook_id, created_at desc, id desc) last
              where outcome = 'given_up') as dead`.execute(tx),
  );
  return { dead: Number(rows[0]?.dead ?? 0), waiting: Number(rows[0]?.waiting ?? 0) };
}
