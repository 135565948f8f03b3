import { isObject, type JsonObject, objectAt } from './dialect.ts';
import { readOpenaiUsage } from './openai-usage.ts';
import { countAt, errorWord, type Usage, word } from './usage.ts';
import { type Findings, nothingFound, type StreamEvent, type UsageReader } from './usage-reader.ts';

/**
 * Cohere's own dialect, and rerankers, who borrow either's counts: `billed_units` in `usage` (chat) or `meta` (embed, rerank), else
 * `usage` in OpenAI's form (docs.cohere.com/reference). What is billed is counted; `tokens` beside it are more.
 */
export const cohereReader: UsageReader = Object.freeze({ fromStream, fromBody, textLength });

function fromStream(_first: StreamEvent | null, last: readonly StreamEvent[]): Findings {
  let found: Findings = nothingFound;
  for (const { json } of last) {
    if (json === null) continue;
    const here = fromBody(json['type'] === 'message-end' ? objectAt(json, 'delta') : json);
    const isLast = json['type'] === 'message-end';
    if (here.providerUsage !== null || isLast) found = { ...here, isFinal: isLast, isComplete: isLast };
  }
  return found;
}

function fromBody(body: JsonObject): Findings {
  const raw = usageOf(body);
  const units = raw === null ? {} : objectAt(raw, 'billed_units');
  const searches = countAt(units, 'search_units');
  return {
    usage: raw === null ? null : (billedTokens(units) ?? readOpenaiUsage(raw)),
    billed: searches === null ? {} : { rerankSearches: searches },
    isFinal: true,
    providerUsage: raw,
    errorInBand: isObject(body['error']) ? (errorWord(body['error']['type']) ?? 'error') : null,
    model: word(body['model'], 128),
    isComplete: true,
  };
}

function usageOf(body: JsonObject): JsonObject | null {
  const usage = body['usage'] ?? body['meta'];
  return isObject(usage) ? usage : null;
}

function billedTokens(units: JsonObject): Usage | null {
  const input = countAt(units, 'input_tokens');
  const output = countAt(units, 'output_tokens');
  if (input === null && output === null) return null;
  return {
    inputTokens: input,
    cachedInputTokens: null,
    cacheWriteInputTokens: null,
    outputTokens: output,
    reasoningTokens: null,
  };
}

function textLength(event: JsonObject): number {
  const text = objectAt(objectAt(objectAt(event, 'delta'), 'message'), 'content')['text'];
  return typeof text === 'string' ? text.length : 0;
}
