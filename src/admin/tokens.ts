import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { isId } from '../ids.ts';
import type { Provider } from '../providers/provider.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { type ExplainCall, type ExplainQuery, explainTo } from './explain.ts';
import { found, notFound } from './found.ts';
import { createOnce, onceOf } from './idempotency.ts';
import { demandOwnerFor } from './members.ts';
import { invalid, readMaybeMoment } from './moment.ts';
import { readNetworks } from './network.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { can, demand } from './permissions.ts';
import { readSentPolicy } from './sent-policy.ts';
import { insertToken, mint, tokenDefaults } from './token-mint.ts';
import { createTokenEdit, type TokenChange } from './token-edit.ts';
import { checkReach, checkSlips } from './token-reach.ts';
import { checkKeys, revokeRow, visibleTokens } from './token-row.ts';
import { type TokenRow, type TokenView, viewToken } from './token-view.ts';

/** What is left out of a new token is as for every one; `null` restricts nothing. */
export interface NewToken extends TokenChange {
  readonly name: string;
  readonly kind?: 'gateway' | 'admin' | undefined;
  /** Left out: the caller's own user. */
  readonly userId?: string | undefined;
}

export interface TokenFilter extends Page {
  readonly userId?: string | undefined;
  readonly status?: TokenView['status'] | undefined;
  readonly tag?: string | undefined;
}

export interface TokensDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'verifierOf' | 'rowMac' | 'checkRowMac'>;
  readonly providers: ReadonlyMap<string, Pick<Provider, 'operations'>>;
  readonly clock: () => number;
  readonly explain: ExplainCall;
}

export type Tokens = ReturnType<typeof createTokens>;

