import { SallyportError } from '../errors.ts';
import type { Tx } from '../db/store.ts';
import { keyMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import { found } from './found.ts';
import { invalid } from './moment.ts';
import type { KeyRow } from './key-view.ts';
import { visibleKeys } from './key-visibility.ts';
import { can, demand } from './permissions.ts';

/** What came of sealing a secret: goes into the key's row and its version's. */
export type Sealed = Awaited<ReturnType<Vault['sealSecret']>>;
export type SealedVersion = Awaited<ReturnType<Vault['reseal']>>;
export type RowMacs = Pick<Vault, 'rowMac' | 'checkRowMac'>;

/** A key's row, locked to the end of the transaction, of a caller who may change it. @throws {SallyportError} NOT_FOUND, FORBIDDEN */
export async function lockKey(tx: Tx, caller: Caller, id: string): Promise<KeyRow> {
  const row = found(
    await visibleKeys(tx, caller)
      .selectAll()
      .where('provider_keys.id', '=', id)
      .forUpdate()
      .executeTakeFirst(),
    'provider key',
  );
  demandEdit(caller, row);
  return row;
}

/** A key shared with somebody is his to use, not to change. */
export function demandEdit(caller: Caller, row: Pick<KeyRow, 'user_id'>): void {
  demand(caller, 'keys:write');
  if (row.user_id !== caller.userId && !can(caller.role, 'keys:all')) {
    throw new SallyportError('FORBIDDEN', 'This key is shared with you: its owner changes it.');
  }
}

/**
 * Refuses a row that was edited round us: an edit of ours would MAC it anew, and make the forgery good.
 *
 * @throws {SallyportError} KEY_INVALID
 */
export async function demandGenuine(macs: RowMacs, row: KeyRow): Promise<void> {
  if (await macs.checkRowMac(row.workspace_id, 'provider_keys', keyMacFields(row), row.mac)) return;
  throw new SallyportError(
    'KEY_INVALID',
    'The record of this key was changed in the database behind the gateway’s back.',
    {
      fix: 'Delete the key, store it anew, and find out who writes to the database.',
    },
  );
}

export function macOfKey(macs: RowMacs, row: Omit<KeyRow, 'mac'>): Promise<Buffer> {
  return macs.rowMac(row.workspace_id, 'provider_keys', keyMacFields(row));
}

export async function insertVersion(tx: Tx, row: KeyRow, sealed: SealedVersion, now: Date): Promise<void> {
  await tx
    .insertInto('provider_key_versions')
    .values({
      workspace_id: row.workspace_id,
      key_id: row.id,
      version: row.version,
      workspace_key_version: sealed.workspaceKeyVersion,
      wrap: sealed.wrap,
      payload: sealed.payload,
      created_at: now,
    })
    .execute();
}

/** Shreds: the wrapped data keys and the payloads go in one transaction, and with them what they opened. */
export async function shred(tx: Tx, workspaceId: string, keyIds: readonly string[]): Promise<void> {
  if (keyIds.length === 0) return;
  await tx
    .deleteFrom('provider_key_versions')
    .where('workspace_id', '=', workspaceId)
    .where('key_id', 'in', keyIds)
    .execute();
  await tx
    .deleteFrom('provider_keys')
    .where('workspace_id', '=', workspaceId)
    .where('id', 'in', keyIds)
    .execute();
}

/** Somebody pasted the key twice. Names are shown and journalled nowhere as secrets, so it is refused. @throws {SallyportError} REQUEST_INVALID */
export function checkNotIn(
  secret: Buffer | null,
  texts: Readonly<Record<string, string | null | undefined>>,
): void {
  if (secret === null) return;
  for (const [field, text] of Object.entries(texts)) {
    if (typeof text === 'string' && Buffer.from(text).includes(secret))
      throw invalid(`/${field}`, 'contains the value');
  }
}
