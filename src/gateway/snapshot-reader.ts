import { sql, type Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import type { ParsedToken } from '../ids.ts';
import { readPolicy } from '../token-policy.ts';
import { ownPrice, type PriceOverride } from '../providers/price-override.ts';
import { genuineSalts, readSalts } from '../vault/address-salts.ts';
import { keyMacFields, priceMacFields, sealMacFields, tokenMacFields } from '../vault/row-macs.ts';
import type { SealedKey, Vault } from '../vault/vault.ts';
import { createGenuineAliases } from './genuine-aliases.ts';
import type { CallerSnapshot, KeySnapshot, ModelAlias } from './snapshot.ts';

type TokenRow = Selectable<Schema['tokens']>;
type KeyRow = Selectable<Schema['provider_keys']>;
type SealRow = Selectable<Schema['seals']>;
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
  readonly now: () => number;
}

export function createSnapshotReader({ store, vault, onForgedRow, now }: SnapshotReaderDeps) {
  const genuineAliases = createGenuineAliases({ vault, onForgedRow });

  /** What a token grants; null for one that is unknown, wrong, revoked or forged. The database's errors pass. */
  async function read(token: ParsedToken): Promise<CallerSnapshot | null> {
    const row = await store.asLookup(token.prefix, (tx) =>
      tx.selectFrom('tokens').selectAll().where('prefix', '=', token.prefix).executeTakeFirst(),
    );
    if (row === undefined || row.kind !== 'gateway') return null;
    const found = await store.asWorkspace(row.workspace_id, (tx) => readWorkspace(tx, row, now()));
    vault.prime(found.workspaceKeys);
    if (!(await vault.checkVerifier(row.workspace_id, row.prefix, row.kind, token.secret, row.verifier)))
      return null;
    return snapshotOf(row, found);
  }

  /** The same for who may see the token and does not have it: nothing is opened with what comes of it. */
  async function describe(workspaceId: string, tokenId: string): Promise<CallerSnapshot | null> {
    const told = await store.asWorkspace(workspaceId, async (tx) => {
      const row = await tx
        .selectFrom('tokens')
        .selectAll()
        .where('workspace_id', '=', workspaceId)
        .where('id', '=', tokenId)
        .executeTakeFirst();
      return row === undefined || row.kind !== 'gateway'
        ? null
        : { row, found: await readWorkspace(tx, row, now()) };
    });
    if (told === null) return null;
    vault.prime(told.found.workspaceKeys);
    return snapshotOf(told.row, told.found);
  }

  /** What a token grants, of rows with a MAC of ours; null for one that is revoked or forged. */
  async function snapshotOf(
    row: TokenRow,
    found: Awaited<ReturnType<typeof readWorkspace>>,
  ): Promise<CallerSnapshot | null> {
    if (!(await vault.checkRowMac(row.workspace_id, 'tokens', tokenMacFields(row), row.mac))) {
      onForgedRow('tokens', row.id);
      return null;
    }
    if (row.revoked_at !== null) return null;
    const seals = await genuineSeals(found.seals);
    const keys: KeySnapshot[] = [];
    for (const key of found.keys) {
      const seal = seals.get(key.seal_id ?? '') ?? null;
      const isGenuine =
        (key.protection === 'standard' || seal !== null) &&
        (await vault.checkRowMac(key.workspace_id, 'provider_keys', keyMacFields(key), key.mac));
      if (isGenuine) keys.push(keySnapshot(vault, row.user_id, key, seal));
      else onForgedRow('provider_keys', key.id);
    }
    const aliases = await genuineAliases(row.workspace_id, found.aliases);
    const prices: PriceOverride[] = [];
    for (const price of found.prices) {
      if (await vault.checkRowMac(price.workspace_id, 'price_overrides', priceMacFields(price), price.mac))
        prices.push(priceOverride(price));
      else onForgedRow('price_overrides', price.id);
    }
    const addressSalts = await genuineSalts(vault, found.salts, onForgedRow);
    return { ...callerSnapshot(row, keys, aliases, prices), addressSalts };
  }

  /**
   * One key, whose row the caller has read and checked.
   *
   * @throws {SallyportError} KEY_MISSING: its version is gone. KEY_INVALID: its seal's row was edited behind our back.
   */
  async function readOne(key: KeyRow, { userId }: { readonly userId: string }): Promise<KeySnapshot> {
    const found = await store.asWorkspace(key.workspace_id, async (tx) => ({
      version: await tx
        .selectFrom('provider_key_versions')
        .select(['wrap', 'payload', 'workspace_key_version'])
        .where('key_id', '=', key.id)
        .where('version', '=', key.version)
        .executeTakeFirst(),
      seals: key.seal_id === null ? [] : await readSeals(tx, key.workspace_id, [key.seal_id]),
    }));
    if (found.version === undefined) throw new SallyportError('KEY_MISSING', 'The key is gone.');
    const seal = (await genuineSeals(found.seals)).get(key.seal_id ?? '') ?? null;
    if (key.protection === 'sealed' && seal === null)
      throw new SallyportError('KEY_INVALID', 'The seal of the key was changed behind the gateway’s back.');
    return keySnapshot(vault, userId, { ...key, ...found.version }, seal);
  }

  /** Whoever can exchange a public key would have the next keys sealed to himself: nothing is done with such a row. */
  async function genuineSeals(rows: readonly SealRow[]): Promise<ReadonlyMap<string, SealRow>> {
    const genuine = new Map<string, SealRow>();
    for (const seal of rows) {
      if (await vault.checkRowMac(seal.workspace_id, 'seals', sealMacFields(seal), seal.mac)) {
        genuine.set(seal.id, seal);
      } else {
        onForgedRow('seals', seal.id);
      }
    }
    return genuine;
  }

  return Object.freeze({ read, readOne, describe });
}

