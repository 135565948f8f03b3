import { type Billed, termAt, termsOf } from './billed.ts';
import { isObject, type JsonObject, objectAt, objectsAt } from './dialect.ts';
import { countAt, errorWord, sum, type Usage, word } from './usage.ts';
import { type Findings, nothingFound, type StreamEvent, type UsageReader } from './usage-reader.ts';

/**
 * Anthropic counts fresh, cache-read and cache-written input apart; our input is their sum (docs: "Total input tokens in a
 * request is the summation of input_tokens, cache_creation_input_tokens, and cache_read_input_tokens"). Thinking is part of
 * `output_tokens`.
 */
export function readAnthropicUsage(usage: JsonObject): Usage | null {
  const fresh = countAt(usage, 'input_tokens');
  const output = countAt(usage, 'output_tokens');
  if (fresh === null && output === null) return null;
  const byTtl = objectAt(usage, 'cache_creation');
  const written =
    countAt(usage, 'cache_creation_input_tokens') ??
    sum(countAt(byTtl, 'ephemeral_5m_input_tokens'), countAt(byTtl, 'ephemeral_1h_input_tokens'));
  const cached = countAt(usage, 'cache_read_input_tokens');
  return {
    inputTokens: sum(fresh, cached, written),
    cachedInputTokens: cached,
    cacheWriteInputTokens: written,
    outputTokens: output,
    reasoningTokens: countAt(objectAt(usage, 'output_tokens_details'), 'thinking_tokens'),
  };
}

/** Terms that the list's prices are for; `not_available` is what models from before regions say. */
const listTerms: ReadonlySet<string> = new Set(['standard', 'global', 'not_available']);

function readAnthropicBilled(usage: JsonObject): Billed {
  const long = countAt(objectAt(usage, 'cache_creation'), 'ephemeral_1h_input_tokens');
  const searches = countAt(objectAt(usage, 'server_tool_use'), 'web_search_requests');
  return {
    ...(long === null ? {} : { cacheWrite1hTokens: long }),
    ...(searches === null ? {} : { webSearches: searches }),
    ...termsOf([
      termAt(usage['service_tier'], listTerms),
      termAt(usage['inference_geo'], listTerms, 'geo:'),
      termAt(usage['speed'], listTerms),
      // Steps that other models took, and compactions, are charged for and not in the counts above them ("iterations").
      objectsAt(usage, 'iterations').some(({ type }) => type !== 'message') ? 'iterations' : null,
      isObject(usage['fallback_credit']) ? 'fallback-credit' : null,
    ]),
  };
}

export const anthropicReader: UsageReader = Object.freeze({ fromStream, fromBody, textLength });

function fromStream(first: StreamEvent | null, last: readonly StreamEvent[]): Findings {
  const message = objectAt(first?.json ?? {}, 'message');
  let merged: JsonObject | null = isObject(message['usage']) ? message['usage'] : null;
  let found: Findings = { ...nothingFound, model: word(message['model'], 128) };
  for (const { name, json, isDone } of last) {
    if (isDone || json === null) continue;
    const type = json['type'];
    if (type === 'error' || name === 'error') {
      const error = errorWord(objectAt(json, 'error')['type']) ?? 'error';
      found = { ...found, errorInBand: error, isComplete: true };
    } else if (type === 'message_stop') {
      found = { ...found, isComplete: true };
    } else if (type === 'message_delta') {
      // Counts of a delta are cumulative: they replace, they are not added. Null says nothing.
      if (isObject(json['usage'])) merged = { ...merged, ...known(json['usage']) };
      found = {
        ...found,
        isFinal: found.isFinal || typeof objectAt(json, 'delta')['stop_reason'] === 'string',
      };
    }
  }
  const usage = merged === null ? null : readAnthropicUsage(merged);
  const billed = merged === null ? {} : readAnthropicBilled(merged);
  return { ...found, usage, billed, providerUsage: merged, isFinal: found.isFinal && usage !== null };
}

function fromBody(body: JsonObject): Findings {
  const raw = isObject(body['usage']) ? body['usage'] : null;
  const usage = raw === null ? null : readAnthropicUsage(raw);
  const isError = body['type'] === 'error' || isObject(body['error']);
  return {
    usage,
    billed: raw === null ? {} : readAnthropicBilled(raw),
    isFinal: usage !== null,
    providerUsage: raw,
    errorInBand: isError ? (errorWord(objectAt(body, 'error')['type']) ?? 'error') : null,
    model: word(body['model'], 128),
    isComplete: true,
  };
}

function known(usage: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(usage).filter(([, value]) => value !== null));
}

function textLength(event: JsonObject): number {
  const delta = objectAt(event, 'delta');
  let length = 0;
  for (const text of [delta['text'], delta['thinking'], delta['partial_json']]) {
    if (typeof text === 'string') length += text.length;
  }
  return length;
}
