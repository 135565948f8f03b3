import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { isCredentialHeader } from './credential-header.ts';
import { isPrintable, maxSecretBytes } from './secret-bytes.ts';

/** Where a secret is about to go: the socket's own origin and the header's lower-case name. */
export interface Place {
  readonly origin: string;
  readonly header: string;
}

export interface ExitCheckDeps {
  /** The one origin of a known provider, canonical or set by the operator; null for a custom one. */
  readonly knownOrigins: (provider: string) => string | null;
  /** Has this key administrative power at its provider? Such a key relays nothing. Judged on bytes. */
  readonly isAdministrative?: ((provider: string, secret: Buffer) => boolean) | undefined;
}

/**
 * What holds for every secret on its way out, whoever made the payload that it came from, and for one that was never stored.
 * Each refuses with a SallyportError: KEY_INVALID or KEY_ORIGIN.
 */
export function createExitCheck({ knownOrigins, isAdministrative = () => false }: ExitCheckDeps) {
  return Object.freeze({
    checkHeader(storedFor: string | null, place: Place): void {
      if (storedFor === place.header && isCredentialHeader(place.header)) return;
      throw new SallyportError('KEY_INVALID', 'The key was not stored for this kind of credential.');
    },
    checkOrigin(provider: string, origins: readonly string[], origin: string): void {
      const known = knownOrigins(provider);
      if (origins.includes(origin) && (known === null || known === origin)) return;
      throw new SallyportError('KEY_ORIGIN', `The key was not stored for ${origin}.`);
    },
    /** @param written  the secret where it stands to be sent; wiped when it is refused. */
    checkSecret(provider: string, written: Buffer): void {
      const { length } = written;
      const refusal =
        length === 0 || length > maxSecretBytes || !isPrintable(written)
          ? 'The stored key holds bytes that no header may carry.'
          : isAdministrative(provider, written)
            ? 'A key with administrative power is not used for calls.'
            : null;
      if (refusal === null) return;
      wipe(written);
      throw new SallyportError('KEY_INVALID', refusal);
    },
  });
}

export type ExitCheck = ReturnType<typeof createExitCheck>;
