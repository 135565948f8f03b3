import table from './price-table.json' with { type: 'json' };
import type { UnitName } from './price-units.ts';

/** Integer nano-dollars for `per` units, or such and then pairs: for calls with more input tokens than this, that price for all. */
export type TableRate = number | readonly number[];

export type TablePrices = Readonly<Partial<Record<UnitName, TableRate>>>;

/** `=` whole name, `^` start, `$` end, `*` anywhere, `~` regular expression; in an array any of them, after `&` all. */
export type TableMatch = string | readonly TableMatch[];

/** Prices for periods: the last that applies counts, and the first where none does. Null prices: not known. */
export type TableModel = readonly [
  id: string,
  match: TableMatch,
  prices: TablePrices | null | readonly (readonly [when: string, prices: TablePrices | null])[],
];

export interface PriceTable {
  /** Package, its version, and a hash of what was taken of it. */
  readonly version: string;
  /** By our names of the lists. `fallbacks`: where to look for a model that a list does not have. */
  readonly lists: Readonly<
    Record<string, { readonly fallbacks: readonly string[]; readonly models: readonly TableModel[] }>
  >;
}

/** Written by scripts/generate-prices.ts. */
export const priceTable = table as unknown as PriceTable;
