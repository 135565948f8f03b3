import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import type { KeyRow } from './key-view.ts';
import { invalid } from './moment.ts';

/** The preference whether provider keys are kept here at all. To switch it off shreds those that are. */
export interface StoringChange {
  readonly storeKeys?: boolean | undefined;
  readonly confirm?: 'shred' | undefined;
}

/** @throws {SallyportError} REQUEST_INVALID: there is nothing to confirm. */
export function checkConfirm({ storeKeys }: StoringChange, confirm: StoringChange['confirm']): void {
  if (confirm !== undefined && storeKeys !== false) throw invalid('/confirm', 'is for storeKeys false');
}

/** @throws {SallyportError} CONFLICT, saying how many keys would go. */
export function demandConfirm(count: number, confirm: StoringChange['confirm'], whose: string): void {
  if (count === 0 || confirm === 'shred') return;
  const what = count === 1 ? 'A provider key is' : `${count} provider keys are`;
  throw new SallyportError('CONFLICT', `${what} stored for ${whose}, and would be shredded.`, {
    fix: 'Send "confirm":"shred" to shred them at once and for good; ?dryRun=true lists them.',
  });
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
