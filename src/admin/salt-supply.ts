import { sql } from 'kysely';
import { nextMonthOf } from '../db/months.ts';
import type { Store } from '../db/store.ts';
import { insertSalts, makeSalts, type NewSalt } from '../vault/address-salts.ts';
import type { Vault } from '../vault/vault.ts';

const usersAtOnce = 500;

/**
 * Makes the salts that users with tokens lack for this month and the next, and deletes those of which no record is left. Whoever has
 * snapshots of callers reads them anew, so that a month may turn without the database.
 */
export async function supplySalts({
  store,
  vault,
  clock,
}: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly vault: Pick<Vault, 'rowMac'>;
  readonly clock: () => number;
}): Promise<void> {
  const next = nextMonthOf(new Date(clock()));
  let after = { workspaceId: '', userId: '' };
  for (;;) {
    const users = await lacking(store, next, after);
    const rows: NewSalt[] = [];
    for (const user of users) {
      // A workspace whose key does not open has no calls either.
      rows.push(...(await makeSalts(vault, user, clock()).catch(() => [])));
    }
    await store.asSystem(async (tx) => {
      if ((await insertSalts(tx, rows)) > 0) await sql`update epoch set value = value + 1`.execute(tx);
    });
    if (users.length < usersAtOnce) break;
    after = users.at(-1) as typeof after;
  }
  // Months are of receipt, and a record may have waited for the database beyond the turn of its month.
  await store.asSystem((tx) =>
    sql`delete from address_salts
      where month < (select min(month) from journal) - interval '1 month'`.execute(tx),
  );
}

async function lacking(
  store: Pick<Store, 'asSystem'>,
  month: string,
  after: { readonly workspaceId: string; readonly userId: string },
): Promise<readonly { workspaceId: string; userId: string }[]> {
  const { rows } = await store.asSystem((tx) =>
    sql<{ workspaceId: string; userId: string }>`
      select u.workspace_id as "workspaceId", u.id as "userId" from users u
      where (u.workspace_id, u.id) > (${after.workspaceId}, ${after.userId})
        and exists (select from tokens t
          where t.workspace_id = u.workspace_id and t.user_id = u.id and t.revoked_at is null)
        and not exists (select from address_salts s
          where s.workspace_id = u.workspace_id and s.user_id = u.id and s.month = ${month}::date)
      order by u.workspace_id, u.id limit ${usersAtOnce}`.execute(tx),
  );
  return rows;
}
