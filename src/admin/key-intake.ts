import type { Store, Tx } from '../db/store.ts';
import { isId, newId } from '../ids.ts';
import { checkSecret } from '../vault/intake.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { createOnce, onceOf } from './idempotency.ts';
import { findDuplicates } from './key-duplicates.ts';
import {
  checkSealId,
  type ContentVault,
  hasContent,
  type KeyContent,
  readProtection,
  sealContent,
  type SentContent,
  type SentProtection,
  withContent,
} from './key-content.ts';
import { checkNotIn, insertVersion, macOfKey } from './key-row.ts';
import { claimCustomName } from './custom-name.ts';
import { checkSharing, checkSharingIds } from './key-sharing.ts';
import { demandStoring, storedFor } from './storing.ts';
import {
  checkShape,
  type Place,
  type PlaceInput,
  type Places,
  purposeOf,
  readPlace,
  readProvider,
  readStreamUsage,
} from './key-place.ts';
import { type KeyRow, type KeyView, type Sharing, viewKey } from './key-view.ts';
import { invalid, readMaybeMoment } from './moment.ts';
import { can, demand } from './permissions.ts';

export interface NewKey extends PlaceInput, SentContent, SentProtection {
  readonly description?: string | null | undefined;
  readonly expiresAt?: string | null | undefined;
  /** Left out: the caller's own user. */
  readonly userId?: string | undefined;
  readonly sharedWith?: Sharing | undefined;
  /** 0 to 1000, 1 unless told: its part of the calls among keys that could all pay. */
  readonly weight?: number | undefined;
  /** For `custom`: its origin takes `stream_options.include_usage`. */
  readonly streamUsage?: boolean | undefined;
  /** 180 days unless told; null: never. */
  readonly rotateAfterDays?: number | null | undefined;
  /** Stores a value of another shape than the provider's keys have. */
  readonly force?: boolean | undefined;
}

export interface KeyIntakeDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: ContentVault & Pick<Vault, 'fingerprintOf'>;
  readonly places: Places;
  readonly clock: () => number;
}

/** A reminder, not a rule: half a year is what most policies ask for. */
const usualRotationDays = 180;

type Draft = Omit<KeyRow, 'mac' | 'last4' | 'fingerprint'>;

