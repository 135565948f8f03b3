import type { Store } from '../db/store.ts';
import { newId, timeOf } from '../ids.ts';

export interface Operator {
  readonly workspaceId: string;
  readonly userId: string;
}

/** Tells the operator from other users. */
export type IsOperator = (userId: string) => Promise<boolean>;

/** An id for somebody who is no operator. */
export type NewUserId = () => Promise<string>;

/**
 * The operator is the deployment's first user: `init` makes him, before anybody else can be made, and `createNewUserId` has all others
 * sort behind him.
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

/**
 * A clock that was ahead at `init` and has been set right, or one that begins in the past, would give a later user an earlier id: he would be
 * the operator, with the operator's keys, from then on.
 */
export function createNewUserId(deps: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly clock: () => number;
}): NewUserId {
  return async function newUserId() {
    const operator = await findOperator(deps.store);
    const now = deps.clock();
    return newId('usr', operator === null ? now : Math.max(now, timeOf(operator.userId) + 1));
  };
}
