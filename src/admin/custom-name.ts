import { sql } from 'kysely';
import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import type { KeyRow } from './key-view.ts';

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
