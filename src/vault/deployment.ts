import { createSecretKey, randomFillSync, type KeyObject } from 'node:crypto';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { canaryContext } from './context.ts';
import { rootKeyOfBlob } from './kek-blob.ts';
import { KekError } from './kek-provider.ts';
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
  /**
   * Opens the canary anew: does the ring still answer? A key service is asked every 5 s at most. `cached`: it does not, but it did within
   * the 300 s that opened keys live. Rejects otherwise.
   */
  readonly check: () => Promise<'open' | 'cached'>;
}

interface Canary {
  readonly id: string;
  readonly canary: Buffer;
}

/** How long a key service's answer to `check` holds: readiness is asked for by every load balancer. */
const checkedMs = 5000;
/** VAULT.md, "Memory": how long what was opened lives. */
const openedMs = 300_000;

/**
 * Proves that ring and database belong together, or founds the deployment in a database that holds nothing sealed. Where they do not,
 * nothing is written.
 *
 * @throws {SallyportError} CONFIG_INVALID; names root-key ids, never a value. VAULT_SEALED: a key service does not let us.
 */
export async function openDeployment(deps: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly ring: KekRing;
  readonly clock: () => number;
}): Promise<Deployment> {
  const { store, ring, clock } = deps;
  const { row, rootKeyIds } = await store.asSystem(read);
  const missing = rootKeyIds.filter((id) => (ring.get(id)?.state ?? 'retired') === 'retired');
  if (missing.length > 0) {
    refuse(`The database holds workspace keys of root keys that are not in the ring: ${missing.join(', ')}.`);
  }
  if (row !== undefined) return opened(deps, row, await openCanary(ring, row));
  if (rootKeyIds.length > 0)
    refuse('The database holds workspace keys but no deployment: a part of it is missing.');

  const id = newId('dep', clock());
  const bytes = randomFillSync(secretBuffer(32));
  const canary = await ring
    .wrap(ring.active().id, kinds.canary, canaryContext(id), bytes)
    .catch(sealed)
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
  const known = founded ?? refuse('The deployment could not be written.');
  return opened(deps, known, await openCanary(ring, known));
}

/**
 * The root key that opens the canary; null where none of the ring does. A blob of a key service names it; local keys are tried.
 *
 * @throws {KekError} the key service does not answer.
 */
export async function findCanaryKey(ring: KekRing, row: Canary): Promise<string | null> {
  const named = rootKeyOfBlob(row.canary);
  if (named !== null) return ring.get(named) === null ? null : named;
  for (const { id } of locals(ring)) {
    try {
      wipe(await unwrap(ring, id, row));
      return id;
    } catch (error) {
      if (!(error instanceof VaultError)) throw error;
    }
  }
  return null;
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

function opened(
  deps: { readonly store: Pick<Store, 'asSystem'>; readonly ring: KekRing; readonly clock: () => number },
  row: Canary,
  bytes: Buffer,
): Deployment {
  try {
    return Object.freeze({ id: row.id, key: createSecretKey(bytes), check: createCheck(deps, row) });
  } finally {
    wipe(bytes);
  }
}

function createCheck(
  {
    store,
    ring,
    clock,
  }: { readonly store: Pick<Store, 'asSystem'>; readonly ring: KekRing; readonly clock: () => number },
  first: Canary,
): Deployment['check'] {
  let row = first;
  let last: { readonly at: number; readonly result: Promise<'open' | 'cached'> } | null = null;
  let openedAt = clock();

  async function ask(): Promise<'open' | 'cached'> {
    const at = clock();
    try {
      await open();
      openedAt = at;
      return 'open';
    } catch (error) {
      const { cause } = error as Error;
      const isAway = cause instanceof KekError && cause.code === 'unavailable';
      if (isAway && Math.abs(clock() - openedAt) < openedMs) return 'cached';
      throw error;
    }
  }

  async function open(): Promise<void> {
    try {
      wipe(await openCanary(ring, row));
    } catch (error) {
      if (
        error instanceof SallyportError &&
        error.cause instanceof KekError &&
        error.cause.code !== 'wrong_key'
      )
        throw error;
      // Another node may have sealed it anew, and its old key may be gone.
      const now = (await store.asSystem(read)).row;
      if (now === undefined || now.canary.equals(row.canary)) throw error;
      wipe(await openCanary(ring, now));
      row = now;
    }
  }

  return () => {
    const isFresh = last !== null && Math.abs(clock() - last.at) < checkedMs;
    // A local key is asked in microseconds, and a ring that was closed must be told at once.
    if (last !== null && isFresh && rootKeyOfBlob(row.canary) !== null) return last.result;
    last = { at: clock(), result: ask() };
    return last.result;
  };
}

/** @returns the canary's bytes, the caller's to wipe. @throws {SallyportError} */
export async function openCanary(ring: KekRing, row: Canary): Promise<Buffer> {
  const named = rootKeyOfBlob(row.canary);
  if (named !== null && (ring.get(named)?.state ?? 'retired') === 'retired')
    return refuse(`The canary of deployment ${row.id} was sealed under ${named}, which is not in the ring.`);
  for (const { id } of named === null ? locals(ring) : [{ id: named }]) {
    try {
      return await unwrap(ring, id, row);
    } catch (error) {
      if (error instanceof KekError) return sealed(error);
      if (!(error instanceof VaultError)) throw error;
      if (error.code === 'VAULT_TAMPERED') {
        refuse(
          `The canary was sealed under ${id}, but for another deployment than ${row.id}, or it was changed.`,
        );
      }
      if (error.code === 'VAULT_FORMAT') refuse(`The canary of deployment ${row.id} is damaged.`);
    }
  }
  const tried = ring.list().filter(({ state }) => state !== 'retired');
  return refuse(
    `The keyring does not fit the database: the canary of deployment ${row.id} opens under none of ${tried.map(({ id }) => id).join(', ')}.`,
  );
}

function locals(ring: KekRing) {
  return ring.list().filter(({ scheme }) => scheme === 'local');
}

function unwrap(ring: KekRing, rootKeyId: string, row: Canary): Promise<Buffer> {
  return ring.unwrap(rootKeyId, kinds.canary, canaryContext(row.id), row.canary);
}

const fixes: Readonly<Record<KekError['code'], string>> = {
  denied:
    'Give this gateway’s token or credentials the right to encrypt and decrypt with it: docs/root-keys.md.',
  unavailable: 'See whether the key service runs and can be reached from here, then start again.',
  wrong_key:
    'Name the root key that this database was sealed under; it may have been deleted in the key service.',
  disabled: 'Enable it in the key service, or cancel its deletion: without it no stored key opens.',
};

/** What a key service said, for whoever has to mend it: the code tells one fault from another. */
function sealed(error: unknown): never {
  if (!(error instanceof KekError)) throw error;
  throw new SallyportError('VAULT_SEALED', `${error.message} (${error.code})`, {
    fix: fixes[error.code],
    retryAfter: Math.ceil((error.retryAfterMs ?? 1000) / 1000),
    cause: error,
  });
}

function refuse(message: string): never {
  throw new SallyportError('CONFIG_INVALID', message, {
    fix: 'Start with the keyring and the database that belong together; nothing was changed.',
  });
}
