import { randomBytes } from 'node:crypto';
import { sealSecretText } from '../../src/seal-text.ts';
import { sealPublicKeyOf } from '../../src/vault/seal-pair.ts';

/** What a client makes when it makes a seal: only the public key leaves it. */
export interface TestSeal {
  readonly ikm: Buffer;
  /** `sps_…` */
  readonly secret: string;
  /** base64url */
  readonly publicKey: string;
}

export function newSeal(ikm: Buffer = randomBytes(32)): TestSeal {
  return { ikm, secret: sealSecretText(ikm), publicKey: sealPublicKeyOf(ikm).toString('base64url') };
}
