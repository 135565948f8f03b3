import { timingSafeEqual } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { sealContext } from './context.ts';
import { createHpke, deriveKeyPair, type HpkeKeyPair } from './hpke.ts';

/** What a payload is sealed with for a seal; clients compose the same. */
export const sealHpke = createHpke('sallyport/v1/seal');

/** The seal that a row was sealed to. */
export interface SealOf {
  readonly workspaceId: string;
  readonly provider: string;
  readonly sealId: string | null;
  readonly sealPublicKey: Uint8Array | null;
}

/** @param ikm  32 bytes, what `sps_…` carries. */
export function sealPublicKeyOf(ikm: Uint8Array): Buffer {
  return deriveKeyPair(ikm).publicKey;
}

/**
 * The key pair that a seal's secret stands for. Nothing is opened to see whether it is the right one.
 *
 * @param ikm  stays the caller's to wipe, at once if he likes.
 * @throws {SallyportError} SEAL_REQUIRED, SEAL_WRONG; KEY_INVALID: the row names no seal.
 */
export function sealPairOf(
  ikm: Uint8Array | null,
  { sealId, sealPublicKey }: Pick<SealOf, 'sealId' | 'sealPublicKey'>,
): HpkeKeyPair {
  if (ikm === null) throw new SallyportError('SEAL_REQUIRED', 'The key opens only with its seal.');
  if (sealId === null || sealPublicKey?.byteLength !== 32)
    throw new SallyportError('KEY_INVALID', 'The key is sealed, but its seal is not known.');
  const pair = ikm.byteLength === 32 ? deriveKeyPair(ikm) : null;
  if (pair !== null && timingSafeEqual(pair.publicKey, sealPublicKey)) return pair;
  throw new SallyportError(
    'SEAL_WRONG',
    'The seal that came along is not the one that the key was sealed to.',
  );
}

export function sealContextOf({ workspaceId, provider, sealId }: SealOf): Buffer {
  return sealContext({ workspaceId, provider, sealId: sealId ?? '' });
}
