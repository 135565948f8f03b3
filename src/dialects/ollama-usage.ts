import { type JsonObject, objectAt } from './dialect.ts';
import { countAt, errorWord, word } from './usage.ts';
import { type Findings, nothingFound, type StreamEvent, type UsageReader } from './usage-reader.ts';

/**
 * Ollama's own dialect: counts stand in the answer itself, and a stream is a line of JSON each, the last with `done: true`
 * (docs.ollama.com/api/chat, /api/generate, /api/embed). An embedding's answer has no `done`.
 */
export const ollamaReader: UsageReader = Object.freeze({ fromStream, fromBody, textLength });

function fromStream(_first: StreamEvent | null, last: readonly StreamEvent[]): Findings {
  let found = nothingFound;
  for (const { json } of last) {
    if (json === null) continue;
    const here = fromBody(json);
    found = { ...here, errorInBand: here.errorInBand ?? found.errorInBand };
  }
  return found;
}

function fromBody(body: JsonObject): Findings {
  const input = countAt(body, 'prompt_eval_count');
  const output = countAt(body, 'eval_count');
  const isCounted = input !== null || output !== null;
  const isDone = body['done'] !== false;
  const error = body['error'];
  return {
    usage: isCounted
      ? {
          inputTokens: input,
          cachedInputTokens: null,
          cacheWriteInputTokens: null,
          outputTokens: output,
          reasoningTokens: null,
        }
      : null,
    billed: {},
    isFinal: isCounted && isDone,
    providerUsage: isCounted ? countsOf(body) : null,
    errorInBand: typeof error === 'string' ? (errorWord(error) ?? 'error') : null,
    model: word(body['model'], 128),
    isComplete: isDone,
  };
}

/** What the answer says of itself besides its text: counts, and durations in ns. */
function countsOf(body: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(body).filter(([name]) => /_(?:count|duration)$|^done_reason$/.test(name)),
  );
}

function textLength(event: JsonObject): number {
  const message = objectAt(event, 'message');
  return [event['response'], event['thinking'], message['content'], message['thinking']].reduce<number>(
    (length, text) => length + (typeof text === 'string' ? text.length : 0),
    0,
  );
}
