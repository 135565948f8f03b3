import { createSecretKey, randomFillSync, type KeyObject } from 'node:crypto';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { canaryContext } from './context.ts';
import type { KekRing } from './keyring.ts';
import { kinds, VaultError } from './record.ts';

/** What the database holds that only a ring opens; asked before a ring may be made. */
export interface SealedCount {
  readonly workspaceKeys: number;
  readonly hasDeployment: boolean;
}

export async function countSealed(store: Pick<Store, 'asSystem'>): Promise<SealedCount> {
  return store.asSystem(async (tx) => {
    const { count } = await tx
      .selectFrom('workspace_keys')
      .select((select) => select.fn.countAll().as('count'))
      .executeTakeFirstOrThrow();
    const deployment = await tx.selectFrom('deployment').select('id').executeTakeFirst();
    return { workspaceKeys: Number(count), hasDeployment: deployment !== undefined };
  });
}

export interface Deployment {
  readonly id: string;
  /** The canary's 32 random bytes: the key of what belongs to no workspace. It stays when root keys rotate. */
  readonly key: KeyObject;
  /** Opens the canary anew: does the ring still answer? Rejects where it doesn't. */
  readonly check: () => Promise<void>;
}

/**
 * Proves that ring and database belong together, or founds the deployment in a database that holds nothing sealed. Where they do not,
 * nothing is written.
 *
 * @throws {SallyportError} CONFIG_INVALID; names root-key ids, never a value.
 */
export async function openDeployment(deps: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly ring: KekRing;
  readonly clock: () => number;
}): Promise<Deployment> {
  const { store, ring, clock } = deps;
  const { row, rootKeyIds } = await store.asSystem(read);
  const missing = rootKeyIds.filter((id) => ring.get(id) === null);
  if (missing.length > 0) {
    refuse(`The database holds workspace keys of root keys that are not in the ring: ${missing.join(', ')}.`);
  }
  if (row !== undefined) return openCanary(ring, row);
  if (rootKeyIds.length > 0)
    refuse('The database holds workspace keys but no deployment: a part of it is missing.');

  const id = newId('dep', clock());
  const bytes = randomFillSync(secretBuffer(32));
  const canary = await ring
    .wrap(ring.active().id, kinds.canary, canaryContext(id), bytes)
    .finally(() => wipe(bytes));
  const founded = await store.asSystem(async (tx) => {
    // Two nodes may start at once: whoever comes second takes what the first has founded.
    await tx
      .insertInto('deployment')
      .values({ id, canary, created_at: new Date(clock()) })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    return (await read(tx)).row;
  });
  return openCanary(ring, founded ?? refuse('The deployment could not be written.'));
}

async function read(tx: Tx) {
  const row = await tx.selectFrom('deployment').select(['id', 'canary']).executeTakeFirst();
  const keys = await tx
    .selectFrom('workspace_keys')
    .select('root_key_id')
    .distinct()
    .orderBy('root_key_id')
    .execute();
  return { row, rootKeyIds: keys.map((key) => key.root_key_id) };
}

async function openCanary(
  ring: KekRing,
  row: { readonly id: string; readonly canary: Buffer },
): Promise<Deployment> {
  const usable = ring.list().filter(({ state }) => state !== 'retired');
  for (const { id } of usable) {
    try {
      const bytes = await ring.unwrap(id, kinds.canary, canaryContext(row.id), row.canary);
      try {
        return Object.freeze({
          id: row.id,
          key: createSecretKey(bytes),
          async check() {
            wipe(await ring.unwrap(id, kinds.canary, canaryContext(row.id), row.canary));
          },
        });
      } finally {
        wipe(bytes);
      }
    } catch (error) {
      if (!(error instanceof VaultError)) throw error;
      if (error.code === 'VAULT_TAMPERED') {
        refuse(
          `The canary was sealed under ${id}, but for another deployment than ${row.id}, or it was changed.`,
        );
      }
      if (error.code === 'VAULT_FORMAT') refuse(`The canary of deployment ${row.id} is damaged.`);
    }
  }
  return refuse(
    `The keyring does not fit the database: the canary of deployment ${row.id} opens under none of ${usable.map(({ id }) => id).join(', ')}.`,
  );
}

function refuse(message: string): never {
  throw new SallyportError('CONFIG_INVALID', message, {
    fix: 'Start with the keyring and the database that belong together; nothing was changed.',
  });
}
