import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { findCanaryKey } from './deployment.ts';
import type { KekRing } from './keyring.ts';

/** What of the database opens with a root key. */
export interface RootKeyUse {
  readonly workspaceKeys: number;
  readonly intakeKeys: number;
  readonly signingKeys: number;
  readonly canary: boolean;
}

const nothing: RootKeyUse = { workspaceKeys: 0, intakeKeys: 0, signingKeys: 0, canary: false };

/**
 * By root key's id; a key that nothing uses is not in it.
 *
 * @param isExact  waits for whoever writes such rows at this moment, and keeps others from it while it counts: before a key is let go of.
 * @throws {KekError} the canary is under a key in a service that does not answer.
 */
export async function surveyRootKeys(
  deps: { readonly store: Pick<Store, 'asSystem'>; readonly ring: KekRing; readonly deploymentId: string },
  { isExact = false }: { readonly isExact?: boolean } = {},
): Promise<ReadonlyMap<string, RootKeyUse>> {
  const found = await deps.store.asSystem(async (tx) => {
    if (isExact) {
      await sql`set local lock_timeout = '5s'`.execute(tx);
      await sql`lock table workspace_keys, intake_keys, signing_keys, deployment in share mode`.execute(tx);
    }
    return {
      workspaceKeys: await countBy(tx, 'workspace_keys'),
      intakeKeys: await countBy(tx, 'intake_keys'),
      signingKeys: await countBy(tx, 'signing_keys'),
      deployment: await tx.selectFrom('deployment').select('canary').executeTakeFirst(),
    };
  });
  const uses = new Map<string, RootKeyUse>();
  const add = (id: string, more: Partial<RootKeyUse>): void =>
    void uses.set(id, { ...(uses.get(id) ?? nothing), ...more });
  for (const { id, count } of found.workspaceKeys) add(id, { workspaceKeys: Number(count) });
  for (const { id, count } of found.intakeKeys) add(id, { intakeKeys: Number(count) });
  for (const { id, count } of found.signingKeys) add(id, { signingKeys: Number(count) });
  if (found.deployment !== undefined) {
    const id = await findCanaryKey(deps.ring, { id: deps.deploymentId, canary: found.deployment.canary });
    if (id !== null) add(id, { canary: true });
  }
  return uses;
}

/** How many rows each root key wraps, without the canary: works while a key service is away. */
export async function countByRootKey(store: Pick<Store, 'asSystem'>): Promise<ReadonlyMap<string, number>> {
  const rows = await store.asSystem(async (tx) => [
    ...(await countBy(tx, 'workspace_keys')),
    ...(await countBy(tx, 'intake_keys')),
    ...(await countBy(tx, 'signing_keys')),
  ]);
  const counts = new Map<string, number>();
  for (const { id, count } of rows) counts.set(id, (counts.get(id) ?? 0) + Number(count));
  return counts;
}

/** The root keys that anything is under, the canary included; asks no key service. */
export async function rootKeysInUse({
  store,
  ring,
}: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly ring: KekRing;
}): Promise<ReadonlySet<string>> {
  const used = new Set((await countByRootKey(store)).keys());
  const row = await store.asSystem((tx) =>
    tx.selectFrom('deployment').select(['id', 'canary']).executeTakeFirst(),
  );
  const canary = row === undefined ? null : await findCanaryKey(ring, row);
  return canary === null ? used : used.add(canary);
}

export function useOf(uses: ReadonlyMap<string, RootKeyUse>, id: string): RootKeyUse {
  return uses.get(id) ?? nothing;
}

/** A signing key that another has taken over from is under none any more. */
async function countBy(tx: Tx, table: 'workspace_keys' | 'intake_keys' | 'signing_keys') {
  const rows = await tx
    .selectFrom(table)
    .select((select) => ['root_key_id as id', select.fn.countAll().as('count')])
    .where('root_key_id', 'is not', null)
    .groupBy('root_key_id')
    .execute();
  return rows.map(({ id, count }) => ({ id: id as string, count }));
}
