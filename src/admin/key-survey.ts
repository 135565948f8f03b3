import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';

const pageRows = 500;

/** Ids of the stored keys that do not open. Data keys are unwrapped to see, of sealed keys too; no payload is opened. */
export async function findUndecryptable({
  store,
  vault,
}: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly vault: Pick<Vault, 'checkWrap'>;
}): Promise<string[]> {
  const broken: string[] = [];
  for (let after = ''; ;) {
    const rows = await store.asSystem((tx) =>
      tx
        .selectFrom('provider_keys as k')
        .innerJoin('provider_key_versions as v', (join) =>
          join.onRef('v.key_id', '=', 'k.id').onRef('v.version', '=', 'k.version'),
        )
        .select(['k.id', 'k.workspace_id', 'k.version', 'k.provider', 'k.protection', 'k.auth'])
        .select(['k.seal_id', 'v.wrap', 'v.payload', 'v.workspace_key_version'])
        .where('k.id', '>', after)
        .orderBy('k.id')
        .limit(pageRows)
        .execute(),
    );
    for (const row of rows) {
      const {
        id: keyId,
        workspace_id: workspaceId,
        workspace_key_version: workspaceKeyVersion,
        seal_id: sealId,
        ...rest
      } = row;
      const key = { ...rest, keyId, workspaceId, workspaceKeyVersion, sealId, sealPublicKey: null };
      await vault.checkWrap(key).catch((error: unknown) => {
        if (!(error instanceof SallyportError) || error.code !== 'KEY_INVALID') throw error;
        broken.push(keyId);
      });
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < pageRows) return broken;
    after = last.id;
  }
}

/** Where the stored keys of known providers may go: after an operator changed an origin, they answer KEY_ORIGIN. */
export async function listKeyOrigins({ store }: { readonly store: Pick<Store, 'asSystem'> }) {
  return store.asSystem((tx) =>
    tx
      .selectFrom('provider_keys')
      .select(['id', 'provider', 'origins'])
      .where('provider', '!=', 'custom')
      .orderBy('id')
      .execute(),
  );
}
