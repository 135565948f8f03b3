import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import { defaultPolicy, readPolicy, type TokenPolicy } from '../token-policy.ts';
import { iso } from './moment.ts';

export type TokenRow = Selectable<Schema['tokens']>;

/** Token of WIRE.md: everything but what proves it. */
export interface TokenView {
  readonly id: string;
  readonly name: string;
  readonly kind: 'gateway' | 'admin';
  readonly prefix: string;
  readonly userId: string;
  readonly providers: readonly string[] | null;
  readonly models: readonly string[] | null;
  readonly keyIds: readonly string[] | null;
  readonly requestsPerMinute: number;
  readonly concurrentCalls: number;
  readonly endpoints: readonly string[] | null;
  readonly networks: readonly string[] | null;
  readonly tags: readonly string[] | null;
  readonly policy: TokenPolicy;
  readonly status: 'active' | 'revoked' | 'expired';
  readonly expiresAt: string | null;
  readonly lastUsedAt: string | null;
  readonly createdAt: string;
  readonly revokedAt: string | null;
}

export function viewToken(row: TokenRow, now: number): TokenView {
  return {
    id: row.id,
    name: row.name,
    kind: row.kind,
    prefix: row.prefix,
    userId: row.user_id,
    providers: row.providers,
    models: row.models,
    keyIds: row.key_ids,
    requestsPerMinute: row.requests_per_minute,
    concurrentCalls: row.concurrent_calls,
    endpoints: row.endpoints,
    networks: row.networks,
    tags: row.tags,
    policy: policyOf(row.policy),
    status: statusOf(row, now),
    expiresAt: iso(row.expires_at),
    lastUsedAt: iso(row.last_used_at),
    createdAt: iso(row.created_at),
    revokedAt: iso(row.revoked_at),
  };
}

/** A text that somebody wrote round us is the gateway's to refuse; here it must not hide the other tokens of a list. */
function policyOf(text: string | null): TokenPolicy {
  try {
    return readPolicy(text);
  } catch {
    return defaultPolicy;
  }
}

function statusOf(row: TokenRow, now: number): TokenView['status'] {
  if (row.revoked_at !== null) return 'revoked';
  return row.expires_at !== null && row.expires_at.getTime() <= now ? 'expired' : 'active';
}
