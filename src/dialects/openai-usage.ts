import { isObject, type JsonObject, objectAt, objectsAt } from './dialect.ts';
import { readOpenaiBilled, serviceTierOf, soundSeconds } from './openai-billed.ts';
import { countAt, errorWord, sum, type Usage, word } from './usage.ts';
import { type Findings, nothingFound, type StreamEvent, type UsageReader } from './usage-reader.ts';

/** Events after which nothing comes (Responses; images; transcriptions; speech). Responses streams end without `[DONE]`. */
const lastTypes = new Set([
  'response.completed',
  'response.incomplete',
  'response.failed',
  'image_generation.completed',
  'image_edit.completed',
  'transcript.text.done',
  'speech.audio.done',
]);

/**
 * Counts in OpenAI's dialect: `prompt_tokens` of chat, completions and embeddings, `input_tokens` of Responses, images and
 * transcriptions. Output is what the total leaves where that is more than is told: xAI counts reasoning beside `completion_tokens`
 * (docs.x.ai, "Consumption": "in the total_tokens"), Gemini's compatible endpoint tells its thoughts in the total alone. Where sound is
 * told in seconds (Mistral), the total holds its tokens too, and they are no output. Embeddings give no output count; their total
 * equals their input.
 */
export function readOpenaiUsage(usage: JsonObject): Usage | null {
  const input = countAt(usage, 'prompt_tokens', 'input_tokens');
  const total = countAt(usage, 'total_tokens');
  const visible = countAt(usage, 'completion_tokens', 'output_tokens');
  if (input === null && visible === null) return null;
  const inputParts = partsOf(usage, 'prompt_tokens_details', 'input_tokens_details', 'input_token_details');
  const outputParts = partsOf(
    usage,
    'completion_tokens_details',
    'output_tokens_details',
    'output_token_details',
  );
  const reasoning = countAt(outputParts, 'reasoning_tokens');
  const told = sum(visible, input);
  const isTotal = total !== null && input !== null && total >= (told ?? 0) && soundSeconds(usage) === 0;
  return {
    inputTokens: input,
    cachedInputTokens:
      countAt(inputParts, 'cached_tokens') ?? countAt(usage, 'prompt_cache_hit_tokens', 'cached_tokens'),
    cacheWriteInputTokens: countAt(inputParts, 'cache_write_tokens'),
    outputTokens: isTotal ? total - input : visible,
    reasoningTokens: reasoning,
  };
}

/** Groq puts the counts of a stream under `x_groq`; in a whole answer `x_groq.usage` is about its hardware cache. */
export const openaiReader: UsageReader = Object.freeze({ fromStream, fromBody, textLength });

function fromStream(first: StreamEvent | null, last: readonly StreamEvent[]): Findings {
  let found: Findings = { ...nothingFound, model: modelOf(first?.json ?? {}) };
  let tier: string | null = null;
  for (const { name, json, isDone } of last) {
    if (isDone) {
      found = { ...found, isComplete: true, isFinal: found.providerUsage !== null };
      continue;
    }
    if (json === null) continue;
    const error = errorOf(name, json);
    const raw = usageOf(json);
    const usage = raw === null ? null : readOpenaiUsage(raw);
    const answer = isObject(json['response']) ? json['response'] : json;
    // The first events repeat what was asked for, later ones say what was done.
    if (answer['service_tier'] !== undefined) tier = serviceTierOf(answer);
    const billed = readOpenaiBilled(answer, raw, tier);
    const isLast = error !== null || (typeof json['type'] === 'string' && lastTypes.has(json['type']));
    found = {
      model: modelOf(json) ?? found.model,
      errorInBand: error ?? found.errorInBand,
      isComplete: found.isComplete || isLast,
      ...(raw === null
        ? {
            usage: found.usage,
            billed: { ...found.billed, ...billed },
            providerUsage: found.providerUsage,
            isFinal: found.isFinal,
          }
        : { usage, billed, providerUsage: raw, isFinal: isLast || isLastChunk(json) }),
    };
  }
  return found;
}

function fromBody(body: JsonObject, isTail: boolean): Findings {
  const raw = isObject(body['usage']) ? body['usage'] : null;
  const usage = raw === null ? null : readOpenaiUsage(raw);
  return {
    usage,
    // Tools and the tier of Responses stand before the counts; those of a chat behind them.
    billed: readOpenaiBilled(
      body,
      raw,
      isTail && raw?.['input_tokens'] !== undefined ? 'cut' : serviceTierOf(body),
    ),
    isFinal: true,
    providerUsage: raw,
    errorInBand: errorOf(null, body),
    model: modelOf(body),
    isComplete: true,
  };
}

/** The extra chunk for usage has no choices; without it the counts come with the finish reason. */
function isLastChunk(chunk: JsonObject): boolean {
  const choices = chunk['choices'];
  if (!Array.isArray(choices)) return false;
  return (
    choices.length === 0 ||
    objectsAt(chunk, 'choices').some((choice) => typeof choice['finish_reason'] === 'string')
  );
}

function usageOf(event: JsonObject): JsonObject | null {
  const groq = objectAt(event, 'x_groq')['usage'];
  if (isObject(groq) && countAt(groq, 'prompt_tokens') !== null) return groq;
  const usage = event['usage'] ?? objectAt(event, 'response')['usage'];
  return isObject(usage) ? usage : null;
}

function errorOf(name: string | null, event: JsonObject): string | null {
  const error = event['error'];
  const response = objectAt(event, 'response');
  const groqError = objectAt(event, 'x_groq')['error'];
  if (isObject(error)) return errorWord(error['code']) ?? errorWord(error['type']) ?? 'error';
  if (typeof error === 'string' && error !== '') return errorWord(error) ?? 'error';
  if (typeof groqError === 'string' && groqError !== '') return errorWord(groqError) ?? 'error';
  if (isObject(response['error'])) return errorWord(response['error']['code']) ?? 'error';
  if (name === 'error' || event['type'] === 'error') return errorWord(event['code']) ?? 'error';
  if (event['status'] === 'failed' || event['type'] === 'response.failed') return 'failed';
  return null;
}

function modelOf(event: JsonObject): string | null {
  return word(event['model'], 128) ?? word(objectAt(event, 'response')['model'], 128);
}

function partsOf(usage: JsonObject, ...names: readonly string[]): JsonObject {
  for (const name of names) if (isObject(usage[name])) return usage[name];
  return {};
}

function textLength(event: JsonObject): number {
  let length = typeof event['delta'] === 'string' ? event['delta'].length : 0;
  for (const choice of objectsAt(event, 'choices')) {
    const delta = objectAt(choice, 'delta');
    for (const text of [
      choice['text'],
      delta['content'],
      delta['reasoning'],
      delta['reasoning_content'],
      delta['refusal'],
    ]) {
      if (typeof text === 'string') length += text.length;
    }
    for (const call of objectsAt(delta, 'tool_calls')) {
      const text = objectAt(call, 'function')['arguments'];
      if (typeof text === 'string') length += text.length;
    }
  }
  return length;
}
