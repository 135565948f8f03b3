import { SallyportError } from '../errors.ts';
import type { ExitCheck, Place } from './exit-check.ts';
import { checkSecret } from './intake.ts';
import type { PreparedKey } from './open.ts';
import { maxSecretBytes } from './secret-bytes.ts';

/** A provider key that came with the call itself and is stored nowhere. */
export interface GivenKey {
  readonly workspaceId: string;
  readonly provider: string;
  /** `bearer` or `header:NAME`. */
  readonly auth: string;
  readonly origins: readonly string[];
  /** 8 to 8192 bytes. Stays the caller's to wipe, and is read until then. */
  readonly secret: Buffer;
}

/**
 * The same checks on the way out as for a stored key.
 *
 * @throws {SallyportError} KEY_FORMAT; never echoes the value. KEY_INVALID: a credential goes with every auth but `none`.
 */
export function prepareGiven(exit: ExitCheck, given: GivenKey): PreparedKey {
  const { provider, origins, secret } = given;
  checkSecret(secret);
  const header = headerOf(given.auth);
  let isOver = false;
  return Object.freeze({
    maxBytes: Math.min(maxSecretBytes, secret.length),
    openInto(into: Buffer, offset: number, place: Place): number {
      if (isOver) throw new SallyportError('VAULT_SEALED', 'The call is over.');
      exit.checkHeader(header, place);
      exit.checkOrigin(provider, origins, place.origin);
      if (into.length - offset < secret.length)
        throw new SallyportError('KEY_INVALID', 'There is no room for the key.');
      into.set(secret, offset);
      exit.checkSecret(provider, into.subarray(offset, offset + secret.length));
      return secret.length;
    },
    checkOrigin(): void {
      throw new SallyportError('KEY_INVALID', 'The key came with a credential.');
    },
    wipe(): void {
      isOver = true;
    },
  });
}

function headerOf(auth: string): string {
  if (auth === 'bearer') return 'authorization';
  if (auth.startsWith('header:')) return auth.slice('header:'.length).toLowerCase();
  throw new SallyportError('KEY_INVALID', 'This provider takes no credential.');
}
