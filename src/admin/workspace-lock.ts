import type { Tx } from '../db/store.ts';
import type { Caller } from './caller.ts';

/** For what a workspace has a bounded number of: two acts at once would both find room for one more. */
export async function lockWorkspace(tx: Tx, { workspaceId }: Pick<Caller, 'workspaceId'>): Promise<void> {
  await tx.selectFrom('workspaces').select('id').where('id', '=', workspaceId).forNoKeyUpdate().execute();
}
