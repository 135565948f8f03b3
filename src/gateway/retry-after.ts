/**
 * How long a provider asks to be left alone: `retry-after-ms` (OpenAI's and Anthropic's SDKs read it first), else `retry-after` in
 * seconds or as a date (RFC 9110, 10.2.3).
 *
 * @param headers names in lower case
 * @param now ms since the epoch
 * @returns ms, 0 to a day; null where neither is there or neither can be read
 */
export function retryAfterMs(headers: readonly (readonly [string, string])[], now: number): number | null {
  const valueOf = (wanted: string): string | undefined => headers.find(([name]) => name === wanted)?.[1];
  const exact = decimal(valueOf('retry-after-ms'));
  if (exact !== null) return bounded(exact);
  const text = valueOf('retry-after');
  const seconds = decimal(text);
  if (seconds !== null) return bounded(seconds * 1000);
  // A date begins with a letter; Date.parse would make a year of any other number.
  const at = text !== undefined && /^[A-Z]/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? null : bounded(at - now);
}

function decimal(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,12}(?:\.\d{1,9})?$/.test(text.trim()) ? Number(text) : null;
}

const dayMs = 24 * 3600 * 1000;

function bounded(ms: number): number {
  return Math.min(Math.max(0, ms), dayMs);
}
