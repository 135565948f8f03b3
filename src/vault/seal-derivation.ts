import { argon2 } from 'node:crypto';
import type { SealDerivation } from '../db/schema.ts';
import { secretCopy, wipe } from '../secret.ts';

/**
 * How a seal's secret comes from a passphrase: argon2id (RFC 9106). The parameters are no secret and stand beside the public key, so
 * whoever has both can guess: what makes a guess dear is here. Least memory and passes: OWASP's password storage cheat sheet
 * (19 MiB, 2 passes, 1 lane); the most keeps a gateway that lies from exhausting its client.
 */
export const derivationBounds = {
  saltBytes: { least: 16, most: 64 },
  memoryKiB: { least: 19 * 1024, most: 1024 * 1024 },
  passes: { least: 2, most: 16 },
  parallelism: { least: 1, most: 4 },
} as const;

export const leastPassphraseBytes = 12;

/** 64 MiB and 3 passes: a second choice of RFC 9106 (section 4) for machines of every size; about 0.2 s here. */
export function newDerivation(salt: Buffer): SealDerivation {
  return {
    type: 'argon2id',
    salt: salt.toString('base64url'),
    memoryKiB: 64 * 1024,
    passes: 3,
    parallelism: 1,
  };
}

/** Within the bounds, and its salt in base64url's one form. What another program sent has no type, and a salt of any length before it is read. */
export function isDerivation({ type, salt, memoryKiB, passes, parallelism }: SealDerivation): boolean {
  const isWithin = (value: number, { least, most }: { readonly least: number; readonly most: number }) =>
    Number.isSafeInteger(value) && value >= least && value <= most;
  if (typeof salt !== 'string' || salt.length > 2 * derivationBounds.saltBytes.most) return false;
  const bytes = Buffer.from(salt, 'base64url');
  return (
    type === 'argon2id' &&
    bytes.toString('base64url') === salt &&
    isWithin(bytes.length, derivationBounds.saltBytes) &&
    isWithin(memoryKiB, derivationBounds.memoryKiB) &&
    isWithin(passes, derivationBounds.passes) &&
    isWithin(parallelism, derivationBounds.parallelism)
  );
}

/** @returns the 32 bytes of a seal's secret, the caller's to wipe; the passphrase stays his too. */
export function secretOfPassphrase(passphrase: Uint8Array, derivation: SealDerivation): Promise<Buffer> {
  if (!isDerivation(derivation)) return Promise.reject(new RangeError('no derivation of a seal'));
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const parameters = {
    message: passphrase,
    nonce: Buffer.from(derivation.salt, 'base64url'),
    parallelism: derivation.parallelism,
    tagLength: 32,
    memory: derivation.memoryKiB,
    passes: derivation.passes,
  };
  argon2('argon2id', parameters, (error, tag) => {
    if (error !== null) {
      reject(error);
      return;
    }
    const secret = secretCopy(tag);
    wipe(tag);
    resolve(secret);
  });
  return promise;
}
