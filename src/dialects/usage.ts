import { isObject, type JsonObject, type JsonValue } from './dialect.ts';

/** Token counts of one attempt, with one meaning for every provider; null where the provider does not say. */
export interface Usage {
  /** All input, including what came from a cache and what was written to one. */
  readonly inputTokens: number | null;
  /** The part of the input that came from a cache. */
  readonly cachedInputTokens: number | null;
  /** The part of the input that was written to a cache. */
  readonly cacheWriteInputTokens: number | null;
  /** All output, including reasoning. */
  readonly outputTokens: number | null;
  /** The part of the output that is reasoning. */
  readonly reasoningTokens: number | null;
}

/** A count as providers give it, or null: anything but a whole number from 0 up is no count. */
export function countAt(from: JsonObject, ...names: readonly string[]): number | null {
  for (const name of names) {
    const value = from[name];
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  }
  return null;
}

/** Null only if all are null. */
export function sum(...counts: readonly (number | null)[]): number | null {
  const known = counts.filter((count) => count !== null);
  return known.length === 0 ? null : known.reduce((total, count) => total + count, 0);
}

const maxProviderBytes = 16 * 1024;
/** Tiers, regions and modalities are words, and names of counts are short; the shortest provider key has 39 characters. */
const maxWord = 36;
/** May also find what stands between two strings. */
const longText = new RegExp(`"[^"]{${maxWord + 1},}"`);

/**
 * The provider's own usage object as it goes into the journal: unchanged, but for texts and names too long to be a tier or a
 * count, so that an origin that echoes the key there puts it into no record. Null when larger than 16 KiB or nested absurdly.
 */
export function recordable(usage: JsonObject | null): JsonObject | null {
  if (usage === null) return null;
  try {
    const text = JSON.stringify(usage);
    if (text.length > maxProviderBytes) return null;
    // Nothing to leave out, which is nearly always: a copy would cost 2 µs. Without escapes every quote begins or ends a string.
    if (!text.includes('\\') && !longText.test(text)) {
      // A number beyond all bounds (1e400) is written as null too, and no record takes it.
      return text.includes('null') ? (JSON.parse(text) as JsonObject) : usage;
    }
    return JSON.parse(text, (_name, value: JsonValue) => {
      if (typeof value === 'string') return value.length > maxWord ? null : value;
      if (!isObject(value)) return value;
      return Object.fromEntries(Object.entries(value).filter(([name]) => name.length <= maxWord));
    }) as JsonObject;
  } catch {
    return null;
  }
}

/** A provider's word for an error, short enough that it can't be a key; else null. */
export function errorWord(value: JsonValue | undefined): string | null {
  return word(value, maxWord);
}

/** A name in the provider's answer, such as the model's, else null. */
export function word(value: JsonValue | undefined, maxLength: number): string | null {
  if (typeof value !== 'string' || value.length === 0 || value.length > maxLength) return null;
  return /^[\w./:@+-]+$/.test(value) ? value : null;
}
