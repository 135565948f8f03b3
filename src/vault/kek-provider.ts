import type { Kind } from './record.ts';

/** Where root keys live: in the keyring itself, in a Transit engine (HashiCorp Vault, OpenBao), in AWS KMS. */
export type KekScheme = 'local' | 'transit' | 'kms';

export type KekErrorCode =
  /** The key service knows us and says no: to this one record, or to us altogether. */
  | 'denied'
  /** It does not answer, is sealed, throttles, or fails. */
  | 'unavailable'
  /** The root key is not there: not in the ring, retired, or unknown to the service. */
  | 'wrong_key'
  /** The service has it, switched off or waiting for its deletion. */
  | 'disabled';

/**
 * Why a root key cannot be used now. What it was asked to open may be whole; a record that was changed is a VaultError.
 * Carries no secret and nothing of the service's answer but its code.
 */
export class KekError extends Error {
  override readonly name = 'KekError';
  readonly code: KekErrorCode;
  /** False: of this one record (a policy that denies a workspace). True: whoever asks now for another record hears the same. */
  readonly isWide: boolean;
  /** Milliseconds until it is worth asking again; null: not known. */
  readonly retryAfterMs: number | null;

  constructor(
    code: KekErrorCode,
    message: string,
    options: { readonly isWide?: boolean; readonly retryAfterMs?: number; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.isWide = options.isWide ?? code !== 'denied';
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/**
 * Holds root keys and wraps small secrets (up to 4096 bytes) with them. `context` is a record's place (context.ts), bound to the blob:
 * one that was moved does not open. One contract suite runs over every scheme (test/vault/kek-contract.test.ts).
 */
export interface KekProvider {
  readonly scheme: KekScheme;
  /** Ids of the root keys that it holds. */
  list(): readonly string[];
  /** `bytes` stays the caller's to wipe. @throws {KekError} */
  wrap(id: string, kind: Kind, context: Uint8Array, bytes: Uint8Array): Promise<Buffer>;
  /**
   * @returns plaintext in memory of its own, the caller's to wipe.
   * @throws {KekError} the key cannot be used. {VaultError} the blob is of another key, format or place.
   */
  unwrap(id: string, kind: Kind, context: Uint8Array, blob: Buffer): Promise<Buffer>;
  /**
   * Wraps and opens 32 random bytes in `context`, and makes sure that they do not open in another.
   *
   * @throws {KekError}, {VaultError} what keeps the key from being used. {Error} it opens in a place that is not its own.
   */
  selfTest(id: string, context: Uint8Array): Promise<void>;
  close(): void;
}

/** The largest secret that is wrapped: what AWS KMS takes in one Encrypt. */
export const maxWrappedBytes = 4096;
