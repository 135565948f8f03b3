import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import { sealMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import { found, notFound } from './found.ts';

export type SealRow = Selectable<Schema['seals']>;
export type SealMacs = Pick<Vault, 'rowMac' | 'checkRowMac'>;

/** A seal of this workspace, as it stands there. @throws {SallyportError} NOT_FOUND */
export async function readSealRow(tx: Tx, workspaceId: string, id: string): Promise<SealRow> {
  if (!isId('seal', id)) throw notFound('seal');
  return found(await sealById(tx, workspaceId, id).executeTakeFirst(), 'seal');
}

/** The same, locked to the end of the transaction. */
export async function lockSealRow(tx: Tx, workspaceId: string, id: string): Promise<SealRow> {
  return found(await sealById(tx, workspaceId, id).forUpdate().executeTakeFirst(), 'seal');
}

/**
 * The same, before anything is sealed to its public key: whoever could write to the database would else have the next keys sealed to
 * himself. Until COMMIT nobody deletes it.
 *
 * @throws {SallyportError} NOT_FOUND; KEY_INVALID: written or changed round us.
 */
export async function readGenuineSeal(
  tx: Tx,
  macs: Pick<SealMacs, 'checkRowMac'>,
  workspaceId: string,
  id: string,
): Promise<SealRow> {
  if (!isId('seal', id)) throw notFound('seal');
  const row = found(await sealById(tx, workspaceId, id).forKeyShare().executeTakeFirst(), 'seal');
  if (!(await isGenuineSeal(macs, row))) throw forgedSeal();
  return row;
}

function sealById(tx: Tx, workspaceId: string, id: string) {
  return tx.selectFrom('seals').selectAll().where('workspace_id', '=', workspaceId).where('id', '=', id);
}

export function isGenuineSeal(macs: Pick<SealMacs, 'checkRowMac'>, row: SealRow): Promise<boolean> {
  return macs.checkRowMac(row.workspace_id, 'seals', sealMacFields(row), row.mac);
}

export function macOfSeal(macs: Pick<SealMacs, 'rowMac'>, row: Omit<SealRow, 'mac'>): Promise<Buffer> {
  return macs.rowMac(row.workspace_id, 'seals', sealMacFields(row));
}

export function forgedSeal(): SallyportError {
  return new SallyportError(
    'KEY_INVALID',
    'The record of this seal was changed in the database behind the gateway’s back.',
    { fix: 'Make another seal, re-seal the keys to it, and find out who writes to the database.' },
  );
}
