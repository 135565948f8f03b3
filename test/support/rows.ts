import { newId } from '../../src/ids.ts';
import type { Tx } from '../../src/db/store.ts';

/** A workspace with one user, made as an act would make it: within its own transaction. */
export async function insertWorkspace(tx: Tx, workspaceId: string): Promise<{ userId: string }> {
  const userId = newId('usr');
  await tx.insertInto('workspaces').values({ id: workspaceId, name: 'test' }).execute();
  await tx.insertInto('users').values({ id: userId, workspace_id: workspaceId, name: 'someone' }).execute();
  return { userId };
}

/** A token's row with bytes that verify nothing, for tests of who may see it. */
export async function insertToken(
  tx: Tx,
  row: { workspaceId: string; userId: string; prefix: string },
): Promise<{ tokenId: string }> {
  const tokenId = newId('tok');
  await tx
    .insertInto('tokens')
    .values({
      id: tokenId,
      workspace_id: row.workspaceId,
      user_id: row.userId,
      name: 'app',
      kind: 'gateway',
      prefix: row.prefix,
      verifier: Buffer.alloc(32, 1),
      mac: Buffer.alloc(32, 2),
      requests_per_minute: 600,
      concurrent_calls: 100,
    })
    .execute();
  return { tokenId };
}

/** A record of the journal as the shipper would insert it; its line says nothing. */
export const journalLine = (workspaceId: string | null, seq: bigint, month: string) => ({
  month,
  stream: 'node_a:1',
  seq,
  workspace_id: workspaceId,
  at: new Date('2026-01-01T00:00:00.123Z'),
  event: 'use.begin',
  hash: Buffer.alloc(32, 3),
  line: '{}',
});
