import { overrideFor, type PriceOverride } from '../providers/price-override.ts';
import type { PriceBook, Rate } from '../providers/price.ts';
import { units } from '../providers/price-units.ts';

/** A price in dollars, for who reads it; what is charged is reckoned in nano-dollars. */
export interface PriceView {
  /** Where it is from: a list's version, or `price_…` for a workspace's own. */
  readonly version: string;
  readonly currency: 'USD';
  /** By unit (`input`, `output`, `cachedInput`, …); empty: free of charge. */
  readonly rates: Readonly<Record<string, RateView>>;
}

interface RateView {
  readonly usd: number;
  /** For so many of them: tokens, characters, ms of audio, searches. */
  readonly per: number;
  /** Where the price of all of them changes with the number of input tokens. */
  readonly tiers?: readonly { readonly overInputTokens: number; readonly usd: number }[];
}

export interface Priced {
  /** One of the lists, or null. */
  readonly list: string | null;
  /** A provider's name, or a custom provider's own. */
  readonly provider: string;
  /** As it is called upstream. */
  readonly model: string;
  /** ms since the epoch. */
  readonly at: number;
}

/** The workspace's own price, else the list's, or null: not known, which is not free. */
export function viewPrice(
  book: Pick<PriceBook, 'priceOf'>,
  overrides: readonly PriceOverride[],
  { list, provider, model, at }: Priced,
): PriceView | null {
  const price = overrideFor(overrides, provider, model, at) ?? book.priceOf(list, model, at);
  if (price === null) return null;
  const rates = [...price.rates].map(([unit, rate]) => [unit, viewRate(rate, units[unit].per)] as const);
  return { version: price.version, currency: 'USD', rates: Object.fromEntries(rates) };
}

function viewRate({ base, tiers }: Rate, per: number): RateView {
  const rate = { usd: dollars(base), per };
  if (tiers.length === 0) return rate;
  return { ...rate, tiers: tiers.map((tier) => ({ overInputTokens: tier.over, usd: dollars(tier.rate) })) };
}

function dollars(nano: bigint): number {
  return Number(nano) / 1e9;
}
