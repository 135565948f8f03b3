import type { Store, Tx } from '../db/store.ts';
import { isId, newId } from '../ids.ts';
import { checkSecret } from '../vault/intake.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { createOnce, onceOf } from './idempotency.ts';
import {
  checkNotIn,
  checkSharing,
  checkSharingIds,
  claimCustomName,
  demandStoring,
  insertVersion,
  macOfKey,
  sealRow,
} from './key-row.ts';
import {
  checkShape,
  type Place,
  type PlaceInput,
  type Places,
  readPlace,
  readProvider,
} from './key-place.ts';
import { type KeyRow, type KeyView, type Sharing, viewKey } from './key-view.ts';
import { invalid, readMaybeMoment } from './moment.ts';
import { can, demand } from './permissions.ts';

export interface NewKey extends PlaceInput {
  readonly description?: string | null | undefined;
  readonly expiresAt?: string | null | undefined;
  /** Left out: the caller's own user. */
  readonly userId?: string | undefined;
  readonly sharedWith?: Sharing | undefined;
  /** Stores a value of another shape than the provider's keys have. */
  readonly force?: boolean | undefined;
}

export interface KeyIntakeDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'sealSecret' | 'rowMac' | 'checkRowMac'>;
  readonly places: Places;
  readonly clock: () => number;
}

type Draft = Omit<KeyRow, 'mac' | 'last4' | 'fingerprint'>;

/** Takes provider keys in. The secret stays the caller's to wipe. */
export function createKeyIntake({ store, act, vault, places, clock }: KeyIntakeDeps) {
  return Object.freeze({
    /**
     * @param secret printable ASCII, 8 to 8192 bytes; null with auth `none`.
     * @param replay finds the key of an earlier request with the same Idempotency-Key.
     * @throws {SallyportError} REQUEST_INVALID, KEY_FORMAT, EGRESS_REFUSED, NOT_FOUND, FORBIDDEN, CONFLICT.
     */
    async create(
      caller: Caller,
      input: NewKey,
      secret: Buffer | null,
      idempotencyKey: string | null,
      replay: (id: string) => Promise<KeyView>,
    ): Promise<KeyView> {
      demand(caller, 'keys:write');
      const provider = readProvider(places, input);
      const userId = input.userId ?? caller.userId;
      if (!isId('usr', userId) || (userId !== caller.userId && !can(caller.role, 'keys:all')))
        throw notFound('user');
      checkSharingIds(input.sharedWith);
      // By the network he also stores what his customers name; private origins are for his own keys, or for his own command line.
      const isOperators = caller.isOperator && (caller.type !== 'admin' || userId === caller.userId);
      const place = readPlace(places, isOperators, provider, input);
      checkValue(provider, place, input, secret);
      const expiresAt = readMaybeMoment('/expiresAt', input.expiresAt);
      const draft = draftOf(caller, userId, provider, 'own', place, input, expiresAt);

      // Of the value only its keyed fingerprint: a plain hash would let a reader of the database test guesses.
      const fingerprint = idempotencyKey === null ? null : await fingerprintOf(caller, draft, secret);
      return createOnce(store, caller, onceOf(idempotencyKey, 'key', { ...input, fingerprint }), clock(), {
        create: (remember) => storeNew(caller, draft, secret, input.force ?? false, remember),
        replay,
      });
    },

    /** By the workspace's fingerprint, so that no value has to be opened. */
    async isSameValue(tx: Tx, row: KeyRow, secret: Buffer): Promise<boolean> {
      checkSecret(secret);
      return (await sealRow(tx, vault, row, secret)).fingerprint === row.fingerprint;
    },

    /** The operator's own key, by way of his environment: its shape is taken as it is. */
    async storeManaged(caller: Caller, provider: string, secret: Buffer): Promise<KeyView> {
      checkSecret(secret);
      const input = { name: provider, provider, description: 'From the environment' };
      const place = readPlace(places, false, readProvider(places, input), input);
      const draft = draftOf(caller, caller.userId, provider, 'managed', place, input, null);
      return storeNew(caller, draft, secret, true, () => Promise.resolve());
    },
  });

  function checkValue(provider: string, place: Place, input: NewKey, secret: Buffer | null): void {
    if (place.auth === 'none') {
      if (secret !== null) throw invalid('/value', 'is not for auth none: nothing is sent there');
      return;
    }
    if (secret === null) throw invalid('/value', 'is required');
    checkSecret(secret);
    if (input.force !== true) checkShape(places.providers.get(provider), provider, secret);
    checkNotIn(secret, { name: input.name, description: input.description });
  }

  async function storeNew(
    caller: Caller,
    draft: Draft,
    secret: Buffer | null,
    isForced: boolean,
    remember: (tx: Tx, id: string) => Promise<void>,
  ): Promise<KeyView> {
    const { id, user_id, provider, source, auth, origins, operator_origin } = draft;
    const fields = {
      keyId: id,
      userId: user_id,
      provider,
      source,
      auth,
      origins,
      operatorOrigin: operator_origin,
      sharedWith: draft.shared_with,
      isForced,
      version: 1,
    };
    const { value } = await act(caller, 'key.create', fields, async (tx) => {
      await demandStoring(tx, caller.workspaceId);
      await checkUser(tx, caller, user_id);
      await checkSharing(tx, caller, draft.shared_with);
      if (provider === 'custom') await claimCustomName(tx, draft);
      const sealed = await sealRow(tx, vault, draft, secret);
      const bare = { ...draft, last4: sealed.last4, fingerprint: sealed.fingerprint };
      const row: KeyRow = { ...bare, mac: await macOfKey(vault, bare) };
      await tx
        .insertInto('provider_keys')
        .values({ ...row, shared_with: JSON.stringify(row.shared_with), last_test: 'null' })
        .execute();
      await insertVersion(tx, row, sealed, row.created_at);
      await remember(tx, row.id);
      return row;
    });
    return viewKey(value, caller, clock());
  }

  async function fingerprintOf(caller: Caller, draft: Draft, secret: Buffer | null): Promise<string | null> {
    return (await store.asWorkspace(caller.workspaceId, (tx) => sealRow(tx, vault, draft, secret)))
      .fingerprint;
  }
  function draftOf(
    caller: Caller,
    userId: string,
    provider: string,
    source: KeyRow['source'],
    place: Place,
    input: NewKey,
    expiresAt: Date | null,
  ): Draft {
    const now = new Date(clock());
    return {
      id: newId('key', now.getTime()),
      workspace_id: caller.workspaceId,
      user_id: userId,
      name: input.name,
      description: input.description ?? null,
      provider,
      source,
      protection: 'standard',
      seal_id: null,
      auth: place.auth,
      origins: place.origins,
      base_path: place.basePath,
      operator_origin: place.isOperatorOrigin,
      version: 1,
      is_active: true,
      shared_with: input.sharedWith ?? null,
      expires_at: expiresAt,
      auth_failed_at: null,
      last_used_at: null,
      last_test: null,
      purpose: 'relay',
      rotate_after_days: 180,
      value_set_at: now,
      expiry_warned_days: null,
      rotation_reminded_at: null,
      created_at: now,
      updated_at: now,
    };
  }
}

async function checkUser(tx: Tx, caller: Caller, userId: string): Promise<void> {
  const user = await tx
    .selectFrom('users')
    .select('id')
    .where('workspace_id', '=', caller.workspaceId)
    .where('id', '=', userId)
    .executeTakeFirst();
  found(user, 'user');
}