/** Takes provider keys in. The secret stays the caller's to wipe. */
export function createKeyIntake({ store, act, vault, places, clock }: KeyIntakeDeps) {
  return Object.freeze({
    /**
     * @param value printable ASCII, 8 to 8192 bytes; null with auth `none`, or where the input holds it sealed.
     * @param replay finds the key of an earlier request with the same Idempotency-Key.
     * @throws {SallyportError} REQUEST_INVALID, KEY_FORMAT, EGRESS_REFUSED, NOT_FOUND, FORBIDDEN, CONFLICT, KEY_INVALID (the seal).
     */
    async create(
      caller: Caller,
      input: NewKey,
      value: Buffer | null,
      idempotencyKey: string | null,
      replay: (id: string) => Promise<KeyView>,
    ): Promise<KeyView> {
      demand(caller, 'keys:write');
      const provider = readProvider(places, input);
      const userId = input.userId ?? caller.userId;
      if (!isId('usr', userId) || (userId !== caller.userId && !can(caller.role, 'keys:all')))
        throw notFound('user');
      checkSharingIds(input.sharedWith);
      checkSealId(input);
      // By the network he also stores what his customers name; private origins are for his own keys, or for his own command line.
      const isOperators = caller.isOperator && (caller.type !== 'admin' || userId === caller.userId);
      const place = readPlace(places, isOperators, provider, input);
      const expiresAt = readMaybeMoment('/expiresAt', input.expiresAt);
      return withContent(
        vault,
        { workspaceId: caller.workspaceId, provider },
        input,
        value,
        async (content) => {
          checkContent(provider, place, input, content);
          const draft = {
            ...draftOf(caller, userId, provider, 'own', place, input, expiresAt),
            ...readProtection(input, place.auth, content),
            purpose: purposeOf(places, provider, content.secret),
          };
          // Of the value only its keyed fingerprint: a plain hash would let a reader of the database test guesses. Sealed to the intake
          // key it is another text each time.
          const { sealedValue: _, ...told } = input;
          const fingerprint =
            idempotencyKey === null || content.secret === null
              ? null
              : await vault.fingerprintOf(caller.workspaceId, content.secret);
          return createOnce(store, caller, onceOf(idempotencyKey, 'key', { ...told, fingerprint }), clock(), {
            create: (remember) => storeNew(caller, draft, content, input.force ?? false, remember),
            replay,
          });
        },
      );
    },

    /** By the workspace's fingerprint, so that no value has to be opened. */
    async isSameValue(row: KeyRow, secret: Buffer): Promise<boolean> {
      checkSecret(secret);
      return (await vault.fingerprintOf(row.workspace_id, secret)) === row.fingerprint;
    },

    /** The operator's own key, by way of his environment: its shape is taken as it is. */
    async storeManaged(caller: Caller, provider: string, secret: Buffer): Promise<KeyView> {
      checkSecret(secret);
      const input = { name: provider, provider, description: 'From the environment' };
      const place = readPlace(places, false, readProvider(places, input), input);
      const draft = {
        ...draftOf(caller, caller.userId, provider, 'managed', place, input, null),
        purpose: purposeOf(places, provider, secret),
      };
      return storeNew(caller, draft, { secret, sealedPayload: null }, true, () => Promise.resolve());
    },
  });

  function checkContent(provider: string, place: Place, input: NewKey, content: KeyContent): void {
    const { secret } = content;
    if (place.auth === 'none') {
      if (hasContent(content)) throw invalid('/value', 'is not for auth none: nothing is sent there');
      if (typeof input.rotateAfterDays === 'number')
        throw invalid('/rotateAfterDays', 'is not for auth none: there is no value');
      return;
    }
    if (!hasContent(content)) throw invalid('/value', 'is required');
    // What a client sealed himself nobody here can look into.
    if (secret === null) return;
    checkSecret(secret);
    if (input.force !== true) checkShape(places.providers.get(provider), provider, secret);
    checkNotIn(secret, { name: input.name, description: input.description });
  }

  async function storeNew(
    caller: Caller,
    draft: Draft,
    content: KeyContent,
    isForced: boolean,
    remember: (tx: Tx, id: string) => Promise<void>,
  ): Promise<KeyView> {
    const { id, user_id, provider, source, auth, origins, operator_origin } = draft;
    const fields = {
      keyId: id,
      userId: user_id,
      provider,
      source,
      purpose: draft.purpose,
      auth,
      origins,
      operatorOrigin: operator_origin,
      sharedWith: draft.shared_with,
      weight: draft.weight,
      streamUsage: draft.stream_usage,
      ...(draft.seal_id === null ? {} : { sealId: draft.seal_id }),
      isForced,
      version: 1,
    };
    // A first reading of the workspace's key takes a connection of its own, which a full pool would not have inside the transaction.
    await vault.workspaceKey(caller.workspaceId, 1);
    const { value } = await act(caller, 'key.create', fields, async (tx) => {
      await demandStoring(tx, caller.workspaceId, storedFor(draft));
      await checkUser(tx, caller, user_id);
      await checkSharing(tx, caller, provider, draft.shared_with);
      if (provider === 'custom') await claimCustomName(tx, draft);
      const sealed = await sealContent(tx, vault, draft, content);
      const bare = { ...draft, last4: sealed.last4, fingerprint: sealed.fingerprint };
      const row: KeyRow = { ...bare, mac: await macOfKey(vault, bare) };
      await tx
        .insertInto('provider_keys')
        .values({ ...row, shared_with: JSON.stringify(row.shared_with), last_test: 'null' })
        .execute();
      await insertVersion(tx, row, sealed, row.created_at);
      await remember(tx, row.id);
      return { row, duplicates: await findDuplicates(tx, caller, [row]) };
    });
    return viewKey(value.row, caller, clock(), value.duplicates);
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
    const { rotateAfterDays = usualRotationDays } = input;
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
      rotate_after_days: place.auth === 'none' ? null : rotateAfterDays,
      value_set_at: now,
      expiry_warned_days: null,
      rotation_reminded_at: null,
      weight: input.weight ?? 1,
      stream_usage: readStreamUsage(provider, input.streamUsage ?? false),
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