async function readWorkspace(tx: Tx, token: TokenRow, now: number) {
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
  const sealIds = [...new Set(keys.flatMap((key) => key.seal_id ?? []))];
  const seals = sealIds.length === 0 ? [] : await readSeals(tx, token.workspace_id, sealIds);
  const sealedKeys = workspaceKeys.map((row) => ({
    workspaceId: row.workspace_id,
    version: row.version,
    rootKeyId: row.root_key_id,
    record: row.record,
  }));
  const aliases = await tx
    .selectFrom('model_aliases')
    .selectAll()
    .where('workspace_id', '=', token.workspace_id)
    .orderBy('alias')
    .execute();
  const prices = await tx
    .selectFrom('price_overrides')
    .selectAll()
    .where('workspace_id', '=', token.workspace_id)
    .orderBy('id')
    .execute();
  const salts = await readSalts(tx, token.workspace_id, token.user_id, now);
  return { workspaceKeys: sealedKeys, keys, seals, aliases, prices, salts };
}

function readSeals(tx: Tx, workspaceId: string, ids: readonly string[]): Promise<SealRow[]> {
  return tx
    .selectFrom('seals')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .where('id', 'in', ids)
    .execute();
}

/** A key as its user sees it. @param seal  its row, with a MAC that was checked; null for a standard key. */
function keySnapshot(
  vault: Pick<Vault, 'prepare'>,
  userId: string,
  row: KeyRow & VersionRow,
  seal: Pick<SealRow, 'public_key'> | null,
): KeySnapshot {
  const auth = row.auth as KeySnapshot['auth'];
  const sealed: SealedKey = {
    workspaceId: row.workspace_id,
    keyId: row.id,
    version: row.version,
    provider: row.provider,
    protection: row.protection,
    sealId: row.seal_id,
    sealPublicKey: seal?.public_key ?? null,
    workspaceKeyVersion: row.workspace_key_version,
    wrap: row.wrap,
    payload: row.payload,
    auth,
  };
  const isCallersOwn = row.user_id === userId;
  return {
    id: row.id,
    name: row.name,
    provider: row.provider,
    ownerId: row.user_id,
    source: row.source === 'managed' ? 'managed' : isCallersOwn ? 'own' : 'shared',
    isCallersOwn,
    protection: row.protection,
    auth,
    origins: row.origins,
    basePath: row.base_path,
    isOperatorOrigin: row.operator_origin,
    version: row.version,
    fingerprint: row.fingerprint,
    purpose: row.purpose,
    weight: row.weight,
    asksStreamUsage: row.stream_usage,
    isActive: row.is_active,
    isRefused: row.auth_failed_at !== null,
    expiresAt: row.expires_at?.getTime() ?? null,
    sealed,
    prepare: (secret) => vault.prepare(sealed, secret),
  };
}

const precedence = { own: 0, shared: 1, managed: 2 } as const;

/** Ids sort by the time that they were made. */
function byAge(a: KeySnapshot, b: KeySnapshot): number {
  const isOlder = a.id < b.id ? -1 : 1;
  return a.source === 'own' ? -isOlder : isOlder;
}

/** Of a row whose MAC was checked, so that its prices are what was checked when they were set. */
function priceOverride(row: Selectable<Schema['price_overrides']>): PriceOverride {
  return {
    provider: row.provider,
    model: row.model,
    effectiveFrom: row.effective_from.getTime(),
    price: ownPrice(JSON.parse(row.prices) as Readonly<Record<string, string>>, row.id),
  };
}

function callerSnapshot(
  row: TokenRow,
  keys: KeySnapshot[],
  aliases: readonly ModelAlias[],
  prices: readonly PriceOverride[],
): Omit<CallerSnapshot, 'addressSalts'> {
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
    endpoints: row.endpoints,
    networks: row.networks,
    policy: readPolicy(row.policy),
    aliases,
    prices,
    expiresAt: row.expires_at?.getTime() ?? null,
    refusedKeys: keys.filter(({ isRefused }) => isRefused),
    keys: keys.toSorted((a, b) => precedence[a.source] - precedence[b.source] || byAge(a, b)),
  };
}
