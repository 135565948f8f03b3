import type { JsonValue } from './dialect.ts';

/**
 * What an attempt is charged for besides the counts of `Usage`, and which parts of these have prices of their own. Left out where the
 * answer does not say; 0 where it says so.
 */
export interface Billed {
  /** The part of the cache-written input that is kept for an hour. */
  readonly cacheWrite1hTokens?: number;
  /** Parts of the input, cached ones included. */
  readonly audioInputTokens?: number;
  readonly imageInputTokens?: number;
  readonly videoInputTokens?: number;
  /** Parts of the cached input. */
  readonly cachedAudioInputTokens?: number;
  readonly cachedImageInputTokens?: number;
  readonly cachedVideoInputTokens?: number;
  /** Parts of the output. */
  readonly audioOutputTokens?: number;
  readonly imageOutputTokens?: number;
  readonly videoOutputTokens?: number;
  /** Audio that was listened to. */
  readonly audioMs?: number;
  /** Code points of a text that was spoken. */
  readonly characters?: number;
  readonly images?: number;
  /** Searches that the provider made on the way. */
  readonly webSearches?: number;
  readonly fileSearches?: number;
  readonly rerankSearches?: number;
  /**
   * Why the list's price is not the price: the service tier (`batch`, `flex`), a region, a tool that is charged for and not counted.
   * Words of a closed list, with `+` between.
   */
  readonly terms?: string;
}

/** As it goes into the journal: what is not 0; null when nothing is left. */
export function recordableBilled(billed: Billed): Readonly<Record<string, number | string>> | null {
  const entries = Object.entries(billed as Record<string, number | string>).filter(
    ([, value]) => value !== 0,
  );
  return entries.length === 0 ? null : Object.fromEntries(entries);
}

/** All that `terms` may say: what a provider writes may be anything, a piece of the key too. */
const vocabulary: ReadonlySet<string> = new Set([
  'batch',
  'cache-12h',
  'code-interpreter',
  'cut',
  'deferred',
  'fallback-credit',
  'fast',
  'flex',
  'geo:us',
  'image-generation',
  'iterations',
  'performance',
  'priority',
  'scale',
  'several-models',
  'shell',
  'sound',
  'transcription',
  'ultrafast',
]);

/** A provider's word for its terms, for `termsOf`; null for none, and for one that the list's prices are for. */
export function termAt(
  value: JsonValue | undefined,
  listTerms: ReadonlySet<string>,
  prefix = '',
): string | null {
  const said = typeof value === 'string' ? value.toLowerCase() : '';
  return said === '' || listTerms.has(said) ? null : prefix + said;
}

/** Each once and in one order; `other` for a word that is not known. */
export function termsOf(words: readonly (string | null)[]): Pick<Billed, 'terms'> {
  const said = words.filter((word) => word !== null).map((word) => (vocabulary.has(word) ? word : 'other'));
  const terms = [...new Set(said)].toSorted((a, b) => (a < b ? -1 : 1)).join('+');
  return terms === '' ? {} : { terms };
}
