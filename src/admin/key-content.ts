import type { Tx } from '../db/store.ts';
import { isId } from '../ids.ts';
import { wipe } from '../secret.ts';
import type { Vault } from '../vault/vault.ts';
import { notFound } from './found.ts';
import { invalid } from './moment.ts';
import { insertVersion, type Sealed, type SealedVersion } from './key-row.ts';
import type { KeyRow } from './key-view.ts';
import type { Place } from './key-place.ts';
import { readGenuineSeal } from './seal-row.ts';

/** What was sent to be kept: a value, or a payload that its sender sealed himself; neither with auth `none`. */
export interface KeyContent {
  readonly secret: Buffer | null;
  readonly sealedPayload: Buffer | null;
}

/** The members of a request that hold it, besides `value`, which never becomes a string. */
export interface SentContent {
  /** `ik_….<base64url>`: a value, sealed to the intake key. */
  readonly sealedValue?: string | undefined;
  /** base64: a payload, sealed to the seal that `sealId` names. */
  readonly sealedPayload?: string | undefined;
}

export interface SentProtection {
  readonly protection?: KeyRow['protection'] | undefined;
  readonly sealId?: string | null | undefined;
}

export type ContentVault = Pick<
  Vault,
  'sealSecret' | 'sealClientPayload' | 'openIntake' | 'workspaceKey' | 'rowMac' | 'checkRowMac'
>;

/**
 * Opens what came sealed to the intake key for the time of `work`, and wipes it.
 *
 * @param value the caller's to wipe.
 * @throws {SallyportError} REQUEST_INVALID: more than one of the three, or one that does not open; what `work` throws.
 */
export async function withContent<T>(
  vault: Pick<Vault, 'openIntake'>,
  place: { readonly workspaceId: string; readonly provider: string },
  { sealedValue, sealedPayload }: SentContent,
  value: Buffer | null,
  work: (content: KeyContent) => Promise<T>,
): Promise<T> {
  if ([value, sealedValue, sealedPayload].filter((one) => one !== null && one !== undefined).length > 1) {
    const path = sealedValue === undefined ? '/sealedPayload' : '/sealedValue';
    throw invalid(path, 'stands in place of a value: send one of value, sealedValue and sealedPayload');
  }
  const payload = sealedPayload === undefined ? null : readBase64(sealedPayload);
  const opened = sealedValue === undefined ? null : await vault.openIntake(sealedValue, place);
  try {
    return await work({ secret: value ?? opened, sealedPayload: payload });
  } finally {
    wipe(opened);
  }
}

export function hasContent({ secret, sealedPayload }: KeyContent): boolean {
  return secret !== null || sealedPayload !== null;
}

/**
 * Which seal a key goes under stands in the journal, which is never erased: only an id does, and not the secret that was pasted in its
 * place.
 *
 * @throws {SallyportError} NOT_FOUND
 */
export function checkSealId({ sealId }: SentProtection): void {
  if (typeof sealId === 'string' && !isId('seal', sealId)) throw notFound('seal');
}

/**
 * How a key is to be protected, as the request says, or as it is.
 *
 * @throws {SallyportError} REQUEST_INVALID
 */
export function readProtection(
  sent: SentProtection,
  auth: string,
  content: KeyContent,
  now: Pick<KeyRow, 'protection' | 'seal_id'> = { protection: 'standard', seal_id: null },
): Pick<KeyRow, 'protection' | 'seal_id'> {
  const protection = sent.protection ?? now.protection;
  if (protection !== 'sealed') {
    if ((sent.sealId ?? null) !== null) throw invalid('/sealId', 'is for protection sealed');
    if (content.sealedPayload !== null) throw invalid('/sealedPayload', 'is for protection sealed');
    return { protection, seal_id: null };
  }
  if (auth === 'none') throw invalid('/protection', 'sealed is not for auth none: there is no secret');
  const seal_id = sent.sealId === undefined ? now.seal_id : sent.sealId;
  if (seal_id === null) throw invalid('/sealId', 'is required for protection sealed');
  return { protection, seal_id };
}

/**
 * Seals the content for the place that the row names, to its seal where it has one. Only the seal's public key is needed.
 *
 * @throws {SallyportError} NOT_FOUND (no such seal here), KEY_INVALID (the seal was written round us), what the vault throws.
 */
export async function sealContent(
  tx: Tx,
  vault: ContentVault,
  row: Pick<
    KeyRow,
    'workspace_id' | 'id' | 'version' | 'provider' | 'auth' | 'origins' | 'protection' | 'seal_id'
  >,
  { secret, sealedPayload }: KeyContent,
): Promise<Sealed> {
  const place = {
    workspaceId: row.workspace_id,
    keyId: row.id,
    version: row.version,
    provider: row.provider,
  };
  const seal = row.seal_id === null ? null : await readGenuineSeal(tx, vault, row.workspace_id, row.seal_id);
  if (sealedPayload !== null) return vault.sealClientPayload(tx, { ...place, sealedPayload });
  return vault.sealSecret(tx, {
    ...place,
    auth: row.auth as Place['auth'],
    secret,
    origins: row.origins,
    seal: seal === null ? null : { id: seal.id, publicKey: seal.public_key },
  });
}

/** The content of a version that follows another; what stood there before is shredded. */
export async function replaceVersion(tx: Tx, row: KeyRow, sealed: SealedVersion, now: Date): Promise<void> {
  await tx
    .deleteFrom('provider_key_versions')
    .where('workspace_id', '=', row.workspace_id)
    .where('key_id', '=', row.id)
    .execute();
  await insertVersion(tx, row, sealed, now);
}

/** Standard or URL alphabet, padded or not. */
function readBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  const canonical = text
    .replaceAll('-', '+')
    .replaceAll('_', '/')
    .replace(/={1,2}$/, '');
  if (bytes.length > 0 && bytes.toString('base64').replace(/={1,2}$/, '') === canonical) return bytes;
  throw invalid('/sealedPayload', 'is not base64');
}
