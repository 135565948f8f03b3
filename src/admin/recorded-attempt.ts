import type { JsonObject } from '../dialects/dialect.ts';
import type { Usage } from '../dialects/usage.ts';
import type { JournalRecord } from '../journal/chain.ts';
import { type Cost, costOf } from '../providers/cost.ts';
import type { PriceBook } from '../providers/price.ts';
import { priceListOf } from '../providers/price-lists.ts';
import type { PriceOverride } from '../providers/price-override.ts';

/**
 * What an attempt costs by these prices, as its two records tell it. Null where they do not: nothing was counted, or the answer named the
 * model that was priced, which no record holds.
 *
 * @param customNames custom providers' own names, by the ids of their keys; of a deleted key nobody knows it any more
 */
export function recordedAttempt(
  book: PriceBook,
  overrides: readonly PriceOverride[],
  customNames: ReadonlyMap<string, string>,
  begin: JournalRecord,
  end: JournalRecord,
): Cost | null {
  const source = end['usageSource'];
  const billed = objectOf(end['billed']);
  const usage = objectOf(end['usage']);
  // Refused, never sent, or not counted: there is nothing to reckon with, and what was recorded of it holds.
  if (usage === null && (billed === null || (end['outcome'] !== 'ok' && !isCounted(billed)))) return null;
  const provider = textOf(end['provider']) ?? '';
  const cost = costOf(book, overrides, {
    // What is asked with GET and was counted all the same is charged, too.
    method: 'POST',
    operation: textOf(end['operation']) ?? '',
    providerName: provider === 'custom' ? (customNames.get(textOf(end['keyId']) ?? '') ?? '') : provider,
    priceList: priceListOf(provider, textOf(begin['origin']) ?? ''),
    model: textOf(end['upstreamModel']) ?? textOf(end['model']),
    answerModel: null,
    at: Date.parse(textOf(end['startedAt']) ?? ''),
    // The record's is what the client was told: 499 where he had left, null where another attempt followed. Only answers are counted.
    upstreamStatus: 200,
    isUnsent: false,
    usage: usage as Usage | null,
    usageSource: source === 'provider' || source === 'estimated' ? source : 'unknown',
    billed: billed ?? {},
    providerUsage: objectOf(end['providerUsage']),
  });
  return cost.nanoUsd === null ? null : cost;
}

/** Of the answer. The characters of a text to be spoken are the request's: they are there whatever became of it. */
function isCounted(billed: JsonObject | null): boolean {
  return billed !== null && Object.keys(billed).some((name) => name !== 'characters');
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function objectOf(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
}
