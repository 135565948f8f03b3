import { createHash } from 'node:crypto';
import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { ErrorCode } from '../errors.ts';
import type { Caller } from './caller.ts';
import { iso } from './moment.ts';

export type KeyRow = Selectable<Schema['provider_keys']>;
/** Ids of the other keys with the same value, by the id of a key; only of keys that the reader sees. */
export type Duplicates = ReadonlyMap<string, readonly string[]>;
export type Sharing = 'workspace' | readonly string[] | null;

/** Test of WIRE.md. A failed test is an answer, not an error. */
export interface KeyTest {
  readonly keyId: string;
  readonly ok: boolean;
  /** The provider's, or null when it never answered. */
  readonly status: number | null;
  readonly code: ErrorCode | null;
  readonly ms: number;
  readonly message: string | null;
  readonly testedAt: string;
}

/** Key of WIRE.md: never the value. */
export interface KeyView {
  readonly id: string;
  readonly name: string;
  readonly provider: string;
  readonly service: string;
  readonly description: string | null;
  readonly userId: string;
  readonly sharedWith: Sharing;
  readonly source: 'own' | 'shared' | 'managed';
  readonly protection: 'standard' | 'sealed';
  readonly sealId: string | null;
  readonly auth: string;
  readonly origins: readonly string[];
  readonly basePath: string;
  readonly version: number;
  readonly last4: string | null;
  readonly fingerprint: string | null;
  readonly isActive: boolean;
  readonly status: 'active' | 'disabled' | 'expired' | 'auth_failed';
  readonly expiresAt: string | null;
  readonly lastUsedAt: string | null;
  readonly lastTest: KeyTest | null;
  /** `usage`: a key with power over the provider's account. It is kept for reports and never used for a call. */
  readonly purpose: 'relay' | 'usage';
  /** 0 to 1000: its part of the calls among keys that could all pay; 0: only where no other can. */
  readonly weight: number;
  /** For `custom`: usage is asked for at the end of streams there. */
  readonly streamUsage: boolean;
  /** Days after which a new value is asked for; null: never. */
  readonly rotateAfterDays: number | null;
  readonly rotationDueAt: string | null;
  /** Ids of other keys with the same value that the reader sees. */
  readonly duplicates: readonly string[];
  readonly createdAt: string;
  readonly updatedAt: string;
}

export function viewKey(
  row: KeyRow,
  reader: Pick<Caller, 'userId'>,
  now: number,
  duplicates: Duplicates,
): KeyView {
  return {
    id: row.id,
    name: row.name,
    provider: row.provider,
    service: row.provider,
    description: row.description,
    userId: row.user_id,
    sharedWith: row.shared_with,
    source: sourceFor(row, reader.userId),
    protection: row.protection,
    sealId: row.seal_id,
    auth: row.auth,
    origins: row.origins,
    basePath: row.base_path,
    version: row.version,
    last4: row.last4,
    fingerprint: row.fingerprint,
    isActive: row.is_active,
    status: statusOf(row, now),
    expiresAt: iso(row.expires_at),
    lastUsedAt: iso(row.last_used_at),
    lastTest: row.last_test as KeyTest | null,
    purpose: row.purpose,
    weight: row.weight,
    streamUsage: row.stream_usage,
    rotateAfterDays: row.rotate_after_days,
    rotationDueAt: iso(rotationDueAt(row)),
    duplicates: duplicates.get(row.id) ?? [],
    createdAt: iso(row.created_at),
    updatedAt: iso(row.updated_at),
  };
}

const dayMs = 24 * 3600 * 1000;

/** When the value that is there has been in use for as long as its owner wants. */
export function rotationDueAt(row: Pick<KeyRow, 'value_set_at' | 'rotate_after_days'>): Date | null {
  if (row.rotate_after_days === null) return null;
  return new Date(row.value_set_at.getTime() + row.rotate_after_days * dayMs);
}

/** How the reader comes to the key. An owner who looks at another's unshared key sees `own`: it is its user's own. */
function sourceFor(row: KeyRow, reader: string): KeyView['source'] {
  if (row.source === 'managed') return 'managed';
  const isShared = row.shared_with === 'workspace' || (row.shared_with?.includes(reader) ?? false);
  return row.user_id !== reader && isShared ? 'shared' : 'own';
}

function statusOf(row: KeyRow, now: number): KeyView['status'] {
  if (!row.is_active) return 'disabled';
  if (row.expires_at !== null && row.expires_at.getTime() <= now) return 'expired';
  return row.auth_failed_at === null ? 'active' : 'auth_failed';
}

/** Changes with whatever an edit can change, and with nothing that the gateway notes down by itself. */
export function etagOf(row: KeyRow): string {
  const edited = JSON.stringify([
    row.name,
    row.description,
    row.mac.toString('hex'),
    row.updated_at.getTime(),
  ]);
  return `"${createHash('sha256').update(edited).digest('base64url').slice(0, 22)}"`;
}
