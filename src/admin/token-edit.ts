import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import { defaultPolicy, policyText, readPolicy } from '../token-policy.ts';
import { tokenMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found } from './found.ts';
import { demandOwnerFor } from './members.ts';
import { invalid, iso, readMaybeMoment } from './moment.ts';
import { readNetworks } from './network.ts';
import { demand } from './permissions.ts';
import { readSentPolicy, type SentPolicy } from './sent-policy.ts';
import { checkReach, checkSlips } from './token-reach.ts';
import { checkKeys, demandGenuineToken, visibleTokens } from './token-row.ts';
import type { TokenRow } from './token-view.ts';

/** A part of a token: what is left out stays, `null` takes a restriction away. */
export interface TokenChange {
  readonly name?: string | undefined;
  readonly expiresAt?: string | null | undefined;
  readonly providers?: string[] | null | undefined;
  readonly models?: string[] | null | undefined;
  readonly keyIds?: string[] | null | undefined;
  readonly requestsPerMinute?: number | undefined;
  readonly concurrentCalls?: number | undefined;
  /** Patterns of operations: `openai.chat`, `google.*`. */
  readonly endpoints?: string[] | null | undefined;
  /** Addresses and CIDRs. */
  readonly networks?: string[] | null | undefined;
  readonly tags?: string[] | null | undefined;
  /** Members that are left out stay, too; null: as for every token. */
  readonly policy?: SentPolicy | null | undefined;
}

export interface TokenEditDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'rowMac' | 'checkRowMac'>;
  readonly providers: ReadonlyMap<string, Pick<Provider, 'operations'>>;
  readonly clock: () => number;
}

export function createTokenEdit({ store, act, vault, providers, clock }: TokenEditDeps) {
  /**
   * @param seen the row as the caller may see it.
   * @throws {SallyportError} NOT_FOUND (the token, or a key that its user may not use), FORBIDDEN, REQUEST_INVALID, CONFLICT (it is
   * revoked, or its row was edited round us).
   */
  return async function edit(caller: Caller, seen: TokenRow, change: TokenChange): Promise<TokenRow> {
    // Else one that is lent for a day, to somebody who may make none, would be kept for good by him.
    if (seen.kind === 'admin') demand(caller, 'tokens:admin');
    checkReach(providers, { ...change, kind: seen.kind });
    const networks = change.networks === undefined ? undefined : readNetworks('/networks', change.networks);
    const expiresAt = readMaybeMoment('/expiresAt', change.expiresAt);
    if (expiresAt !== null && expiresAt.getTime() <= clock())
      throw invalid('/expiresAt', 'has to be in the future');
    const changed = Object.keys(change);
    if (changed.length === 0) return seen;
    await checkSlips(store, providers, { workspaceId: caller.workspaceId, userId: seen.user_id }, change);
    const { requestsPerMinute, concurrentCalls } = change;
    const fields = {
      tokenId: seen.id,
      userId: seen.user_id,
      kind: seen.kind,
      changed,
      ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
      ...(concurrentCalls === undefined ? {} : { concurrentCalls }),
      ...(change.expiresAt === undefined ? {} : { expiresAt: iso(expiresAt) }),
    };
    const { value } = await act(caller, 'token.update', fields, async (tx) => {
      const row = found(
        await visibleTokens(tx, caller).where('id', '=', seen.id).forUpdate().executeTakeFirst(),
        'token',
      );
      if (row.kind === 'admin' && row.user_id !== caller.userId)
        await demandOwnerFor(tx, caller, row.user_id);
      if (row.revoked_at !== null) throw alreadyRevoked();
      await demandGenuineToken(vault, row);
      if (change.keyIds !== undefined) await checkKeys(tx, caller, row.user_id, change.keyIds ?? []);
      const set = {
        name: change.name ?? row.name,
        expires_at: change.expiresAt === undefined ? row.expires_at : expiresAt,
        providers: change.providers === undefined ? row.providers : change.providers,
        models: change.models === undefined ? row.models : change.models,
        key_ids: change.keyIds === undefined ? row.key_ids : change.keyIds,
        requests_per_minute: requestsPerMinute ?? row.requests_per_minute,
        concurrent_calls: concurrentCalls ?? row.concurrent_calls,
        endpoints: change.endpoints === undefined ? row.endpoints : change.endpoints,
        networks: networks === undefined ? row.networks : networks,
        tags: change.tags === undefined ? row.tags : change.tags,
        policy: policyOf(row, change.policy),
      };
      const edited = { ...row, ...set };
      const mac = await vault.rowMac(row.workspace_id, 'tokens', tokenMacFields(edited));
      await tx
        .updateTable('tokens')
        .set({ ...set, mac })
        .where('workspace_id', '=', row.workspace_id)
        .where('id', '=', row.id)
        .execute();
      return { ...edited, mac };
    });
    return value;
  };
}

function policyOf(row: TokenRow, sent: SentPolicy | null | undefined): string | null {
  if (sent === undefined) return row.policy;
  return policyText(sent === null ? defaultPolicy : readSentPolicy(sent, readPolicy(row.policy)));
}

function alreadyRevoked(): SallyportError {
  return new SallyportError('CONFLICT', 'This token is revoked, and stays so.', {
    fix: 'Make a new one: POST /api/tokens, or bin/sallyport tokens create --name NAME',
  });
}
