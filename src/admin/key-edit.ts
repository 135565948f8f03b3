import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { checkSecret } from '../vault/intake.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import {
  checkSealId,
  type ContentVault,
  hasContent,
  type KeyContent,
  readProtection,
  replaceVersion,
  sealContent,
  type SentContent,
  type SentProtection,
  withContent,
} from './key-content.ts';
import {
  checkCustomName,
  checkSamePurpose,
  checkShape,
  type Places,
  purposeOf,
  readStreamUsage,
} from './key-place.ts';
import { checkNotIn, demandGenuine, lockKey, macOfKey, shred } from './key-row.ts';
import { claimCustomName } from './custom-name.ts';
import { checkSharing, checkSharingIds } from './key-sharing.ts';
import { demandStoring, storedFor } from './storing.ts';
import { etagOf, type KeyRow, type Sharing } from './key-view.ts';
import { invalid, iso, readMaybeMoment } from './moment.ts';

/** A part of a key: what is left out stays. */
export interface KeyChange extends SentContent, SentProtection {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  readonly isActive?: boolean | undefined;
  readonly expiresAt?: string | null | undefined;
  readonly sharedWith?: Sharing | undefined;
  readonly weight?: number | undefined;
  readonly streamUsage?: boolean | undefined;
  readonly rotateAfterDays?: number | null | undefined;
  readonly force?: boolean | undefined;
}

export interface KeyEditDeps {
  readonly act: Act;
  readonly vault: ContentVault;
  readonly places: Places;
  readonly clock: () => number;
}

