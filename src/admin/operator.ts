import type { Store } from '../db/store.ts';

/** Tells the operator from other users: he is the deployment's first, made by `init` before anybody else could be. Ids sort by time. */
export type IsOperator = (userId: string) => Promise<boolean>;

export function createIsOperator({ store }: { readonly store: Pick<Store, 'asSystem'> }): IsOperator {
  let operatorId: string | null = null;
  return async function isOperator(userId) {
    if (operatorId === null) {
      const first = await store.asSystem((tx) =>
        tx.selectFrom('users').select('id').orderBy('id').limit(1).executeTakeFirst(),
      );
      operatorId = first?.id ?? null;
    }
    return operatorId === userId;
  };
}
