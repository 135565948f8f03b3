import type { Tx } from '../db/store.ts';
import { mintToken, newId } from '../ids.ts';
import { defaultPolicy, policyText, type TokenPolicy } from '../token-policy.ts';
import { insertSalts, makeSalts, type NewSalt } from '../vault/address-salts.ts';
import { tokenMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { TokenRow } from './token-view.ts';

/** What a new token grants; null: no restriction. */
export interface Grant {
  readonly workspaceId: string;
  readonly userId: string;
  readonly name: string;
  readonly kind: 'gateway' | 'admin';
  readonly providers: string[] | null;
  readonly models: string[] | null;
  readonly keyIds: string[] | null;
  readonly requestsPerMinute: number;
  readonly concurrentCalls: number;
  readonly endpoints: string[] | null;
  readonly networks: string[] | null;
  readonly tags: string[] | null;
  readonly policy: TokenPolicy;
  readonly expiresAt: Date | null;
}

export interface Minted {
  readonly row: TokenRow;
  /** The whole token: shown once, stored nowhere. */
  readonly text: string;
  /** Of its user: with his first token his addresses get into records. */
  readonly salts: readonly NewSalt[];
}

export const tokenDefaults = {
  requestsPerMinute: 600,
  concurrentCalls: 100,
  endpoints: null,
  networks: null,
  tags: null,
  policy: defaultPolicy,
} as const;

/** Makes a token and its row: a keyed verifier in place of the secret, and a MAC over what the row grants. */
export async function mint(
  vault: Pick<Vault, 'verifierOf' | 'rowMac'>,
  grant: Grant,
  now: number,
): Promise<Minted> {
  const token = mintToken(grant.kind === 'admin' ? 'spa' : 'spt');
  const bare = {
    id: newId('tok', now),
    workspace_id: grant.workspaceId,
    user_id: grant.userId,
    name: grant.name,
    kind: grant.kind,
    prefix: token.prefix,
    verifier: await vault.verifierOf(grant.workspaceId, token.prefix, grant.kind, token.secret),
    providers: grant.providers,
    models: grant.models,
    key_ids: grant.keyIds,
    requests_per_minute: grant.requestsPerMinute,
    concurrent_calls: grant.concurrentCalls,
    endpoints: grant.endpoints,
    networks: grant.networks,
    tags: grant.tags,
    policy: policyText(grant.policy),
    expires_at: grant.expiresAt,
    revoked_at: null,
    last_used_at: null,
    created_at: new Date(now),
  };
  const mac = await vault.rowMac(grant.workspaceId, 'tokens', tokenMacFields(bare));
  const salts = await makeSalts(vault, grant, now);
  return { row: { ...bare, mac }, text: token.text, salts };
}

export async function insertToken(tx: Tx, { row, salts }: Minted): Promise<void> {
  await tx.insertInto('tokens').values(row).execute();
  await insertSalts(tx, salts);
}
