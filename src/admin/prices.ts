import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId, newId } from '../ids.ts';
import { flawedUnit } from '../providers/price-override.ts';
import { unitNames } from '../providers/price-units.ts';
import { priceMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { createOnce, onceOf } from './idempotency.ts';
import { invalid, iso, readMoment } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demand } from './permissions.ts';
import { lockWorkspace } from './workspace-lock.ts';

type Row = Selectable<Schema['price_overrides']>;
/** Decimal dollars by unit (providers/price-units.ts). */
type Prices = Readonly<Record<string, string>>;

/** A price of the workspace's own, which goes before every other for the calls that begin from `effectiveFrom` on. */
export interface PriceView {
  readonly id: string;
  readonly provider: string;
  readonly model: string;
  readonly prices: Prices;
  readonly effectiveFrom: string;
  readonly createdBy: string;
  readonly createdAt: string;
}

export interface NewPrice {
  readonly provider: string;
  readonly model: string;
  readonly prices: Readonly<Record<string, string | undefined>>;
  readonly effectiveFrom?: string | undefined;
}

export interface PricesDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'rowMac' | 'checkRowMac'>;
  readonly providers: ReadonlyMap<string, unknown>;
  readonly clock: () => number;
  /** A row whose MAC is wrong was written round us: alarm. */
  readonly onForgedRow: (table: string, id: string) => void;
}

export type PriceDesk = ReturnType<typeof createPriceDesk>;

/** Every cached token of the workspace holds them all, and every call looks through them. */
const mostPrices = 200;

export function createPriceDesk({ store, act, vault, providers, clock, onForgedRow }: PricesDeps) {
  return Object.freeze({
    /** @throws {SallyportError} FORBIDDEN; REQUEST_INVALID; CONFLICT: there are 200. */
    async create(caller: Caller, input: NewPrice, idempotencyKey: string | null = null): Promise<PriceView> {
      demand(caller, 'workspace:write');
      return createOnce(store, caller, onceOf(idempotencyKey, 'price', input), clock(), {
        create: async (remember) => view(await insert(caller, input, remember)),
        replay: async (id) => view(await read(caller, id)),
      });
    },

    /** Without rows that were written round us: no cost is reckoned by them either. */
    async list(caller: Caller, page: Page): Promise<List<PriceView>> {
      demand(caller, 'workspace:read');
      const after = placeOf(page, [/^price_[0-9a-f]{32}$/]);
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
      const genuine: PriceView[] = [];
      for (const row of data) {
        if (await vault.checkRowMac(row.workspace_id, 'price_overrides', priceMacFields(row), row.mac))
          genuine.push(view(row));
        else onForgedRow('price_overrides', row.id);
      }
      return { data: genuine, nextCursor };
    },

    /** Also a row that was tampered with. Costs that it was reckoned by stay. @throws {SallyportError} NOT_FOUND, FORBIDDEN. */
    async remove(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'workspace:write');
      const { provider, model, prices } = await read(caller, id);
      const { receipt } = await act(
        caller,
        'price.delete',
        { priceId: id, provider, model, prices },
        async (tx) => {
          const gone = await tx
            .deleteFrom('price_overrides')
            .where('workspace_id', '=', caller.workspaceId)
            .where('id', '=', id)
            .executeTakeFirst();
          if (gone.numDeletedRows === 0n) throw notFound('price');
        },
      );
      return { id, deleted: true, receipt };
    },
  });

  async function insert(
    caller: Caller,
    input: NewPrice,
    remember: (tx: Tx, id: string) => Promise<void>,
  ): Promise<Row> {
    const now = clock();
    const { provider, model } = input;
    const prices = pricesText(input.prices);
    const bare = {
      id: newId('price', now),
      workspace_id: caller.workspaceId,
      provider,
      model,
      prices,
      effective_from:
        input.effectiveFrom === undefined ? new Date(now) : readMoment('/effectiveFrom', input.effectiveFrom),
      created_by: caller.userId,
      created_at: new Date(now),
    };
    const mac = await vault.rowMac(caller.workspaceId, 'price_overrides', priceMacFields(bare));
    const row: Row = { ...bare, mac };
    const effectiveFrom = iso(bare.effective_from);
    await act(
      caller,
      'price.create',
      { priceId: row.id, provider, model, prices, effectiveFrom },
      async (tx) => {
        await lockWorkspace(tx, caller);
        await demandProvider(tx, caller, provider);
        await demandRoom(tx, caller);
        await tx.insertInto('price_overrides').values(row).execute();
        await remember(tx, row.id);
      },
    );
    return row;
  }

  /** A price for a provider that is not there would silently price nothing. */
  async function demandProvider(tx: Tx, { workspaceId }: Caller, name: string): Promise<void> {
    if (name !== 'custom' && providers.has(name)) return;
    const custom = await tx
      .selectFrom('provider_keys')
      .select('id')
      .where('workspace_id', '=', workspaceId)
      .where('provider', '=', 'custom')
      .where('name', '=', name)
      .limit(1)
      .executeTakeFirst();
    if (custom === undefined)
      throw invalid('/provider', 'is neither a provider nor the name of a custom key of this workspace');
  }

  async function read(caller: Caller, id: string): Promise<Row> {
    if (!isId('price', id)) throw notFound('price');
    return found(
      await store.asWorkspace(caller.workspaceId, (tx) =>
        ofWorkspace(tx, caller).where('id', '=', id).executeTakeFirst(),
      ),
      'price',
    );
  }
}

/** In one order, as the row's MAC covers it. */
function pricesText(given: NewPrice['prices']): string {
  const prices: Record<string, string> = {};
  for (const unit of unitNames) if (given[unit] !== undefined) prices[unit] = given[unit];
  const flawed = flawedUnit(prices);
  if (flawed !== null)
    throw invalid(`/prices/${flawed}`, 'has to be a decimal number of dollars with at most nine decimals');
  return JSON.stringify(prices);
}

function ofWorkspace(tx: Tx, { workspaceId }: Caller) {
  return tx.selectFrom('price_overrides').selectAll().where('workspace_id', '=', workspaceId);
}

async function demandRoom(tx: Tx, { workspaceId }: Caller): Promise<void> {
  const { count } = await tx
    .selectFrom('price_overrides')
    .select((eb) => eb.fn.countAll<bigint>().as('count'))
    .where('workspace_id', '=', workspaceId)
    .executeTakeFirstOrThrow();
  if (Number(count) < mostPrices) return;
  throw new SallyportError('CONFLICT', `A workspace has ${mostPrices} prices of its own at most.`, {
    fix: 'Delete one that has been replaced, or let one with a * stand for several models.',
  });
}

function view(row: Row): PriceView {
  return {
    id: row.id,
    provider: row.provider,
    model: row.model,
    prices: JSON.parse(row.prices) as Prices,
    effectiveFrom: iso(row.effective_from),
    createdBy: row.created_by,
    createdAt: iso(row.created_at),
  };
}
