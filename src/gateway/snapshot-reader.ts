import { sql, type Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import type { ParsedToken } from '../ids.ts';
import { keyMacFields, tokenMacFields } from '../vault/row-macs.ts';
import type { SealedKey, Vault } from '../vault/vault.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';

type TokenRow = Selectable<Schema['tokens']>;
type KeyRow = Selectable<Schema['provider_keys']>;
interface VersionRow {
  readonly wrap: Buffer;
  readonly payload: Buffer;
  readonly workspace_key_version: number;
}

export interface SnapshotReaderDeps {
  readonly store: Pick<Store, 'asLookup' | 'asWorkspace'>;
  readonly vault: Pick<Vault, 'prime' | 'checkVerifier' | 'checkRowMac' | 'prepare'>;
  /** A row whose MAC is wrong was written round us: alarm. */
  readonly onForgedRow: (table: string, id: string) => void;
}

/** Reads what a token grants; null for a token that is unknown, wrong, revoked or forged. The database's errors pass. */
export function createSnapshotReader({ store, vault, onForgedRow }: SnapshotReaderDeps) {
  return async function read(token: ParsedToken): Promise<CallerSnapshot | null> {
    const row = await store.asLookup(token.prefix, (tx) =>
      tx.selectFrom('tokens').selectAll().where('prefix', '=', token.prefix).executeTakeFirst(),
    );
    if (row === undefined || row.kind !== 'gateway') return null;
    const found = await store.asWorkspace(row.workspace_id, (tx) => readWorkspace(tx, row));
    vault.prime(found.workspaceKeys);
    if (!(await vault.checkVerifier(row.workspace_id, row.prefix, row.kind, token.secret, row.verifier)))
      return null;
    if (!(await vault.checkRowMac(row.workspace_id, 'tokens', tokenMacFields(row), row.mac))) {
      onForgedRow('tokens', row.id);
      return null;
    }
    if (row.revoked_at !== null) return null;
    const keys: KeySnapshot[] = [];
    for (const key of found.keys) {
      if (await vault.checkRowMac(key.workspace_id, 'provider_keys', keyMacFields(key), key.mac)) {
        keys.push(keySnapshot(vault, row, key));
      } else {
        onForgedRow('provider_keys', key.id);
      }
    }
    return callerSnapshot(row, keys);
  };
}

async function readWorkspace(tx: Tx, token: TokenRow) {
  const workspaceKeys = await tx
    .selectFrom('workspace_keys')
    .selectAll()
    .where('workspace_id', '=', token.workspace_id)
    .execute();
  const keys = await tx
    .selectFrom('provider_keys as k')
    .innerJoin('provider_key_versions as v', (join) =>
      join.onRef('v.key_id', '=', 'k.id').onRef('v.version', '=', 'k.version'),
    )
    .innerJoin('workspaces as w', 'w.id', 'k.workspace_id')
    .selectAll('k')
    .select(['v.wrap', 'v.payload', 'v.workspace_key_version'])
    .where('k.workspace_id', '=', token.workspace_id)
    .where((eb) =>
      eb.or([
        eb('k.user_id', '=', token.user_id),
        eb(sql`k.shared_with`, '=', sql`'"workspace"'::jsonb`),
        sql<boolean>`k.shared_with @> to_jsonb(array[${token.user_id}::text])`,
        eb.and([eb('k.source', '=', 'managed'), eb('w.managed_keys', '=', true)]),
      ]),
    )
    .orderBy('k.id', 'desc')
    .execute();
  const sealedKeys = workspaceKeys.map((row) => ({
    workspaceId: row.workspace_id,
    version: row.version,
    rootKeyId: row.root_key_id,
    record: row.record,
  }));
  return { workspaceKeys: sealedKeys, keys };
}

/** A key as the user sees it who makes the call, or tests it. */
export function keySnapshot(
  vault: Pick<Vault, 'prepare'>,
  user: { readonly user_id: string },
  row: KeyRow & VersionRow,
): KeySnapshot {
  const auth = row.auth as KeySnapshot['auth'];
  const sealed: SealedKey = {
    workspaceId: row.workspace_id,
    keyId: row.id,
    version: row.version,
    provider: row.provider,
    protection: row.protection,
    workspaceKeyVersion: row.workspace_key_version,
    wrap: row.wrap,
    payload: row.payload,
    auth,
  };
  const isCallersOwn = row.user_id === user.user_id;
  return {
    id: row.id,
    name: row.name,
    provider: row.provider,
    source: row.source === 'managed' ? 'managed' : isCallersOwn ? 'own' : 'shared',
    isCallersOwn,
    protection: row.protection,
    auth,
    origins: row.origins,
    basePath: row.base_path,
    isOperatorOrigin: row.operator_origin,
    version: row.version,
    isActive: row.is_active,
    expiresAt: row.expires_at?.getTime() ?? null,
    sealed,
    prepare: () => vault.prepare(sealed),
  };
}

const precedence = { own: 0, shared: 1, managed: 2 } as const;

/** Ids sort by the time that they were made. */
function byAge(a: KeySnapshot, b: KeySnapshot): number {
  const isOlder = a.id < b.id ? -1 : 1;
  return a.source === 'own' ? -isOlder : isOlder;
}

function callerSnapshot(row: TokenRow, keys: KeySnapshot[]): CallerSnapshot {
  return {
    tokenId: row.id,
    prefix: row.prefix,
    workspaceId: row.workspace_id,
    userId: row.user_id,
    providers: row.providers,
    models: row.models,
    keyIds: row.key_ids,
    requestsPerMinute: row.requests_per_minute,
    concurrentCalls: row.concurrent_calls,
    expiresAt: row.expires_at?.getTime() ?? null,
    keys: keys.toSorted((a, b) => precedence[a.source] - precedence[b.source] || byAge(a, b)),
  };
}
