import type { Caller } from './admin/caller.ts';
import { findOperator } from './admin/operator.ts';
import type { Store } from './db/store.ts';
import { SallyportError } from './errors.ts';

/** The deployment's first user in its first workspace: whoever reaches the socket or the data directory. */
export async function findOperatorCaller({
  store,
}: {
  readonly store: Pick<Store, 'asSystem'>;
}): Promise<Caller> {
  const operator = await findOperator(store);
  if (operator === null) {
    throw new SallyportError('CONFLICT', 'This installation has no workspace yet.', {
      fix: 'Run bin/sallyport init, or start the gateway once: npm start',
    });
  }
  return {
    type: 'cli',
    id: 'cli',
    ...operator,
    role: 'owner',
    isOperator: true,
    ip: null,
  };
}
