import { sql } from 'kysely';
import { SallyportError } from '../errors.ts';
import type { Tx } from '../db/store.ts';
import { isId } from '../ids.ts';
import { keyMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import { found } from './found.ts';
import { invalid } from './moment.ts';
import type { KeyRow, Sharing } from './key-view.ts';
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

/**
 * Keys may be stored in the workspace, and for this user. Both rows stay locked until COMMIT, so that whoever switches storing off waits
 * and then finds what was stored. A key's own row is locked before, never after: he locks in that order too.
 *
 * @param userId null for a managed key: that is the workspace's.
 * @throws {SallyportError} FORBIDDEN: the workspace or the user wants no key kept here, old or new.
 */
export async function demandStoring(tx: Tx, workspaceId: string, userId: string | null): Promise<void> {
  const workspace = await tx
    .selectFrom('workspaces')
    .select('store_keys')
    .where('id', '=', workspaceId)
    .forKeyShare()
    .executeTakeFirst();
  if (workspace?.store_keys !== true) throw noStoring('This workspace stores no provider keys');
  if (userId === null) return;
  const user = await tx
    .selectFrom('users')
    .select('store_keys')
    .where('workspace_id', '=', workspaceId)
    .where('id', '=', userId)
    .forKeyShare()
    .executeTakeFirst();
  if (user?.store_keys === false) throw noStoring('No provider keys are stored for this user');
}

function noStoring(what: string): SallyportError {
  return new SallyportError('FORBIDDEN', `${what} (storeKeys is off).`, {
    fix: 'Send the provider key with each call, in the header x-sallyport-provider-key; or have storeKeys switched on.',
  });
}

/** Whose preference counts for a key's row. */
export function storedFor(row: Pick<KeyRow, 'source' | 'user_id'>): string | null {
  return row.source === 'managed' ? null : row.user_id;
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

/**
 * Who a key is shared with goes to the journal, which is never erased: only ids do, whatever was pasted in their place.
 *
 * @throws {SallyportError} NOT_FOUND
 */
export function checkSharingIds(sharedWith: Sharing | undefined): void {
  if (typeof sharedWith === 'object' && sharedWith?.every((id) => isId('usr', id)) === false)
    throw noSharer();
}

/**
 * @param before whom it was shared with until now.
 * @throws {SallyportError} NOT_FOUND: one of them is nobody of this workspace. FORBIDDEN: with everybody takes an owner or admin.
 */
export async function checkSharing(
  tx: Tx,
  caller: Caller,
  sharedWith: Sharing,
  before: Sharing = null,
): Promise<void> {
  if (sharedWith === 'workspace' && before !== 'workspace') demand(caller, 'keys:share');
  if (sharedWith === null || sharedWith === 'workspace') return;
  const ids = [...new Set(sharedWith)];
  if (ids.length === 0) return;
  const rows = await tx
    .selectFrom('users')
    .select('id')
    .where('workspace_id', '=', caller.workspaceId)
    .where('id', 'in', ids)
    .execute();
  if (rows.length < ids.length) throw noSharer();
}

function noSharer(): SallyportError {
  return new SallyportError('NOT_FOUND', 'One of the users in sharedWith does not exist.');
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

/**
 * Two custom providers of one user under one name could not be told apart in a URL. The lock keeps two requests at once from both
 * finding the name free.
 *
 * @throws {SallyportError} CONFLICT
 */
export async function claimCustomName(
  tx: Tx,
  row: Pick<KeyRow, 'id' | 'workspace_id' | 'user_id' | 'name' | 'shared_with'>,
): Promise<void> {
  await tx
    .selectFrom('users')
    .select('id')
    .where('workspace_id', '=', row.workspace_id)
    .where('id', '=', row.user_id)
    // Not FOR UPDATE: that would wait for everyone who stores a key for this user, and he for us.
    .forNoKeyUpdate()
    .execute();
  const other = await tx
    .selectFrom('provider_keys')
    .select('id')
    .where('workspace_id', '=', row.workspace_id)
    .where('user_id', '=', row.user_id)
    .where('provider', '=', 'custom')
    .where('name', '=', row.name)
    .where('id', '<>', row.id)
    .executeTakeFirst();
  if (other !== undefined) {
    throw new SallyportError('CONFLICT', 'This user has a custom provider of that name.', {
      fix: 'Choose another name, or replace the value of that key.',
    });
  }
  if (row.shared_with !== null && row.shared_with.length > 0) await claimSharedName(tx, row);
}

/** Under a name that others call by somebody's shared key, nobody else's origin may step: it would get what they send. */
async function claimSharedName(
  tx: Tx,
  row: Pick<KeyRow, 'workspace_id' | 'user_id' | 'name'>,
): Promise<void> {
  // Not FOR UPDATE: the act's own row refers to the workspace already, and two at once would wait for each other.
  await tx
    .selectFrom('workspaces')
    .select('id')
    .where('id', '=', row.workspace_id)
    .forNoKeyUpdate()
    .execute();
  const other = await tx
    .selectFrom('provider_keys')
    .select('id')
    .where('workspace_id', '=', row.workspace_id)
    .where('user_id', '<>', row.user_id)
    .where('provider', '=', 'custom')
    .where('name', '=', row.name)
    .where(sql<boolean>`shared_with not in ('null'::jsonb, '[]'::jsonb)`)
    .executeTakeFirst();
  if (other === undefined) return;
  throw new SallyportError('CONFLICT', 'Another user shares a custom provider of that name.', {
    fix: 'Choose another name, or keep this one to yourself.',
  });
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
