import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId, newId } from '../ids.ts';
import { aliasMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import { checkAlias, checkAliasTarget, type Named } from './alias-name.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { createOnce, onceOf } from './idempotency.ts';
import { iso } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demand } from './permissions.ts';
import { violates } from './violation.ts';
import { lockWorkspace } from './workspace-lock.ts';

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

export interface AliasesDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'rowMac' | 'checkRowMac'>;
  readonly providers: Named['providers'];
  readonly clock: () => number;
  /** A row whose MAC is wrong was written round us: alarm. */
  readonly onForgedRow: (table: string, id: string) => void;
}

export type Aliases = ReturnType<typeof createAliases>;

/** Every cached token of the workspace holds them all. */
const mostAliases = 500;

export function createAliases({ store, act, vault, providers, clock, onForgedRow }: AliasesDeps) {
  return Object.freeze({
    /** @throws {SallyportError} FORBIDDEN; REQUEST_INVALID; CONFLICT: the alias is there, or there are 500. */
    async create(caller: Caller, input: NewAlias, idempotencyKey: string | null = null): Promise<AliasView> {
      demand(caller, 'workspace:write');
      return createOnce(store, caller, onceOf(idempotencyKey, 'alias', input), clock(), {
        create: async (remember) => view(await insert(caller, input, remember)),
        replay: async (id) => view(await read(caller, id)),
      });
    },

    /** Without rows that were written round us: the gateway doesn't follow them either. */
    async list(caller: Caller, page: Page): Promise<List<AliasView>> {
      demand(caller, 'workspace:read');
      const after = placeOf(page, [/^alias_[0-9a-f]{32}$/]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        const query = ofWorkspace(tx, caller).orderBy('id', 'desc').limit(rowsToRead(page));
        return (after === null ? query : query.where('id', '<', after[0])).execute();
      });
      const { data, nextCursor } = toList(
        rows,
        page,
        (row) => [row.id],
        (row) => row,
      );
      const genuine: AliasView[] = [];
      for (const row of data) {
        if (await vault.checkRowMac(row.workspace_id, 'model_aliases', aliasMacFields(row), row.mac))
          genuine.push(view(row));
        else onForgedRow('model_aliases', row.id);
      }
      return { data: genuine, nextCursor };
    },

    /** Also a row that was tampered with: to be rid of it is always right. @throws {SallyportError} NOT_FOUND, FORBIDDEN. */
    async remove(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'workspace:write');
      const { alias, target } = await read(caller, id);
      const { receipt } = await act(caller, 'alias.delete', { aliasId: id, alias, target }, async (tx) => {
        const gone = await tx
          .deleteFrom('model_aliases')
          .where('workspace_id', '=', caller.workspaceId)
          .where('id', '=', id)
          .executeTakeFirst();
        if (gone.numDeletedRows === 0n) throw notFound('alias');
      });
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
      await lockWorkspace(tx, caller);
      const named = { providers, customs: await customNames(tx, caller) };
      checkAlias(named, alias);
      checkAliasTarget(named, alias, target);
      await demandRoom(tx, caller);
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

  async function read(caller: Caller, id: string): Promise<Row> {
    if (!isId('alias', id)) throw notFound('alias');
    return found(
      await store.asWorkspace(caller.workspaceId, (tx) =>
        ofWorkspace(tx, caller).where('id', '=', id).executeTakeFirst(),
      ),
      'alias',
    );
  }
}

function ofWorkspace(tx: Tx, { workspaceId }: Caller) {
  return tx.selectFrom('model_aliases').selectAll().where('workspace_id', '=', workspaceId);
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

async function demandRoom(tx: Tx, { workspaceId }: Caller): Promise<void> {
  const { count } = await tx
    .selectFrom('model_aliases')
    .select((eb) => eb.fn.countAll<bigint>().as('count'))
    .where('workspace_id', '=', workspaceId)
    .executeTakeFirstOrThrow();
  if (Number(count) < mostAliases) return;
  throw new SallyportError('CONFLICT', `A workspace has ${mostAliases} aliases at most.`, {
    fix: 'Delete one, or let one with a * stand for several.',
  });
}

function taken(): SallyportError {
  return new SallyportError('CONFLICT', 'This workspace has an alias of that name.', {
    fix: 'Delete that one first, or choose another name.',
  });
}

function view({ id, alias, target, created_by: createdBy, created_at }: Row): AliasView {
  return { id, alias, target, createdBy, createdAt: iso(created_at) };
}
