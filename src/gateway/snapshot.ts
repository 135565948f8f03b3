import type { TokenPolicy } from '../token-policy.ts';
import type { PriceOverride } from '../providers/price-override.ts';
import type { KeySource } from './target.ts';
import type { AddressSalt } from '../vault/address-salts.ts';
import type { PreparedKey, SealedKey } from '../vault/vault.ts';

/** A provider key as one caller sees it: its row, sealed, and how he comes to it. Never the value. */
export interface KeySnapshot {
  readonly id: string;
  readonly name: string;
  readonly provider: string;
  /** Whose key it is: he pays. */
  readonly ownerId: string;
  readonly source: Exclude<KeySource, 'pass-through'>;
  /** Stored for the caller himself, whatever its source: he may list what he keeps at the provider. */
  readonly isCallersOwn: boolean;
  readonly protection: 'standard' | 'sealed';
  readonly auth: 'bearer' | 'none' | `header:${string}`;
  readonly origins: readonly string[];
  readonly basePath: string;
  readonly isOperatorOrigin: boolean;
  readonly version: number;
  /** Of the value, 16 hex digits; null where the gateway never saw it, or there is none. */
  readonly fingerprint: string | null;
  /** `usage`: has power over the account, and is never lent out for a call. */
  readonly purpose: 'relay' | 'usage';
  /** Its part of the calls among usable keys of the same source and provider, 0 to 1000; 0: only when no other can. */
  readonly weight: number;
  /** For `custom`: its origin takes `stream_options.include_usage`. */
  readonly asksStreamUsage: boolean;
  readonly isActive: boolean;
  /** Its provider refused it, in a test of our own too; a good test or a new value ends that. */
  readonly isRefused: boolean;
  /** ms since the epoch, or null. */
  readonly expiresAt: number | null;
  readonly sealed: SealedKey;
  /**
   * Unwraps down to the record key; the payload stays closed. Cached by the vault.
   *
   * @param seal 32 bytes, the caller's to wipe when the call is over; a standard key does without.
   * @throws {SallyportError} SEAL_REQUIRED, SEAL_WRONG, KEY_INVALID, VAULT_SEALED.
   */
  prepare(seal: Uint8Array | null): Promise<PreparedKey>;
}

/** One `*` in `alias` stands for the one in `target`, which is written as on /v1. */
export interface ModelAlias {
  readonly alias: string;
  readonly target: string;
}

/**
 * What one gateway token grants, verified when it was read and good until the epoch moves. It holds sealed rows, so that a
 * cached caller's key opens without the database.
 */
export interface CallerSnapshot {
  readonly tokenId: string;
  readonly prefix: string;
  readonly workspaceId: string;
  readonly userId: string;
  readonly providers: readonly string[] | null;
  readonly models: readonly string[] | null;
  readonly keyIds: readonly string[] | null;
  readonly requestsPerMinute: number;
  readonly concurrentCalls: number;
  /** Patterns of operations, or null. */
  readonly endpoints: readonly string[] | null;
  /** CIDRs, or null. */
  readonly networks: readonly string[] | null;
  readonly policy: TokenPolicy;
  /** The workspace's own names for models. */
  readonly aliases: readonly ModelAlias[];
  /** The workspace's own prices. */
  readonly prices: readonly PriceOverride[];
  readonly expiresAt: number | null;
  /** Of the user: what the hash of his address takes, for this month and the next. */
  readonly addressSalts: readonly AddressSalt[];
  /**
   * Usable keys: the caller's own first, the newest first of these; then shared, then managed, the oldest first: a new key that
   * somebody shares does not make him the payer, and the reader, of what his colleagues do already.
   */
  readonly keys: readonly KeySnapshot[];
  /** Of these, what its provider refuses. */
  readonly refusedKeys: readonly KeySnapshot[];
}
