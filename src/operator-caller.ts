import type { Caller } from './admin/caller.ts';
import type { Store } from './db/store.ts';
import { SallyportError } from './errors.ts';

/** The deployment's first user in its first workspace: whoever reaches the socket or the data directory. */
export async function findOperatorCaller({
  store,
}: {
  readonly store: Pick<Store, 'asSystem'>;
}): Promise<Caller> {
  const first = await store.asSystem((tx) =>
    tx.selectFrom('users').select(['id', 'workspace_id']).orderBy('id').limit(1).executeTakeFirst(),
  );
  if (first === undefined) {
    throw new SallyportError('CONFLICT', 'This installation has no workspace yet.', {
      fix: 'Run bin/sallyport init, or start the gateway once: npm start',
    });
  }
  return {
    type: 'cli',
    id: 'cli',
    workspaceId: first.workspace_id,
    userId: first.id,
    role: 'owner',
    isOperator: true,
    ip: null,
  };
}
