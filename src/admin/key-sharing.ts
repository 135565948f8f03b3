import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import type { Caller } from './caller.ts';
import type { Sharing } from './key-view.ts';
import { demand } from './permissions.ts';

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
