import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import type { Journal } from '../journal/journal.ts';
import type { SealedKey, Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { replaceVersion } from './key-content.ts';
import { demandEdit, demandGenuine, lockKey, macOfKey } from './key-row.ts';
import type { KeyRow } from './key-view.ts';
import { visibleKeys } from './key-visibility.ts';
import { invalid } from './moment.ts';
import { can, demand } from './permissions.ts';
import { forgedSeal, isGenuineSeal, readGenuineSeal, type SealRow } from './seal-row.ts';

/** Keys of one request: each takes an opening and a sealing, and all are one transaction. */
export const mostResealed = 200;

export interface Resealed {
  readonly sealId: string;
  /** Sealed to it now, each with a new version. */
  readonly keyIds: readonly string[];
  /** Keys of the old seal that the caller may change and that are still sealed to it: the same request again takes them. */
  readonly remaining: number;
  /** Null where there was nothing to do. */
  readonly receipt: string | null;
}

/** 32 bytes each, in memory of their own; the caller wipes them. */
export interface ResealSecrets {
  readonly old: Buffer;
  readonly next: Buffer;
}

export interface ResealDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly journal: Pick<Journal, 'append'>;
  readonly vault: Pick<Vault, 'workspaceKey' | 'rowMac' | 'checkRowMac' | 'reseal' | 'sealPublicKeyOf'>;
  readonly clock: () => number;
}

/** Seals keys to another seal. Both secrets are needed: the old one opens the keys, the new one shows that somebody has it. */
export function createReseal({ store, act, journal, vault, clock }: ResealDeps) {
  /**
   * One transaction: new versions, the old ones shredded, or nothing. Then each key has a record of its own, which its owner finds
   * under it.
   *
   * @param keyIds null: every key of the old seal that the caller may change, at most 200 a request.
   * @throws {SallyportError} SEAL_WRONG, NOT_FOUND, FORBIDDEN, REQUEST_INVALID, CONFLICT, KEY_INVALID.
   */
  return async function reseal(
    caller: Caller,
    sealId: string,
    keyIds: readonly string[] | null,
    secrets: ResealSecrets,
  ): Promise<Resealed> {
    demand(caller, 'seals:write');
    demand(caller, 'keys:write');
    await vault.workspaceKey(caller.workspaceId, 1);
    const { from, keys } = await store.asWorkspace(caller.workspaceId, async (tx) => {
      const seal = await readGenuineSeal(tx, vault, caller.workspaceId, sealId);
      if (!vault.sealPublicKeyOf(secrets.next).equals(seal.public_key)) {
        throw new SallyportError('SEAL_WRONG', 'The new seal’s secret is not the one of this seal.', {
          fix: 'Send the secret of the seal in the path as x-sallyport-new-seal.',
        });
      }
      const from = await sealsOf(tx, caller, sealId, vault.sealPublicKeyOf(secrets.old));
      return { from, keys: await keysToReseal(tx, caller, sealId, from, keyIds) };
    });
    const now = keys.slice(0, mostResealed).map(({ id }) => id);
    if (now.length === 0) return { sealId, keyIds: [], remaining: 0, receipt: null };
    const fields = { sealId, userId: caller.userId, keyIds: now };
    const { value, receipt } = await act(caller, 'key.reseal', fields, async (tx) => {
      const resealed: KeyRow[] = [];
      // Again, and locked: deleted meanwhile it would be no seal to refer to.
      const seal = await readGenuineSeal(tx, vault, caller.workspaceId, sealId);
      for (const id of now)
        resealed.push(
          await resealOne(tx, caller, id, seal, from, secrets).catch((error: unknown) => blame(id, error)),
        );
      return resealed;
    });
    await record(caller, value, receipt);
    return { sealId, keyIds: now, remaining: keys.length - now.length, receipt };
  };

  /** It is done already, and the intent has the ids: were the journal's refusal told as an error, the caller would do it twice. */
  async function record(caller: Caller, resealed: readonly KeyRow[], receipt: string): Promise<void> {
    const { workspaceId } = caller;
    const actor = { type: caller.type, id: caller.id };
    await Promise.allSettled(
      resealed.map(({ id, user_id: userId, provider, version, seal_id: sealId }) =>
        journal.append('key.resealed', {
          workspaceId,
          actor,
          keyId: id,
          userId,
          provider,
          version,
          sealId,
          act: receipt,
        }),
      ),
    );
  }

  /** Every seal of the workspace with this public key but the new one. */
  async function sealsOf(
    tx: Tx,
    caller: Caller,
    newId: string,
    publicKey: Buffer,
  ): Promise<readonly SealRow[]> {
    const rows = await tx
      .selectFrom('seals')
      .selectAll()
      .where('workspace_id', '=', caller.workspaceId)
      .where('public_key', '=', publicKey)
      .where('id', '<>', newId)
      .execute();
    for (const row of rows) if (!(await isGenuineSeal(vault, row))) throw forgedSeal();
    if (rows.length > 0) return rows;
    throw new SallyportError('SEAL_WRONG', 'The old seal’s secret is not the one of any other seal here.', {
      fix: 'Send the secret that the keys are sealed to now as x-sallyport-seal.',
    });
  }

  async function resealOne(
    tx: Tx,
    caller: Caller,
    id: string,
    seal: SealRow,
    from: readonly SealRow[],
    secrets: ResealSecrets,
  ): Promise<KeyRow> {
    const row = await lockKey(tx, caller, id);
    await demandGenuine(vault, row);
    const old = sealOf(row, from);
    const version = found(
      await tx
        .selectFrom('provider_key_versions')
        .select(['wrap', 'payload', 'workspace_key_version'])
        .where('workspace_id', '=', row.workspace_id)
        .where('key_id', '=', row.id)
        .where('version', '=', row.version)
        .executeTakeFirst(),
      'provider key',
    );
    const sealedKey: SealedKey = {
      workspaceId: row.workspace_id,
      keyId: row.id,
      version: row.version,
      provider: row.provider,
      protection: row.protection,
      auth: row.auth,
      sealId: old.id,
      sealPublicKey: old.public_key,
      workspaceKeyVersion: version.workspace_key_version,
      wrap: version.wrap,
      payload: version.payload,
    };
    const sealed = await vault.reseal(
      tx,
      sealedKey,
      secrets.old,
      { version: row.version + 1 },
      { id: seal.id, publicKey: seal.public_key, secret: secrets.next },
    );
    const now = new Date(clock());
    const next: KeyRow = { ...row, seal_id: seal.id, version: row.version + 1, updated_at: now };
    await replaceVersion(tx, next, sealed, now);
    // Last four characters and fingerprint stay as they are: the value is the same, and of a client's own payload none were told.
    await tx
      .updateTable('provider_keys')
      .set({
        seal_id: next.seal_id,
        version: next.version,
        updated_at: now,
        mac: await macOfKey(vault, next),
      })
      .where('workspace_id', '=', row.workspace_id)
      .where('id', '=', row.id)
      .execute();
    return next;
  }
}