export function createKeyEdit({ act, vault, places, clock }: KeyEditDeps) {
  return Object.freeze({
    /**
     * @param value a new value; null to keep the one that is there, or where the change holds a new one sealed.
     * @param seen the row as the caller may see it (what it concerns stands in the journal).
     * @param ifMatch `If-Match` as sent, or null.
     * @throws {SallyportError} NOT_FOUND, FORBIDDEN, PRECONDITION_FAILED, KEY_INVALID, KEY_FORMAT, REQUEST_INVALID, CONFLICT.
     */
    async change(
      caller: Caller,
      seen: KeyRow,
      change: KeyChange,
      value: Buffer | null,
      ifMatch: string | null,
    ): Promise<KeyRow> {
      const expiresAt = readMaybeMoment('/expiresAt', change.expiresAt);
      checkSharingIds(change.sharedWith);
      checkSealId(change);
      const place = { workspaceId: caller.workspaceId, provider: seen.provider };
      return withContent(vault, place, change, value, (content) =>
        changeWith(caller, seen, change, content, ifMatch, expiresAt),
      );
    },

    /** A new value for a row that the caller was found to own. */
    async replaceValue(caller: Caller, seen: KeyRow, secret: Buffer): Promise<void> {
      checkSecret(secret);
      checkSamePurpose(seen.purpose, purposeOf(places, seen.provider, secret));
      const fields = { keyId: seen.id, userId: seen.user_id, provider: seen.provider, changed: ['value'] };
      await act(caller, 'key.update', fields, async (tx) => {
        const row = await lockKey(tx, caller, seen.id);
        await demandStoring(tx, caller.workspaceId, storedFor(row));
        await demandGenuine(vault, row);
        return save(tx, await renew(tx, row, { secret, sealedPayload: null }));
      });
    },

    /** @returns the receipt. Also for a row that was tampered with: to be rid of it is always right. */
    async remove(caller: Caller, seen: KeyRow, ifMatch: string | null): Promise<string> {
      const fields = { keyId: seen.id, userId: seen.user_id, provider: seen.provider, version: seen.version };
      const { receipt } = await act(caller, 'key.delete', fields, async (tx) => {
        const row = await lockKey(tx, caller, seen.id);
        demandMatch(row, ifMatch);
        await shred(tx, caller.workspaceId, [row.id]);
      });
      return receipt;
    },
  });

  async function changeWith(
    caller: Caller,
    seen: KeyRow,
    change: KeyChange,
    content: KeyContent,
    ifMatch: string | null,
    expiresAt: Date | null,
  ): Promise<KeyRow> {
    const isNew = hasContent(content);
    if (isNew) checkNew(seen, change, content);
    const silent = new Set(['force', 'sealedValue', 'sealedPayload']);
    const changed = Object.keys(change).filter((name) => !silent.has(name));
    const fields = {
      keyId: seen.id,
      userId: seen.user_id,
      provider: seen.provider,
      changed: isNew ? [...changed, 'value'] : changed,
      ...(change.protection === undefined ? {} : { protection: change.protection }),
      ...(change.sealId === undefined ? {} : { sealId: change.sealId }),
      ...(change.isActive === undefined ? {} : { isActive: change.isActive }),
      ...(change.sharedWith === undefined ? {} : { sharedWith: change.sharedWith }),
      ...(change.expiresAt === undefined ? {} : { expiresAt: iso(expiresAt) }),
      ...(change.rotateAfterDays === undefined ? {} : { rotateAfterDays: change.rotateAfterDays }),
      ...(change.weight === undefined ? {} : { weight: change.weight }),
      ...(change.streamUsage === undefined ? {} : { streamUsage: change.streamUsage }),
    };
    const { value } = await act(caller, 'key.update', fields, async (tx) => {
      const row = await lockKey(tx, caller, seen.id);
      if (isNew) await demandStoring(tx, caller.workspaceId, storedFor(row));
      demandMatch(row, ifMatch);
      await demandGenuine(vault, row);
      const edited: KeyRow = {
        ...row,
        ...readProtection(change, row.auth, content, row),
        name: change.name ?? row.name,
        description: change.description === undefined ? row.description : change.description,
        is_active: change.isActive ?? row.is_active,
        expires_at: change.expiresAt === undefined ? row.expires_at : expiresAt,
        shared_with: change.sharedWith === undefined ? row.shared_with : change.sharedWith,
        weight: change.weight ?? row.weight,
        stream_usage: readStreamUsage(row.provider, change.streamUsage ?? row.stream_usage),
        ...remindersOf(row, change, expiresAt),
      };
      const isMoved = edited.protection !== row.protection || edited.seal_id !== row.seal_id;
      if (isMoved && !isNew) {
        throw invalid('/protection', 'changes only together with a new value');
      }
      if (change.sharedWith !== undefined)
        await checkSharing(tx, caller, row.provider, change.sharedWith, row.shared_with);
      if (row.provider === 'custom') {
        if (edited.name !== row.name) checkCustomName(places, edited.name);
        if (edited.name !== row.name || change.sharedWith !== undefined) await claimCustomName(tx, edited);
      }
      return save(tx, isNew ? await renew(tx, edited, content) : edited);
    });
    return value;
  }

  function checkNew(seen: KeyRow, change: KeyChange, { secret }: KeyContent): void {
    if (seen.auth === 'none') throw invalid('/value', 'is not for auth none: nothing is sent there');
    if (secret === null) return;
    checkSecret(secret);
    if (change.force !== true) checkShape(places.providers.get(seen.provider), seen.provider, secret);
    checkSamePurpose(seen.purpose, purposeOf(places, seen.provider, secret));
    checkNotIn(secret, { name: change.name ?? seen.name, description: change.description });
  }

  /**
   * Version + 1, sealed to the origins in force now, and to the same seal where there is one, which takes no secret; the version before
   * is shredded, calls in flight keep what they have opened.
   */
  async function renew(tx: Tx, row: KeyRow, content: KeyContent): Promise<KeyRow> {
    const isCustom = row.provider === 'custom';
    const origins = isCustom ? row.origins : [places.originOf(row.provider)];
    if (isCustom) {
      for (const origin of origins) places.checkOrigin(origin, row.operator_origin ? 'operator' : 'public');
    }
    const now = new Date(clock());
    const next = {
      ...row,
      origins,
      version: row.version + 1,
      auth_failed_at: null,
      last_test: null,
      value_set_at: now,
      // A new value may live longer: who was reminded of the old one is reminded again.
      expiry_warned_days: null,
      rotation_reminded_at: null,
    };
    const sealed = await sealContent(tx, vault, next, content);
    await replaceVersion(tx, next, sealed, now);
    return { ...next, last4: sealed.last4, fingerprint: sealed.fingerprint };
  }

  async function save(tx: Tx, row: KeyRow): Promise<KeyRow> {
    const saved = { ...row, updated_at: new Date(clock()) };
    const mac = await macOfKey(vault, saved);
    await tx
      .updateTable('provider_keys')
      .set({
        name: saved.name,
        description: saved.description,
        is_active: saved.is_active,
        expires_at: saved.expires_at,
        shared_with: JSON.stringify(saved.shared_with),
        protection: saved.protection,
        seal_id: saved.seal_id,
        origins: saved.origins,
        version: saved.version,
        last4: saved.last4,
        fingerprint: saved.fingerprint,
        auth_failed_at: saved.auth_failed_at,
        last_test: JSON.stringify(saved.last_test),
        weight: saved.weight,
        stream_usage: saved.stream_usage,
        rotate_after_days: saved.rotate_after_days,
        value_set_at: saved.value_set_at,
        expiry_warned_days: saved.expiry_warned_days,
        rotation_reminded_at: saved.rotation_reminded_at,
        updated_at: saved.updated_at,
        mac,
      })
      .where('workspace_id', '=', saved.workspace_id)
      .where('id', '=', saved.id)
      .execute();
    return { ...saved, mac };
  }
}

/** What was moved is reminded of anew. */
function remindersOf(
  row: KeyRow,
  { expiresAt, rotateAfterDays: days = row.rotate_after_days }: KeyChange,
  moment: Date | null,
): Pick<KeyRow, 'rotate_after_days' | 'expiry_warned_days' | 'rotation_reminded_at'> {
  if (days !== null && row.auth === 'none')
    throw invalid('/rotateAfterDays', 'is not for auth none: there is no value');
  const isExpiryMoved = expiresAt !== undefined && moment?.getTime() !== row.expires_at?.getTime();
  return {
    rotate_after_days: days,
    expiry_warned_days: isExpiryMoved ? null : row.expiry_warned_days,
    rotation_reminded_at: days === row.rotate_after_days ? row.rotation_reminded_at : null,
  };
}

/** @throws {SallyportError} PRECONDITION_FAILED: somebody else was quicker. */
function demandMatch(row: KeyRow, ifMatch: string | null): void {
  if (ifMatch === null || ifMatch.trim() === '*') return;
  const sent = ifMatch.split(',').map((tag) => tag.trim());
  if (!sent.includes(etagOf(row))) {
    throw new SallyportError('PRECONDITION_FAILED', 'The key was changed since you read it.');
  }
}