/** Gateway and admin tokens: minted, shown once, listed, changed, revoked. */
export function createTokens(deps: TokensDeps) {
  const { store, act, vault, providers, clock, explain } = deps;
  const edit = createTokenEdit(deps);

  return Object.freeze({
    /**
     * @returns the token and its text, which is null for a replay of the same Idempotency-Key: it was shown once.
     * @throws {SallyportError} NOT_FOUND (a user or key that the caller may not see), FORBIDDEN, REQUEST_INVALID, CONFLICT.
     */
    async create(
      caller: Caller,
      input: NewToken,
      idempotencyKey: string | null = null,
    ): Promise<{ token: TokenView; text: string | null }> {
      demand(caller, 'tokens:write');
      const userId = input.userId ?? caller.userId;
      if (!isId('usr', userId) || (userId !== caller.userId && !can(caller.role, 'tokens:all')))
        throw notFound('user');
      const kind = input.kind ?? 'gateway';
      if (kind === 'admin') demand(caller, 'tokens:admin');
      checkReach(providers, input);
      const networks = readNetworks('/networks', input.networks ?? null);
      const expiresAt = readMaybeMoment('/expiresAt', input.expiresAt);
      return createOnce<{ token: TokenView; text: string | null }>(
        store,
        caller,
        onceOf(idempotencyKey, 'token', input),
        clock(),
        {
          create: async (remember) => {
            // Not of a replay: what it made may have expired since.
            if (expiresAt !== null && expiresAt.getTime() <= clock())
              throw invalid('/expiresAt', 'has to be in the future');
            const { workspaceId } = caller;
            await checkSlips(store, providers, { workspaceId, userId }, input);
            const minted = await mint(
              vault,
              grantOf(caller, userId, kind, { ...input, networks }, expiresAt),
              clock(),
            );
            await act(caller, 'token.create', { tokenId: minted.row.id, userId, kind }, async (tx) => {
              await checkUser(tx, caller, userId, kind);
              await checkKeys(tx, caller, userId, input.keyIds ?? []);
              await insertToken(tx, minted);
              await remember(tx, minted.row.id);
            });
            return { token: viewToken(minted.row, clock()), text: minted.text };
          },
          replay: async (id) => ({ token: await get(caller, id), text: null }),
        },
      );
    },

    async list(caller: Caller, filter: TokenFilter): Promise<List<TokenView>> {
      demand(caller, 'tokens:read');
      const after = placeOf(filter, [/^tok_[0-9a-f]{32}$/]);
      const now = new Date(clock());
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        let query = visibleTokens(tx, caller).orderBy('id', 'desc').limit(rowsToRead(filter));
        if (after !== null) query = query.where('id', '<', after[0]);
        if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
        if (filter.tag !== undefined) query = query.where(sql<boolean>`tags @> array[${filter.tag}]::text[]`);
        if (filter.status === 'revoked') query = query.where('revoked_at', 'is not', null);
        if (filter.status === 'expired')
          query = query.where('revoked_at', 'is', null).where('expires_at', '<=', now);
        if (filter.status === 'active') {
          query = query
            .where('revoked_at', 'is', null)
            .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]));
        }
        return query.execute();
      });
      return toList(
        rows,
        filter,
        (row) => [row.id],
        (row) => viewToken(row, clock()),
      );
    },

    get,

    /** What a call with a token would meet, to who may see it. @throws {SallyportError} NOT_FOUND, FORBIDDEN. */
    async explain(caller: Caller, query: ExplainQuery): Promise<object> {
      const { id } = await get(caller, query.token);
      return explainTo(explain, caller, id, query);
    },

    /** A part of what it grants; its secret, its user and its kind stay. Calls under way keep what they began with. */
    async update(caller: Caller, id: string, change: TokenChange): Promise<TokenView> {
      const seen = await read(caller, id);
      demand(caller, 'tokens:write');
      return viewToken(await edit(caller, seen, change), clock());
    },

    /** Idempotent: a revoked token stays as it is, and the answer is the same. */
    async revoke(caller: Caller, id: string): Promise<TokenView> {
      const seen = await read(caller, id);
      demand(caller, 'tokens:write');
      if (seen.revoked_at !== null) return viewToken(seen, clock());
      const { value } = await act(
        caller,
        'token.revoke',
        { tokenId: id, userId: seen.user_id },
        async (tx) => {
          const row = found(
            await visibleTokens(tx, caller).where('id', '=', id).forUpdate().executeTakeFirst(),
            'token',
          );
          if (row.revoked_at !== null) return row;
          // An admin who could take an owner's admin tokens away could lock him out.
          if (row.kind === 'admin' && row.user_id !== caller.userId)
            await demandOwnerFor(tx, caller, row.user_id);
          return revokeRow(tx, vault, row, new Date(clock()));
        },
      );
      return viewToken(value, clock());
    },
  });

  async function get(caller: Caller, id: string): Promise<TokenView> {
    demand(caller, 'tokens:read');
    return viewToken(await read(caller, id), clock());
  }

  async function read(caller: Caller, id: string): Promise<TokenRow> {
    if (!isId('tok', id)) throw notFound('token');
    return found(
      await store.asWorkspace(caller.workspaceId, (tx) =>
        visibleTokens(tx, caller).where('id', '=', id).executeTakeFirst(),
      ),
      'token',
    );
  }
}

function grantOf(
  caller: Caller,
  userId: string,
  kind: 'gateway' | 'admin',
  input: NewToken,
  expiresAt: Date | null,
) {
  return {
    workspaceId: caller.workspaceId,
    userId,
    name: input.name,
    kind,
    providers: input.providers ?? null,
    models: input.models ?? null,
    keyIds: input.keyIds ?? null,
    ...tokenDefaults,
    requestsPerMinute: input.requestsPerMinute ?? tokenDefaults.requestsPerMinute,
    concurrentCalls: input.concurrentCalls ?? tokenDefaults.concurrentCalls,
    endpoints: input.endpoints ?? null,
    networks: input.networks ?? null,
    tags: input.tags ?? null,
    policy: readSentPolicy(input.policy ?? {}),
    expiresAt,
  };
}

async function checkUser(tx: Tx, caller: Caller, userId: string, kind: 'gateway' | 'admin'): Promise<void> {
  const user = await tx
    .selectFrom('users')
    .select('id')
    .where('workspace_id', '=', caller.workspaceId)
    .where('id', '=', userId)
    // Whoever erases him at this moment is waited for.
    .forKeyShare()
    .executeTakeFirst();
  found(user, 'user');
  // An admin token acts as its user: who may not make owners may not act as one.
  if (kind === 'admin') await demandOwnerFor(tx, caller, userId);
}
