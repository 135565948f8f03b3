import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { tokenMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import { isUsableBy } from './key-visibility.ts';
import { can } from './permissions.ts';
import type { TokenRow } from './token-view.ts';

type RowMacs = Pick<Vault, 'rowMac' | 'checkRowMac'>;

/** The tokens that a caller sees: his workspace's for owners and admins, else his own. */
export function visibleTokens(tx: Tx, caller: Caller) {
  const all = tx.selectFrom('tokens').selectAll().where('workspace_id', '=', caller.workspaceId);
  return can(caller.role, 'tokens:all') ? all : all.where('user_id', '=', caller.userId);
}

/** Sets `revoked_at`. A row that was edited round us keeps its wrong MAC: a new one would make the forgery good. */
export async function revokeRow(tx: Tx, vault: RowMacs, row: TokenRow, now: Date): Promise<TokenRow> {
  const isOurs = await vault.checkRowMac(row.workspace_id, 'tokens', tokenMacFields(row), row.mac);
  const revoked = { ...row, revoked_at: now };
  const mac = isOurs ? await vault.rowMac(row.workspace_id, 'tokens', tokenMacFields(revoked)) : row.mac;
  await tx.updateTable('tokens').set({ revoked_at: now, mac }).where('id', '=', row.id).execute();
  return { ...revoked, mac };
}

/**
 * Refuses a row that was edited round us, as revoking does not: a change would MAC it anew.
 *
 * @throws {SallyportError} CONFLICT
 */
export async function demandGenuineToken(vault: RowMacs, row: TokenRow): Promise<void> {
  if (await vault.checkRowMac(row.workspace_id, 'tokens', tokenMacFields(row), row.mac)) return;
  throw new SallyportError(
    'CONFLICT',
    'The record of this token was changed in the database behind the gateway’s back.',
    { fix: 'Revoke the token, make a new one, and find out who writes to the database.' },
  );
}

/** A token may name only keys that its user could use anyway. @throws {SallyportError} NOT_FOUND */
export async function checkKeys(
  tx: Tx,
  caller: Caller,
  userId: string,
  keyIds: readonly string[],
): Promise<void> {
  if (keyIds.length === 0) return;
  const rows: Pick<Selectable<Schema['provider_keys']>, 'id'>[] = await tx
    .selectFrom('provider_keys')
    .select('id')
    .where('workspace_id', '=', caller.workspaceId)
    .where('id', 'in', keyIds)
    .where(isUsableBy(userId))
    .execute();
  const usable = new Set(rows.map((row) => row.id));
  if (!keyIds.every((id) => usable.has(id))) {
    throw new SallyportError('NOT_FOUND', 'One of the keyIds is not a key that the token’s user may use.');
  }
}