/** Those that were asked for, in the order of their ids; each is one that the caller may change and that the old seal opens. */
async function keysToReseal(
  tx: Tx,
  caller: Caller,
  newId: string,
  from: readonly SealRow[],
  keyIds: readonly string[] | null,
): Promise<readonly KeyRow[]> {
  if (keyIds === null) {
    const all = await visibleKeys(tx, caller)
      .selectAll()
      .where(
        'seal_id',
        'in',
        from.map(({ id }) => id),
      )
      .orderBy('id')
      .execute();
    return all.filter((row) => row.user_id === caller.userId || can(caller.role, 'keys:all'));
  }
  if (keyIds.length === 0) return [];
  if (!keyIds.every((id) => isId('key', id))) throw notFound('provider key');
  const rows = await visibleKeys(tx, caller).selectAll().where('id', 'in', keyIds).orderBy('id').execute();
  if (rows.length < new Set(keyIds).size) throw notFound('provider key');
  for (const row of rows) {
    demandEdit(caller, row);
    if (row.seal_id === newId) {
      throw new SallyportError('CONFLICT', 'One of the keys is sealed to this seal already.', {
        fix: 'Leave it out of keyIds.',
      });
    }
    sealOf(row, from);
  }
  return rows;
}

/** One key that a client sealed badly, or that was tampered with, would keep all others from being sealed anew without a word which it is. */
function blame(id: string, error: unknown): never {
  if (!(error instanceof SallyportError) || error.code !== 'KEY_INVALID') throw error;
  throw new SallyportError('KEY_INVALID', `${id}: ${error.message}`, {
    fix: 'Store that key anew or delete it; or name the other keys in keyIds.',
    cause: error,
  });
}

/** @throws {SallyportError} REQUEST_INVALID: not sealed. SEAL_WRONG: to another seal than the old secret's. */
function sealOf(row: KeyRow, from: readonly SealRow[]): SealRow {
  if (row.protection !== 'sealed') throw invalid('/keyIds', 'names a key that is not sealed');
  const seal = from.find(({ id }) => id === row.seal_id);
  if (seal !== undefined) return seal;
  throw new SallyportError('SEAL_WRONG', 'One of the keys is sealed to another seal than the old secret’s.');
}
