import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import { aliasMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import { checkAlias, checkAliasTarget, type Named } from './alias-name.ts';
import type { Caller } from './caller.ts';
import { createOnce, onceOf } from './idempotency.ts';
import { iso } from './moment.ts';
import { createOwnRules, type OwnRulesDeps } from './own-rules.ts';
import type { List, Page } from './paging.ts';
import { demand } from './permissions.ts';
import { violates } from './violation.ts';

type Row = Selectable<Schema['model_aliases']>;

/** A name of the workspace's own for a model. One `*` in `alias` stands for the one in `target`. */
export interface AliasView {
  readonly id: string;
  readonly alias: string;
  readonly target: string;
  readonly createdBy: string;
  readonly createdAt: string;
}

export interface NewAlias {
  readonly alias: string;
  readonly target: string;
}

export interface AliasesDeps extends OwnRulesDeps {
  readonly act: Act;
  readonly vault: Pick<Vault, 'rowMac' | 'checkRowMac'>;
  readonly providers: Named['providers'];
  readonly clock: () => number;
}

export type Aliases = ReturnType<typeof createAliases>;

const mostAliases = 500;

export function createAliases({ store, act, vault, providers, clock, onForgedRow }: AliasesDeps) {
  const rules = createOwnRules<Row>(
    { store, vault, onForgedRow },
    {
      table: 'model_aliases',
      name: 'alias',
      macFields: aliasMacFields,
      most: mostAliases,
      whenFull: {
        message: `A workspace has ${mostAliases} aliases at most.`,
        fix: 'Delete one, or let one with a * stand for several.',
      },
    },
  );
  return Object.freeze({
    /** @throws {SallyportError} FORBIDDEN; REQUEST_INVALID; CONFLICT: the alias is there, or there are 500. */
    async create(caller: Caller, input: NewAlias, idempotencyKey: string | null = null): Promise<AliasView> {
      demand(caller, 'workspace:write');
      return createOnce(store, caller, onceOf(idempotencyKey, 'alias', input), clock(), {
        create: async (remember) => view(await insert(caller, input, remember)),
        replay: async (id) => view(await rules.read(caller, id)),
      });
    },

    /** Without rows that were written round us: the gateway doesn't follow them either. */
    async list(caller: Caller, page: Page): Promise<List<AliasView>> {
      demand(caller, 'workspace:read');
      return rules.page(caller, page, view);
    },

    /** Also a row that was tampered with: to be rid of it is always right. @throws {SallyportError} NOT_FOUND, FORBIDDEN. */
    async remove(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'workspace:write');
      const { alias, target } = await rules.read(caller, id);
      const { receipt } = await act(caller, 'alias.delete', { aliasId: id, alias, target }, (tx) =>
        rules.remove(tx, caller, id),
      );
      return { id, deleted: true, receipt };
    },
  });

  async function insert(
    caller: Caller,
    { alias, target }: NewAlias,
    remember: (tx: Tx, id: string) => Promise<void>,
  ): Promise<Row> {
    const now = clock();
    const bare = {
      id: newId('alias', now),
      workspace_id: caller.workspaceId,
      alias,
      target,
      created_by: caller.userId,
      created_at: new Date(now),
    };
    const mac = await vault.rowMac(caller.workspaceId, 'model_aliases', aliasMacFields(bare));
    const row: Row = { ...bare, mac };
    await act(caller, 'alias.create', { aliasId: row.id, alias, target }, async (tx) => {
      const named = { providers, customs: await customNames(tx, caller) };
      checkAlias(named, alias);
      checkAliasTarget(named, alias, target);
      await rules.demandRoom(tx, caller);
      await tx
        .insertInto('model_aliases')
        .values(row)
        .execute()
        .catch((error: unknown) => {
          throw violates(error, 'model_aliases') ? taken() : error;
        });
      await remember(tx, row.id);
    });
    return row;
  }
}

async function customNames(tx: Tx, { workspaceId }: Caller): Promise<ReadonlySet<string>> {
  const rows = await tx
    .selectFrom('provider_keys')
    .select('name')
    .distinct()
    .where('workspace_id', '=', workspaceId)
    .where('provider', '=', 'custom')
    .execute();
  return new Set(rows.map(({ name }) => name));
}

function taken(): SallyportError {
  return new SallyportError('CONFLICT', 'This workspace has an alias of that name.', {
    fix: 'Delete that one first, or choose another name.',
  });
}

function view({ id, alias, target, created_by: createdBy, created_at }: Row): AliasView {
  return { id, alias, target, createdBy, createdAt: iso(created_at) };
}
