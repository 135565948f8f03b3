import type { Store } from '../db/store.ts';

export interface Operator {
  readonly workspaceId: string;
  readonly userId: string;
}

/** Tells the operator from other users. */
export type IsOperator = (userId: string) => Promise<boolean>;

/**
 * The operator is the deployment's first user: `init` makes him, before anybody else can be made, and ids sort by time.
 *
 * @returns null before `init`.
 */
export async function findOperator(store: Pick<Store, 'asSystem'>): Promise<Operator | null> {
  const first = await store.asSystem((tx) =>
    tx.selectFrom('users').select(['id', 'workspace_id']).orderBy('id').limit(1).executeTakeFirst(),
  );
  return first === undefined ? null : { workspaceId: first.workspace_id, userId: first.id };
}

/** Asks the database until there is an operator, and never again: he is not deleted. */
export function createIsOperator({ store }: { readonly store: Pick<Store, 'asSystem'> }): IsOperator {
  let operator: Operator | null = null;
  return async function isOperator(userId) {
    operator ??= await findOperator(store);
    return operator?.userId === userId;
  };
}
