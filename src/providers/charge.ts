import type { Billed } from '../dialects/billed.ts';
import type { Usage } from '../dialects/usage.ts';
import type { Price, Rate } from './price.ts';
import { isRoot, isWithin, type UnitName, unitNames, units } from './price-units.ts';

/** A factor on the price of tokens: Anthropic's batches cost half. */
export interface Factor {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** Least common multiple of what the units are counted by: sums are of this many parts of a nano-dollar, and exact. */
const parts = 18_000_000n;
/** No call has a thousand milliards of anything; usage rows hold no more either. */
const mostOfAny = 1e12;
const maxInt8 = 9_223_372_036_854_775_807n;

interface Place {
  readonly unit: UnitName;
  readonly isRoot: boolean;
  readonly isToken: boolean;
  /** Parts of a nano-dollar that one unit costs at a rate of 1. */
  readonly share: bigint;
  readonly within: readonly UnitName[];
}

/** The inmost first: what is counted as a part is taken out of the whole before that is priced. */
const places: readonly Place[] = unitNames
  .map((unit) => ({
    unit,
    isRoot: isRoot(unit),
    isToken: units[unit].dimensions['family'] === 'tokens',
    share: parts / BigInt(units[unit].per),
    within: unitNames.filter((other) => isWithin(unit, other)),
  }))
  .toSorted((a, b) => b.within.length - a.within.length);

/**
 * What an attempt costs, in nano-dollars, rounded once at the end, half up; null where a count that matters is not known, or something
 * was counted that the price does not name. Exact: no floating-point number takes part.
 */
export function charge(
  price: Price,
  usage: Usage | null,
  billed: Billed,
  factor: Factor | null,
): bigint | null {
  const countOf = (unit: UnitName): number | undefined => counters[unit](usage, billed) ?? undefined;
  if (isAmbiguous(price, countOf)) return null;
  const totalInput = usage?.inputTokens ?? 0;
  const taken: Partial<Record<UnitName, number>> = {};
  let tokenSum = 0n;
  let otherSum = 0n;
  for (const { unit, isRoot, isToken, share, within } of places) {
    const rate = price.rates.get(unit);
    const count = countOf(unit);
    if (rate === undefined) {
      if ((count ?? 0) > 0 && !isCovered(price, unit) && !isIncluded(price, unit, within)) return null;
      continue;
    }
    if (count === undefined) {
      // Tools that were not used are not mentioned; parts that are not mentioned are none.
      if (isRoot && !isTool(unit)) return null;
      continue;
    }
    const own = count - (taken[unit] ?? 0);
    if (own < 0 || count > mostOfAny) return null;
    const cost = BigInt(own) * rateFor(rate, totalInput) * share;
    if (isToken) tokenSum += cost;
    else otherSum += cost;
    for (const outer of within) taken[outer] = (taken[outer] ?? 0) + own;
  }
  const { numerator, denominator } = factor ?? { numerator: 1n, denominator: 1n };
  const scale = parts * denominator;
  const total = tokenSum * numerator + otherSum * denominator;
  const nano = (2n * total + scale) / (2n * scale);
  return nano > maxInt8 ? null : nano;
}

/** Where the count of each unit stands; null and undefined where it is not told. */
const counters: Readonly<
  Record<UnitName, (usage: Usage | null, billed: Billed) => number | null | undefined>
> = {
  input: (usage) => usage?.inputTokens,
  audioInput: (_, billed) => billed.audioInputTokens,
  imageInput: (_, billed) => billed.imageInputTokens,
  videoInput: (_, billed) => billed.videoInputTokens,
  cachedInput: (usage) => usage?.cachedInputTokens,
  cachedAudioInput: (_, billed) => billed.cachedAudioInputTokens,
  cachedImageInput: (_, billed) => billed.cachedImageInputTokens,
  cachedVideoInput: (_, billed) => billed.cachedVideoInputTokens,
  cacheWrite: (usage) => usage?.cacheWriteInputTokens,
  cacheWrite1h: (_, billed) => billed.cacheWrite1hTokens,
  output: (usage) => usage?.outputTokens,
  audioOutput: (_, billed) => billed.audioOutputTokens,
  imageOutput: (_, billed) => billed.imageOutputTokens,
  videoOutput: (_, billed) => billed.videoOutputTokens,
  reasoning: (usage) => usage?.reasoningTokens,
  audio: (_, billed) => billed.audioMs,
  characters: (_, billed) => billed.characters,
  images: (_, billed) => billed.images,
  requests: () => 1,
  webSearches: (_, billed) => billed.webSearches,
  fileSearches: (_, billed) => billed.fileSearches,
  rerankSearches: (_, billed) => billed.rerankSearches,
};

/** Used only when asked for: where no count is told, there was none. */
const tools: ReadonlySet<UnitName> = new Set<UnitName>(['webSearches', 'fileSearches']);

function isTool(unit: UnitName): boolean {
  return tools.has(unit);
}

/** Other measures of what is paid by the token: one picture, a text to speak, the length of what was heard. */
const measures: ReadonlySet<UnitName> = new Set(['audio', 'characters', 'images', 'requests']);

/** Needs no price of its own; where the provider charges nothing for a model, that is everything but tools. */
function isCovered(price: Price, unit: UnitName): boolean {
  return measures.has(unit) || (price.rates.size === 0 && !isTool(unit));
}

/** Priced as part of a whole: of exactly one, or two wholes would each count it. */
function isIncluded({ inherits, rates }: Price, unit: UnitName, within: readonly UnitName[]): boolean {
  if (inherits !== 'all' && !inherits.has(unit)) return false;
  const priced = within.filter((outer) => rates.has(outer));
  return (
    priced.length > 0 && priced.every((a) => priced.every((b) => a === b || isWithin(a, b) || isWithin(b, a)))
  );
}

const modalities = [
  { input: 'audioInput', cached: 'cachedAudioInput', output: 'audioOutput' },
  { input: 'imageInput', cached: 'cachedImageInput', output: 'imageOutput' },
  { input: 'videoInput', cached: 'cachedVideoInput', output: 'videoOutput' },
] as const;

/**
 * The answer does not say what decides: whether the output is text or a picture, where these differ in price; or how much of the
 * cached input was audio.
 */
function isAmbiguous({ rates }: Price, countOf: (unit: UnitName) => number | undefined): boolean {
  const has = (unit: UnitName): boolean => (countOf(unit) ?? 0) > 0;
  return modalities.some(({ input, cached, output }) => {
    if (rates.has(output) && has('output') && countOf(output) === undefined) return true;
    if (!rates.has(input) || !rates.has('cachedInput')) return false;
    return has(input) && has('cachedInput') && countOf(cached) === undefined;
  });
}

function rateFor({ base, tiers }: Rate, totalInput: number): bigint {
  return tiers.findLast(({ over }) => totalInput > over)?.rate ?? base;
}
