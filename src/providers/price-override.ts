import { matches } from '../name-pattern.ts';
import type { Price, Rate } from './price.ts';
import { type UnitName, unitNames } from './price-units.ts';

/** A price of a workspace's own. */
export interface PriceOverride {
  /** A provider's name, or a custom provider's own. */
  readonly provider: string;
  /** A model's name; `*` stands for any run of characters. */
  readonly model: string;
  /** ms since the epoch: calls that begin before it keep the price before. */
  readonly effectiveFrom: number;
  readonly price: Price;
}

/** Dollars with at most nine decimals, below a million. */
const decimal = /^(\d{1,6})(?:\.(\d{1,9}))?$/;

/** A unit of `prices` that is none of ours, or whose price is no decimal number of dollars; null where all is well. */
export function flawedUnit(prices: Readonly<Record<string, string>>): string | null {
  const names: readonly string[] = unitNames;
  return (
    Object.keys(prices).find((name) => !names.includes(name) || !decimal.test(prices[name] ?? '')) ?? null
  );
}

/**
 * @param prices Dollars for as many units as lists give prices for (`price-units.ts`): a million tokens or characters, an hour of audio, a
 *   thousand searches, one image, one request. Checked by `flawedUnit`. Parts without a price are charged like their whole.
 * @param version What costs will name.
 */
export function ownPrice(prices: Readonly<Record<string, string>>, version: string): Price {
  const rates = Object.entries(prices).map(([unit, dollars]): readonly [UnitName, Rate] => [
    unit as UnitName,
    { base: nanoOf(dollars), tiers: [] },
  ]);
  return { version, rates: new Map(rates), inherits: 'all' };
}

function nanoOf(dollars: string): bigint {
  const [, whole = '0', fraction = ''] = decimal.exec(dollars) ?? [];
  return BigInt(whole + fraction.padEnd(9, '0'));
}

/** The one that holds for a call: the most exact name, of these the latest that is in force. */
export function overrideFor(
  overrides: readonly PriceOverride[],
  provider: string,
  model: string,
  at: number,
): Price | null {
  let best: PriceOverride | null = null;
  for (const override of overrides) {
    if (override.provider !== provider || override.effectiveFrom > at) continue;
    if (matches(override.model, model) && (best === null || isBetter(override, best))) best = override;
  }
  return best?.price ?? null;
}

function isBetter(a: PriceOverride, b: PriceOverride): boolean {
  const difference = exactness(a.model) - exactness(b.model);
  return Number.isNaN(difference) || difference === 0 ? a.effectiveFrom >= b.effectiveFrom : difference > 0;
}

/** A whole name is more than any pattern, a long pattern more than a short one. */
function exactness(pattern: string): number {
  return pattern.includes('*') ? pattern.replaceAll('*', '').length : Infinity;
}
