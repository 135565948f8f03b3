import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Tx } from '../db/store.ts';
import { newId } from '../ids.ts';
import { flawedUnit } from '../providers/price-override.ts';
import { unitNames } from '../providers/price-units.ts';
import { priceMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { createOnce, onceOf } from './idempotency.ts';
import { invalid, iso, readMoment } from './moment.ts';
import { createOwnRules, type OwnRulesDeps } from './own-rules.ts';
import type { List, Page } from './paging.ts';
import { demand } from './permissions.ts';

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

export interface PricesDeps extends OwnRulesDeps {
  readonly act: Act;
  readonly vault: Pick<Vault, 'rowMac' | 'checkRowMac'>;
  readonly providers: ReadonlyMap<string, unknown>;
  readonly clock: () => number;
}

export type PriceDesk = ReturnType<typeof createPriceDesk>;

/** Every call looks through them. */
const mostPrices = 200;

export function createPriceDesk({ store, act, vault, providers, clock, onForgedRow }: PricesDeps) {
  const rules = createOwnRules<Row>(
    { store, vault, onForgedRow },
    {
      table: 'price_overrides',
      name: 'price',
      macFields: priceMacFields,
      most: mostPrices,
      whenFull: {
        message: `A workspace has ${mostPrices} prices of its own at most.`,
        fix: 'Delete one that has been replaced, or let one with a * stand for several models.',
      },
    },
  );
  return Object.freeze({
    /** @throws {SallyportError} FORBIDDEN; REQUEST_INVALID; CONFLICT: there are 200. */
    async create(caller: Caller, input: NewPrice, idempotencyKey: string | null = null): Promise<PriceView> {
      demand(caller, 'workspace:write');
      return createOnce(store, caller, onceOf(idempotencyKey, 'price', input), clock(), {
        create: async (remember) => view(await insert(caller, input, remember)),
        replay: async (id) => view(await rules.read(caller, id)),
      });
    },

    /** Without rows that were written round us: no cost is reckoned by them either. */
    async list(caller: Caller, page: Page): Promise<List<PriceView>> {
      demand(caller, 'workspace:read');
      return rules.page(caller, page, view);
    },

    /** Also a row that was tampered with. Costs that it was reckoned by stay. @throws {SallyportError} NOT_FOUND, FORBIDDEN. */
    async remove(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'workspace:write');
      const { provider, model, prices } = await rules.read(caller, id);
      const { receipt } = await act(caller, 'price.delete', { priceId: id, provider, model, prices }, (tx) =>
        rules.remove(tx, caller, id),
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
        await demandProvider(tx, caller, provider);
        await rules.demandRoom(tx, caller);
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
