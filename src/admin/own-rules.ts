import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId } from '../ids.ts';
import type { MacField } from '../vault/mac.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';

type Table = 'model_aliases' | 'price_overrides';
/** What each of them has. */
type Rule = Pick<Selectable<Schema[Table]>, 'id' | 'workspace_id' | 'mac'>;

export interface OwnRulesDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly vault: Pick<Vault, 'checkRowMac'>;
  /** A row whose MAC is wrong was written round us: alarm. */
  readonly onForgedRow: (table: string, id: string) => void;
}

interface Kind<Row extends Rule> {
  readonly table: Table;
  /** Of its ids, and the word for one of them. */
  readonly name: 'alias' | 'price';
  readonly macFields: (row: Row) => readonly MacField[];
  /** Every cached token of the workspace holds them all. */
  readonly most: number;
  /** What to do when there are so many. */
  readonly whenFull: { readonly message: string; readonly fix: string };
}

/** Rules of a workspace's own that its calls go by: its names for models, its prices. Rows under a MAC, of a bounded number. */
export function createOwnRules<Row extends Rule>(
  { store, vault, onForgedRow }: OwnRulesDeps,
  { table, name, macFields, most, whenFull }: Kind<Row>,
) {
  return Object.freeze({
    /** Newest first, without rows that were written round us. @throws {SallyportError} REQUEST_INVALID: the cursor */
    async page<V>(caller: Caller, page: Page, view: (row: Row) => V): Promise<List<V>> {
      const after = placeOf(page, [new RegExp(`^${name}_[0-9a-f]{32}$`)]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        const query = ofWorkspace(tx, caller).orderBy('id', 'desc').limit(rowsToRead(page));
        return (after === null ? query : query.where('id', '<', after[0])).execute();
      });
      const { data, nextCursor } = toList(
        rows as unknown as Row[],
        page,
        (row) => [row.id],
        (row) => row,
      );
      const genuine: V[] = [];
      for (const row of data) {
        if (await vault.checkRowMac(row.workspace_id, table, macFields(row), row.mac))
          genuine.push(view(row));
        else onForgedRow(table, row.id);
      }
      return { data: genuine, nextCursor };
    },

    /** Also one that was tampered with: to be rid of it is always right. @throws {SallyportError} NOT_FOUND */
    async read(caller: Caller, id: string): Promise<Row> {
      if (!isId(name, id)) throw notFound(name);
      const row = await store.asWorkspace(caller.workspaceId, (tx) =>
        ofWorkspace(tx, caller).where('id', '=', id).executeTakeFirst(),
      );
      return found(row, name) as unknown as Row;
    },

    /** To be called before an insert, in its transaction. @throws {SallyportError} CONFLICT: there are as many as there may be */
    async demandRoom(tx: Tx, { workspaceId }: Caller): Promise<void> {
      // Two acts at once would both find room for one more.
      await tx.selectFrom('workspaces').select('id').where('id', '=', workspaceId).forNoKeyUpdate().execute();
      const { count } = await tx
        .selectFrom(table)
        .select((eb) => eb.fn.countAll<bigint>().as('count'))
        .where('workspace_id', '=', workspaceId)
        .executeTakeFirstOrThrow();
      if (Number(count) >= most)
        throw new SallyportError('CONFLICT', whenFull.message, { fix: whenFull.fix });
    },

    /** @throws {SallyportError} NOT_FOUND: it went meanwhile */
    async remove(tx: Tx, { workspaceId }: Caller, id: string): Promise<void> {
      const gone = await tx
        .deleteFrom(table)
        .where('workspace_id', '=', workspaceId)
        .where('id', '=', id)
        .executeTakeFirst();
      if (gone.numDeletedRows === 0n) throw notFound(name);
    },
  });

  function ofWorkspace(tx: Tx, { workspaceId }: Caller) {
    return tx.selectFrom(table).selectAll().where('workspace_id', '=', workspaceId);
  }
}
