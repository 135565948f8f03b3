import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { checkSecret } from '../vault/intake.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { checkCustomName, checkShape, type Places } from './key-place.ts';
import {
  checkNotIn,
  checkSharing,
  checkSharingIds,
  claimCustomName,
  demandGenuine,
  demandStoring,
  insertVersion,
  lockKey,
  macOfKey,
  sealRow,
  shred,
} from './key-row.ts';
import { etagOf, type KeyRow, type Sharing } from './key-view.ts';
import { invalid, iso, readMaybeMoment } from './moment.ts';

/** A part of a key: what is left out stays. */
export interface KeyChange {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  readonly isActive?: boolean | undefined;
  readonly expiresAt?: string | null | undefined;
  readonly sharedWith?: Sharing | undefined;
  readonly force?: boolean | undefined;
}

export interface KeyEditDeps {
  readonly act: Act;
  readonly vault: Pick<Vault, 'sealSecret' | 'rowMac' | 'checkRowMac'>;
  readonly places: Places;
  readonly clock: () => number;
}

export function createKeyEdit({ act, vault, places, clock }: KeyEditDeps) {
  return Object.freeze({
    /**
     * @param secret a new value, or null to keep the one that is there.
     * @param seen the row as the caller may see it (what it concerns stands in the journal).
     * @param ifMatch `If-Match` as sent, or null.
     * @throws {SallyportError} NOT_FOUND, FORBIDDEN, PRECONDITION_FAILED, KEY_INVALID, KEY_FORMAT, REQUEST_INVALID, CONFLICT.
     */
    async change(
      caller: Caller,
      seen: KeyRow,
      change: KeyChange,
      secret: Buffer | null,
      ifMatch: string | null,
    ): Promise<KeyRow> {
      const expiresAt = readMaybeMoment('/expiresAt', change.expiresAt);
      checkSharingIds(change.sharedWith);
      if (secret !== null) checkNew(seen, change, secret);
      const changed = Object.keys(change).filter((name) => name !== 'force');
      const fields = {
        keyId: seen.id,
        userId: seen.user_id,
        provider: seen.provider,
        changed: secret === null ? changed : [...changed, 'value'],
        ...(change.isActive === undefined ? {} : { isActive: change.isActive }),
        ...(change.sharedWith === undefined ? {} : { sharedWith: change.sharedWith }),
        ...(change.expiresAt === undefined ? {} : { expiresAt: iso(expiresAt) }),
      };
      const { value } = await act(caller, 'key.update', fields, async (tx) => {
        const row = await lockKey(tx, caller, seen.id);
        demandMatch(row, ifMatch);
        await demandGenuine(vault, row);
        const edited: KeyRow = {
          ...row,
          name: change.name ?? row.name,
          description: change.description === undefined ? row.description : change.description,
          is_active: change.isActive ?? row.is_active,
          expires_at: change.expiresAt === undefined ? row.expires_at : expiresAt,
          shared_with: change.sharedWith === undefined ? row.shared_with : change.sharedWith,
        };
        if (change.sharedWith !== undefined) await checkSharing(tx, caller, change.sharedWith);
        if (row.provider === 'custom') {
          if (edited.name !== row.name) checkCustomName(places, edited.name);
          if (edited.name !== row.name || change.sharedWith !== undefined) await claimCustomName(tx, edited);
        }
        return save(tx, secret === null ? edited : await reseal(tx, edited, secret));
      });
      return value;
    },

    /** A new value for a row that the caller was found to own. */
    async replaceValue(caller: Caller, seen: KeyRow, secret: Buffer): Promise<void> {
      checkSecret(secret);
      const fields = { keyId: seen.id, userId: seen.user_id, provider: seen.provider, changed: ['value'] };
      await act(caller, 'key.update', fields, async (tx) => {
        const row = await lockKey(tx, caller, seen.id);
        await demandGenuine(vault, row);
        return save(tx, await reseal(tx, row, secret));
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

  function checkNew(seen: KeyRow, change: KeyChange, secret: Buffer): void {
    if (seen.auth === 'none') throw invalid('/value', 'is not for auth none: nothing is sent there');
    checkSecret(secret);
    if (change.force !== true) checkShape(places.providers.get(seen.provider), seen.provider, secret);
    checkNotIn(secret, { name: change.name ?? seen.name, description: change.description });
  }

  /** Version + 1, sealed to the origins in force now; the version before is shredded, calls in flight keep what they have opened. */
  async function reseal(tx: Tx, row: KeyRow, secret: Buffer): Promise<KeyRow> {
    await demandStoring(tx, row.workspace_id);
    const isCustom = row.provider === 'custom';
    const origins = isCustom ? row.origins : [places.originOf(row.provider)];
    if (isCustom) {
      for (const origin of origins) places.checkOrigin(origin, row.operator_origin ? 'operator' : 'public');
    }
    const next = { ...row, origins, version: row.version + 1, auth_failed_at: null, last_test: null };
    const sealed = await sealRow(tx, vault, next, secret);
    await tx
      .deleteFrom('provider_key_versions')
      .where('workspace_id', '=', row.workspace_id)
      .where('key_id', '=', row.id)
      .execute();
    await insertVersion(tx, next, sealed, new Date(clock()));
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
        origins: saved.origins,
        version: saved.version,
        last4: saved.last4,
        fingerprint: saved.fingerprint,
        auth_failed_at: saved.auth_failed_at,
        last_test: JSON.stringify(saved.last_test),
        updated_at: saved.updated_at,
        mac,
      })
      .where('workspace_id', '=', saved.workspace_id)
      .where('id', '=', saved.id)
      .execute();
    return { ...saved, mac };
  }
}

/** @throws {SallyportError} PRECONDITION_FAILED: somebody else was quicker. */
function demandMatch(row: KeyRow, ifMatch: string | null): void {
  if (ifMatch === null || ifMatch.trim() === '*') return;
  const sent = ifMatch.split(',').map((tag) => tag.trim());
  if (!sent.includes(etagOf(row))) {
    throw new SallyportError('PRECONDITION_FAILED', 'The key was changed since you read it.');
  }
}
