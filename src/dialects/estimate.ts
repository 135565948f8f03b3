import type { Usage } from './usage.ts';
import type { StreamEvent, UsageReader } from './usage-reader.ts';

/** Rule of thumb of OpenAI's tokenizer page: a token is about four characters of English. */
export const charactersPerToken = 4;

export interface Relayed {
  /** Bytes of the answer that came. */
  readonly bytes: number;
  /** The last events and the bytes that they took: a sample of how much of the stream is text. */
  readonly sample: readonly StreamEvent[];
  readonly sampleBytes: number;
  /** Bytes of the request body, or null. */
  readonly requestBytes: number | null;
}

/**
 * Counts for a stream that ended before the provider gave any (or its last ones): what it gave is kept, output is estimated
 * from what was relayed. Null if there is nothing to go by: unknown is not 0.
 */
export function estimateUsage(reader: UsageReader, known: Usage | null, relayed: Relayed): Usage | null {
  const text = relayed.sample.reduce(
    (total, { json }) => total + (json === null ? 0 : reader.textLength(json)),
    0,
  );
  const characters = relayed.sampleBytes === 0 ? 0 : (text / relayed.sampleBytes) * relayed.bytes;
  const output = Math.max(known?.outputTokens ?? 0, Math.ceil(characters / charactersPerToken));
  if (output === 0) return null;
  const inputGuess =
    relayed.requestBytes === null ? null : Math.ceil(relayed.requestBytes / charactersPerToken);
  return {
    inputTokens: known?.inputTokens ?? inputGuess,
    cachedInputTokens: known?.cachedInputTokens ?? null,
    cacheWriteInputTokens: known?.cacheWriteInputTokens ?? null,
    outputTokens: output,
    reasoningTokens: known?.reasoningTokens ?? null,
  };
}
