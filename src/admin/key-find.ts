import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { checkSecret } from '../vault/intake.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import { withContent } from './key-content.ts';
import { findDuplicates } from './key-duplicates.ts';
import { type Places, readProvider } from './key-place.ts';
import { type KeyView, viewKey } from './key-view.ts';
import { visibleKeys } from './key-visibility.ts';
import { invalid, iso } from './moment.ts';
import { can, demand } from './permissions.ts';
import { visibleUses } from './use-visibility.ts';

/** What to look for: one of a value, the same sealed to the intake key, and a fingerprint. */
export interface KeyQuestion {
  readonly provider?: string | undefined;
  readonly sealedValue?: string | undefined;
  /** 16 hex digits. */
  readonly fingerprint?: string | undefined;
}

/** Calls that one token made on one version of a key, or on a value that came with the call. */
export interface KeyUse {
  /** Null: it was passed through. */
  readonly keyId: string | null;
  readonly keyVersion: number | null;
  readonly keySource: string | null;
  readonly tokenId: string | null;
  readonly userId: string | null;
  readonly provider: string;
  readonly calls: number;
  readonly firstUsedAt: string;
  readonly lastUsedAt: string;
}

export interface KeyFinding {
  readonly fingerprint: string;
  readonly keys: readonly KeyView[];
  /** The latest first. */
  readonly uses: readonly KeyUse[];
}

export interface KeyFindDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly vault: Pick<Vault, 'openIntake' | 'fingerprintOf'>;
  readonly places: Pick<Places, 'providers'>;
  readonly clock: () => number;
}

const mostKeys = 200;
const mostUses = 1000;

/**
 * Where was this key used? Found by the workspace's fingerprint: also a key that was deleted since, and one that was never stored but
 * passed through. A caller is told of the keys that he sees, and of the uses that he sees.
 *
 * @throws {SallyportError} REQUEST_INVALID, KEY_FORMAT, FORBIDDEN.
 */
export function createKeyFind({ store, vault, places, clock }: KeyFindDeps) {
  /** @param value the caller's to wipe. */
  return async function find(
    caller: Caller,
    question: KeyQuestion,
    value: Buffer | null,
  ): Promise<KeyFinding> {
    demand(caller, 'usage:read');
    const fingerprint = await fingerprintOf(caller, question, value);
    return store.asWorkspace(caller.workspaceId, async (tx) => ({
      fingerprint,
      keys: can(caller.role, 'keys:read') ? await keysOf(tx, caller, fingerprint) : [],
      uses: await usesOf(tx, caller, fingerprint),
    }));
  };

  async function fingerprintOf(caller: Caller, question: KeyQuestion, value: Buffer | null): Promise<string> {
    const { fingerprint, sealedValue, provider } = question;
    if ([value, sealedValue, fingerprint].filter((one) => one !== null && one !== undefined).length !== 1) {
      throw invalid('', 'has to hold one of value, sealedValue and fingerprint');
    }
    if (fingerprint !== undefined) return fingerprint;
    const place = {
      workspaceId: caller.workspaceId,
      // Only what is sealed is bound to a provider.
      provider: sealedValue === undefined ? '' : readProvider(places, { name: '', provider }),
    };
    return withContent(vault, place, { sealedValue }, value, async ({ secret }) => {
      const bytes = secret as Buffer;
      checkSecret(bytes);
      return vault.fingerprintOf(caller.workspaceId, bytes);
    });
  }

  async function keysOf(tx: Tx, caller: Caller, fingerprint: string): Promise<readonly KeyView[]> {
    const rows = await visibleKeys(tx, caller)
      .selectAll()
      .where('fingerprint', '=', fingerprint)
      .orderBy('id', 'desc')
      .limit(mostKeys)
      .execute();
    const duplicates = await findDuplicates(tx, caller, rows);
    return rows.map((row) => viewKey(row, caller, clock(), duplicates));
  }
}

interface UseRow {
  readonly key_id: string | null;
  readonly key_version: number | null;
  readonly key_source: string | null;
  readonly token_id: string | null;
  readonly user_id: string | null;
  readonly provider: string;
  readonly calls: bigint;
  readonly first_used: Date;
  readonly last_used: Date;
}

async function usesOf(tx: Tx, caller: Caller, fingerprint: string): Promise<readonly KeyUse[]> {
  const { rows } = await sql<UseRow>`
    select key_id, key_version, key_source, token_id, user_id, provider, count(distinct call_id) as calls,
           min(started_at) as first_used, max(started_at) as last_used
      from usage_events
     where key_fingerprint = ${fingerprint} and ${visibleUses(caller, 'usage:all')}
     group by key_id, key_version, key_source, token_id, user_id, provider
     order by last_used desc, key_id, key_version, token_id
     limit ${mostUses}`.execute(tx);
  return rows.map((row) => ({
    keyId: row.key_id,
    keyVersion: row.key_version,
    keySource: row.key_source,
    tokenId: row.token_id,
    userId: row.user_id,
    provider: row.provider,
    calls: Number(row.calls),
    firstUsedAt: iso(row.first_used),
    lastUsedAt: iso(row.last_used),
  }));
}
