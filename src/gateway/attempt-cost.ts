import type { Billed } from '../dialects/billed.ts';
import { costOf, type Cost } from '../providers/cost.ts';
import type { PriceBook } from '../providers/price.ts';
import { priceListOf } from '../providers/price-lists.ts';
import type { PriceOverride } from '../providers/price-override.ts';
import type { RelayResult } from './relay-result.ts';
import type { Target } from './target.ts';
import type { UseIdentity } from './use-record.ts';

/** What the price of an attempt depends on and its record does not say. */
export interface Pricing {
  readonly method: string;
  readonly target: Pick<Target, 'provider' | 'providerName' | 'origin'>;
  /** Code points of a text to be spoken; null where none is. */
  readonly characters: number | null;
  /** The workspace's own prices. */
  readonly overrides: readonly PriceOverride[];
}

/** What the provider will ask for one attempt. @param at when it began, ms since the epoch. */
export function attemptCost(
  book: PriceBook,
  { method, target, overrides }: Pricing,
  identity: Pick<UseIdentity, 'operation' | 'upstreamModel'>,
  result: RelayResult,
  billed: Billed,
  at: number,
): Cost {
  const { reading } = result;
  return costOf(book, overrides, {
    method,
    operation: identity.operation,
    providerName: target.providerName,
    priceList: priceListOf(target.provider.name, target.origin),
    model: identity.upstreamModel,
    answerModel: reading?.model ?? null,
    at,
    upstreamStatus: result.upstreamStatus,
    isUnsent: result.isUnsent,
    usage: reading?.usage ?? null,
    usageSource: reading?.usageSource ?? 'unknown',
    billed,
    providerUsage: reading?.providerUsage ?? null,
  });
}

/** The price table's name for the model, or null. */
export function listedModel(
  book: PriceBook,
  { target }: Pick<Pricing, 'target'>,
  { upstreamModel }: Pick<UseIdentity, 'upstreamModel'>,
): string | null {
  if (upstreamModel === null) return null;
  return book.nameOf(priceListOf(target.provider.name, target.origin), upstreamModel);
}

/** What is charged for besides tokens: as the answer tells it, and what is counted of the request. */
export function billedOf({ characters }: Pick<Pricing, 'characters'>, { reading }: RelayResult): Billed {
  return { ...reading?.billed, ...(characters === null ? {} : { characters }) };
}
