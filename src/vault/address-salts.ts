import { randomBytes } from 'node:crypto';
import type { Insertable, Selectable } from 'kysely';
import { monthOf, nextMonthOf } from '../db/months.ts';
import type { Schema } from '../db/schema.ts';
import type { Tx } from '../db/store.ts';
import { addressSaltMacFields } from './row-macs.ts';
import type { Vault } from './vault.ts';

/** What a user's addresses are hashed with in one month. Without it nobody finds them again, also not with the deployment's key. */
export interface AddressSalt {
  readonly userId: string;
  /** `YYYY-MM-01`, UTC. */
  readonly month: string;
  /** 32 bytes. */
  readonly salt: Buffer;
}

type Row = Selectable<Schema['address_salts']>;
export type NewSalt = Insertable<Schema['address_salts']>;

const table = 'address_salts';

/** Salts of this month and the next: those of a month's turn are there when the database is not. */
export async function makeSalts(
  vault: Pick<Vault, 'rowMac'>,
  { workspaceId, userId }: { readonly workspaceId: string; readonly userId: string },
  now: number,
): Promise<NewSalt[]> {
  const months = [monthOf(new Date(now)), nextMonthOf(new Date(now))];
  return Promise.all(
    months.map(async (month) => {
      const row = { workspace_id: workspaceId, user_id: userId, month, salt: randomBytes(32) };
      return { ...row, mac: await vault.rowMac(workspaceId, table, addressSaltMacFields(row)) };
    }),
  );
}

/** Those that are there already stay. @returns how many were new */
export async function insertSalts(tx: Tx, rows: readonly NewSalt[]): Promise<number> {
  if (rows.length === 0) return 0;
  const { numInsertedOrUpdatedRows = 0n } = await tx
    .insertInto(table)
    .values([...rows])
    .onConflict((conflict) => conflict.columns(['workspace_id', 'user_id', 'month']).doNothing())
    .executeTakeFirst();
  return Number(numInsertedOrUpdatedRows);
}

/** Of this month and those after it. */
export function readSalts(tx: Tx, workspaceId: string, userId: string, now: number): Promise<Row[]> {
  return tx
    .selectFrom(table)
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .where('user_id', '=', userId)
    .where('month', '>=', monthOf(new Date(now)))
    .orderBy('month')
    .execute();
}

/** Of rows that we wrote: with a copy of somebody else's salt his erasure would not be one. */
export async function genuineSalts(
  vault: Pick<Vault, 'checkRowMac'>,
  rows: readonly Row[],
  onForgedRow: (table: string, id: string) => void,
): Promise<readonly AddressSalt[]> {
  const salts: AddressSalt[] = [];
  for (const row of rows) {
    if (await vault.checkRowMac(row.workspace_id, table, addressSaltMacFields(row), row.mac))
      salts.push({ userId: row.user_id, month: row.month, salt: row.salt });
    else onForgedRow(table, row.user_id);
  }
  return salts;
}
