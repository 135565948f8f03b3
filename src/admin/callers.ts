import type { Selectable } from 'kysely';
import type { Store } from '../db/store.ts';
import type { Schema } from '../db/schema.ts';
import { isDatabaseGone } from '../db/connection.ts';
import { SallyportError } from '../errors.ts';
import { parseToken, type ParsedToken } from '../ids.ts';
import { genuineSalts, readSalts } from '../vault/address-salts.ts';
import { tokenMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import type { IsOperator } from './operator.ts';

type TokenRow = Selectable<Schema['tokens']>;

export interface CallersDeps {
  readonly store: Pick<Store, 'asLookup' | 'asWorkspace'>;
  readonly vault: Pick<Vault, 'checkVerifier' | 'checkRowMac'>;
  readonly isOperator: IsOperator;
  readonly clock: () => number;
  /** A row whose MAC is wrong was written round us: alarm. */
  readonly onForgedRow: (table: string, id: string) => void;
}

export interface Callers {
  /**
   * @param bearer what followed `Bearer `.
   * @throws {SallyportError} AUTH_INVALID; AUTH_UNAVAILABLE when the database is gone, for nobody may take that for a wrong token.
   */
  authenticate(bearer: string, ip: string | null): Promise<Caller>;
  /**
   * For an answer that goes on: may its caller still see what he saw when it began?
   *
   * @throws {SallyportError} AUTH_INVALID: his token was revoked or has expired, or his role is another. The database's errors pass.
   */
  recheck(caller: Caller): Promise<void>;
}

/** Knows admin tokens (`spa_…`). Nothing is cached: an act is rare, and a revoked token must be refused at once. */
export function createCallers({ store, vault, isOperator, clock, onForgedRow }: CallersDeps): Callers {
  return Object.freeze({
    async authenticate(bearer: string, ip: string | null) {
      const token = readToken(bearer);
      try {
        return await look(token, ip);
      } catch (error) {
        // A workspace that has no key, or none that opens, vouches for nobody.
        if (error instanceof SallyportError && error.code === 'KEY_INVALID') throw refused();
        if (!isDatabaseGone(error) && !isDatabaseGone((error as Error).cause)) throw error;
        throw new SallyportError(
          'AUTH_UNAVAILABLE',
          'The database is out of reach, and a token cannot be checked without it.',
          {
            retryAfter: 1,
            cause: error,
          },
        );
      }
    },
    async recheck(caller: Caller) {
      // Who is at the socket or the data directory has no token that could be taken away.
      if (caller.type !== 'admin') return;
      const row = await store.asWorkspace(caller.workspaceId, (tx) =>
        tx
          .selectFrom('tokens')
          .selectAll()
          .where('workspace_id', '=', caller.workspaceId)
          .where('id', '=', caller.id)
          .executeTakeFirst(),
      );
      if (row === undefined || row.kind !== 'admin') throw refused();
      const now = await standing(row, caller.ip);
      if (now.userId !== caller.userId || now.role !== caller.role) throw refused();
    },
  });

  async function look(token: ParsedToken, ip: string | null): Promise<Caller> {
    const row = await store.asLookup(token.prefix, (tx) =>
      tx.selectFrom('tokens').selectAll().where('prefix', '=', token.prefix).executeTakeFirst(),
    );
    if (row === undefined || row.kind !== 'admin') throw refused();
    if (!(await vault.checkVerifier(row.workspace_id, row.prefix, row.kind, token.secret, row.verifier)))
      throw refused();
    return standing(row, ip);
  }

  /** What a token's row grants now. */
  async function standing(row: TokenRow, ip: string | null): Promise<Caller> {
    if (!(await vault.checkRowMac(row.workspace_id, 'tokens', tokenMacFields(row), row.mac))) {
      onForgedRow('tokens', row.id);
      throw refused();
    }
    if (row.revoked_at !== null) throw refused();
    if (row.expires_at !== null && row.expires_at.getTime() <= clock()) {
      throw new SallyportError('AUTH_INVALID', 'The token has expired.');
    }
    const { role, salts } = await roleOf(row.workspace_id, row.user_id, row.id);
    // A user who was taken out of the workspace: his token is as good as revoked.
    if (role === null) throw refused();
    return {
      type: 'admin',
      id: row.id,
      workspaceId: row.workspace_id,
      userId: row.user_id,
      role,
      isOperator: role === 'owner' && (await isOperator(row.user_id)),
      ip,
      addressSalts: await genuineSalts(vault, salts, onForgedRow),
    };
  }

  async function roleOf(workspaceId: string, userId: string, tokenId: string) {
    return store.asWorkspace(workspaceId, async (tx) => {
      const now = new Date(clock());
      // Once a minute is often enough for "last used", and a write for every read is not.
      await tx
        .updateTable('tokens')
        .set({ last_used_at: now })
        .where('workspace_id', '=', workspaceId)
        .where('id', '=', tokenId)
        .where((eb) =>
          eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', new Date(now.getTime() - 60_000))]),
        )
        .execute();
      const membership = await tx
        .selectFrom('memberships')
        .select('role')
        .where('workspace_id', '=', workspaceId)
        .where('user_id', '=', userId)
        .executeTakeFirst();
      const salts = await readSalts(tx, workspaceId, userId, now.getTime());
      return { role: membership?.role ?? null, salts };
    });
  }
}

function readToken(bearer: string): ParsedToken {
  const token = parseToken(bearer);
  if (token === null) {
    throw new SallyportError(
      'AUTH_INVALID',
      'The token is not well-formed: an admin token is spa_ and 61 characters.',
      { fix },
    );
  }
  if (token.kind === 'spt') {
    throw new SallyportError(
      'AUTH_INVALID',
      'That is a gateway token (spt_…): it belongs to model calls, at base URLs such as /v1. /api takes an admin token (spa_…).',
      { fix },
    );
  }
  return token;
}

const fix =
  'Send `Authorization: Bearer spa_…`; make a new one: bin/sallyport tokens create --admin --name NAME';

function refused(): SallyportError {
  return new SallyportError('AUTH_INVALID', 'The token is unknown or was revoked.', { fix });
}
