import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import type { Caller } from './caller.ts';
import type { Sharing } from './key-view.ts';
import { can, demand } from './permissions.ts';

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
 * @throws {SallyportError} NOT_FOUND: one of them is nobody of this workspace. FORBIDDEN: with everybody takes an owner or admin. CONFLICT:
 * it would take a managed key's place.
 */
export async function checkSharing(
  tx: Tx,
  caller: Caller,
  provider: string,
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
  const isWider = before !== 'workspace' && ids.some((id) => before?.includes(id) !== true);
  if (isWider && !can(caller.role, 'keys:share')) await demandNotManaged(tx, caller, provider);
}

/**
 * A shared key pays before a managed one. Whoever could name the users of a managed key would have their calls go to an account of his own,
 * where he reads what they asked.
 */
async function demandNotManaged(tx: Tx, { workspaceId }: Caller, provider: string): Promise<void> {
  const managed = await tx
    .selectFrom('provider_keys')
    .innerJoin('workspaces', 'workspaces.id', 'provider_keys.workspace_id')
    .select('provider_keys.id')
    .where('provider_keys.workspace_id', '=', workspaceId)
    .where('provider_keys.source', '=', 'managed')
    .where('provider_keys.provider', '=', provider)
    .where('workspaces.managed_keys', '=', true)
    .limit(1)
    .executeTakeFirst();
  if (managed === undefined) return;
  throw new SallyportError('CONFLICT', `Users of this workspace call ${provider} by a managed key.`, {
    fix: 'An owner or admin shares this key with them, which then pays in place of the managed one.',
  });
}

function noSharer(): SallyportError {
  return new SallyportError('NOT_FOUND', 'One of the users in sharedWith does not exist.');
}
