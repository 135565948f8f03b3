import { termAt, termsOf } from './billed.ts';
import { isObject, type JsonObject, type JsonValue, objectAt, objectsAt } from './dialect.ts';
import { readGoogleBilled } from './google-billed.ts';
import { readGoogleUsage } from './google-usage.ts';
import { countAt, errorWord, word } from './usage.ts';
import { type Findings, nothingFound, type StreamEvent, type UsageReader } from './usage-reader.ts';

/**
 * Gemini's Interactions (ai.google.dev/api/interactions-api): the same counts as of `generateContent` under other names. A stream tells them
 * in `interaction.completed`, of which one that is continued has several, each of its own: the last counts here, because each continuation is
 * a request of its own. Whether a stream is whole is not judged.
 */
export const interactionReader: UsageReader = Object.freeze({ fromStream, fromBody, textLength });

const listTiers: ReadonlySet<string> = new Set(['standard']);

function fromStream(_first: StreamEvent | null, last: readonly StreamEvent[]): Findings {
  let found: Findings = { ...nothingFound, isComplete: true };
  for (const { json } of last) {
    if (json === null) continue;
    const here = fromBody(isObject(json['interaction']) ? json['interaction'] : json);
    found = {
      ...found,
      model: here.model ?? found.model,
      errorInBand: here.errorInBand ?? found.errorInBand,
      ...(here.usage === null
        ? {}
        : { usage: here.usage, billed: here.billed, providerUsage: here.providerUsage, isFinal: true }),
    };
  }
  return found;
}

function fromBody(body: JsonObject): Findings {
  const raw = isObject(body['usage']) ? body['usage'] : null;
  const usage = raw === null ? null : asMetadata(raw);
  const searches = raw === null ? 0 : searchesOf(raw);
  const { error } = body;
  return {
    usage: usage === null ? null : readGoogleUsage(usage),
    billed: {
      ...readGoogleBilled({}, usage),
      ...(searches === 0 ? {} : { webSearches: searches }),
      ...termsOf([termAt(body['service_tier'], listTiers)]),
    },
    isFinal: raw !== null,
    providerUsage: raw,
    errorInBand: isObject(error) ? (errorWord(error['code']) ?? errorWord(error['status']) ?? 'error') : null,
    model: word(body['model'], 128),
    isComplete: true,
  };
}

/** `usageMetadata` of what `usage` says. Output is what the total leaves: thoughts stand apart from it or in it. */
function asMetadata(usage: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries({
      promptTokenCount: usage['total_input_tokens'],
      toolUsePromptTokenCount: usage['total_tool_use_tokens'],
      cachedContentTokenCount: usage['total_cached_tokens'],
      thoughtsTokenCount: usage['total_thought_tokens'],
      totalTokenCount: usage['total_tokens'],
      promptTokensDetails: details(usage, 'input_tokens_by_modality'),
      toolUsePromptTokensDetails: details(usage, 'tool_use_tokens_by_modality'),
      cacheTokensDetails: details(usage, 'cached_tokens_by_modality'),
      candidatesTokensDetails: details(usage, 'output_tokens_by_modality'),
    }).filter(([, value]) => value !== undefined),
  );
}

function details(usage: JsonObject, name: string): JsonValue {
  return objectsAt(usage, name).map(({ modality, tokens }) => ({
    modality: typeof modality === 'string' ? modality.toUpperCase() : null,
    tokenCount: tokens,
  }));
}

function searchesOf(usage: JsonObject): number {
  return objectsAt(usage, 'grounding_tool_count').reduce(
    (total, tool) => total + (countAt(tool, 'count') ?? 0),
    0,
  );
}

function textLength(event: JsonObject): number {
  const text = objectAt(event, 'delta')['text'];
  return typeof text === 'string' ? text.length : 0;
}
