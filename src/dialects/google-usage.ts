import { isObject, type JsonObject, objectAt, objectsAt } from './dialect.ts';
import { readGoogleBilled } from './google-billed.ts';
import { countAt, errorWord, sum, type Usage, word } from './usage.ts';
import { type Findings, nothingFound, type StreamEvent, type UsageReader } from './usage-reader.ts';

/**
 * Gemini counts thoughts beside the candidates and results of its own tools beside the prompt: total = prompt + candidates +
 * tool use + thoughts (ai.google.dev, GenerateContentResponse.UsageMetadata). The prompt includes what came from a cache.
 */
export function readGoogleUsage(usage: JsonObject): Usage | null {
  const prompt = countAt(usage, 'promptTokenCount');
  const total = countAt(usage, 'totalTokenCount');
  const thoughts = countAt(usage, 'thoughtsTokenCount');
  const input = sum(prompt, countAt(usage, 'toolUsePromptTokenCount'));
  if (input === null) return null;
  const candidates = countAt(usage, 'candidatesTokenCount', 'responseTokenCount');
  const rest = total !== null && total >= input ? total - input : null;
  return {
    inputTokens: input,
    cachedInputTokens: countAt(usage, 'cachedContentTokenCount'),
    cacheWriteInputTokens: null,
    // Embeddings and blocked prompts have no candidates: what the total leaves is the output.
    outputTokens: candidates === null ? (rest ?? thoughts) : candidates + (thoughts ?? 0),
    reasoningTokens: thoughts,
  };
}

export const googleReader: UsageReader = Object.freeze({ fromStream, fromBody, textLength });

function fromStream(_first: StreamEvent | null, last: readonly StreamEvent[]): Findings {
  let found: Findings = nothingFound;
  for (const { json } of last) {
    if (json === null) continue;
    const here = fromBody(json);
    const isLast = here.errorInBand !== null || isEnd(json);
    found = {
      usage: here.usage ?? found.usage,
      billed: { ...found.billed, ...here.billed },
      providerUsage: here.providerUsage ?? found.providerUsage,
      // Every chunk carries the counts so far; the chunk with a finish reason has the last ones.
      isFinal: here.usage === null ? found.isFinal : isLast || found.isComplete,
      errorInBand: here.errorInBand ?? found.errorInBand,
      model: here.model ?? found.model,
      isComplete: found.isComplete || isLast,
    };
  }
  return found;
}

function fromBody(body: JsonObject): Findings {
  const raw = isObject(body['usageMetadata']) ? body['usageMetadata'] : null;
  const usage = raw === null ? null : readGoogleUsage(raw);
  const error = body['error'];
  return {
    usage,
    billed: readGoogleBilled(body, raw),
    isFinal: usage !== null,
    providerUsage: raw,
    errorInBand: isObject(error) ? (errorWord(error['status']) ?? 'error') : null,
    model: word(body['modelVersion'], 128),
    isComplete: true,
  };
}

function isEnd(chunk: JsonObject): boolean {
  const finished = objectsAt(chunk, 'candidates').some(
    (candidate) => typeof candidate['finishReason'] === 'string',
  );
  return finished || typeof objectAt(chunk, 'promptFeedback')['blockReason'] === 'string';
}

function textLength(event: JsonObject): number {
  let length = 0;
  for (const candidate of objectsAt(event, 'candidates')) {
    for (const part of objectsAt(objectAt(candidate, 'content'), 'parts')) {
      if (typeof part['text'] === 'string') length += part['text'].length;
      if (isObject(part['functionCall'])) length += JSON.stringify(part['functionCall']).length;
    }
  }
  return length;
}
