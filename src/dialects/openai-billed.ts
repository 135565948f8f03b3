import { type Billed, termAt, termsOf } from './billed.ts';
import { isObject, type JsonObject, objectAt, objectsAt } from './dialect.ts';
import { countAt } from './usage.ts';

/** Items of a Responses answer that are charged for beside the tokens, by an amount that the answer does not tell. */
const uncounted: Readonly<Record<string, string>> = {
  code_interpreter_call: 'code-interpreter',
  image_generation_call: 'image-generation',
};

/**
 * What OpenAI's dialect tells beside the counts of `Usage`.
 *
 * @param answer The body, or the object that a stream's event carries (`response`).
 * @param tier Of an earlier event, where this one names none.
 */
export function readOpenaiBilled(answer: JsonObject, usage: JsonObject | null, tier: string | null): Billed {
  const items = objectsAt(answer, 'output');
  const toolUsage = objectAt(answer, 'tool_usage');
  return {
    ...(usage === null ? {} : parts(usage)),
    ...known('audioMs', audioMs(answer, usage)),
    ...known('images', imagesOf(answer)),
    ...imagesAlone(answer, usage),
    ...known('webSearches', webSearches(items, toolUsage)),
    ...known('fileSearches', count(items, 'file_search_call')),
    ...termsOf([
      tier,
      ...items.map(({ type }) => (typeof type === 'string' ? (uncounted[type] ?? null) : null)),
      items.some(isHostedShell) ? 'shell' : null,
      (countAt(objectAt(toolUsage, 'image_gen'), 'total_tokens') ?? 0) > 0 ? 'image-generation' : null,
      // Half a day in the cache has a price of its own.
      (countAt(objectAt(inputDetails(usage), 'cache_write_tokens_details'), 'ttl_12h_tokens') ?? 0) > 0
        ? 'cache-12h'
        : null,
      // Charged for by the minute, beside the tokens of the text.
      usage !== null && soundSeconds(usage) > 0 ? 'sound' : null,
    ]),
  };
}

/** The tier that served the request; null for the one that the list's prices are for. */
export function serviceTierOf(answer: JsonObject): string | null {
  return termAt(answer['service_tier'], listTiers);
}

/** Groq calls its own `on_demand`. */
const listTiers: ReadonlySet<string> = new Set(['default', 'standard', 'auto', 'on_demand']);

function inputDetails(usage: JsonObject | null): JsonObject {
  for (const name of ['prompt_tokens_details', 'input_tokens_details', 'input_token_details'])
    if (isObject(usage?.[name])) return usage[name];
  return {};
}

function outputDetails(usage: JsonObject): JsonObject {
  for (const name of ['completion_tokens_details', 'output_tokens_details', 'output_token_details'])
    if (isObject(usage[name])) return usage[name];
  return {};
}

function parts(usage: JsonObject): Billed {
  const input = inputDetails(usage);
  const cached = objectAt(input, 'cached_tokens_details');
  const output = outputDetails(usage);
  return {
    ...known('audioInputTokens', countAt(input, 'audio_tokens')),
    ...known('imageInputTokens', countAt(input, 'image_tokens')),
    ...known('cachedAudioInputTokens', countAt(cached, 'audio_tokens')),
    ...known('cachedImageInputTokens', countAt(cached, 'image_tokens', 'cached_image_tokens')),
    ...known('audioOutputTokens', countAt(output, 'audio_tokens')),
    ...known('imageOutputTokens', countAt(output, 'image_tokens')),
  };
}

/** `usage.seconds` is what is charged; a verbose transcription without it has its `duration`. */
function audioMs(answer: JsonObject, usage: JsonObject | null): number | null {
  const seconds =
    usage?.['type'] === 'duration'
      ? usage['seconds']
      : typeof answer['text'] === 'string'
        ? answer['duration']
        : undefined;
  const ms = typeof seconds === 'number' ? Math.ceil(seconds * 1000) : -1;
  return Number.isSafeInteger(ms) && ms >= 0 ? ms : null;
}

/** Mistral's `prompt_audio_seconds`, which is an empty object where there was none (docs.mistral.ai/capabilities/audio). */
export function soundSeconds(usage: JsonObject): number {
  return countAt(usage, 'prompt_audio_seconds') ?? 0;
}

function isImage(item: JsonObject): boolean {
  return typeof item['b64_json'] === 'string' || typeof item['url'] === 'string';
}

function imagesOf(answer: JsonObject): number | null {
  const images = objectsAt(answer, 'data').filter(isImage).length;
  return images === 0 ? null : images;
}

/** The images endpoint's `output_tokens` are "image tokens in the output image" where no details say more. */
function imagesAlone(answer: JsonObject, usage: JsonObject | null): Billed {
  if (usage === null || isObject(usage['output_tokens_details'])) return {};
  const type = answer['type'];
  const isOfImages =
    imagesOf(answer) !== null || type === 'image_generation.completed' || type === 'image_edit.completed';
  return isOfImages ? known('imageOutputTokens', countAt(usage, 'output_tokens')) : {};
}

/** Opening a page and looking for a word in it are steps of a search that are not charged for. */
function webSearches(items: readonly JsonObject[], toolUsage: JsonObject): number | null {
  const told = countAt(objectAt(toolUsage, 'web_search'), 'num_requests');
  if (told !== null) return told;
  const searches = items.filter((item) => {
    const action = objectAt(item, 'action')['type'];
    return item['type'] === 'web_search_call' && (action === undefined || action === 'search');
  });
  return searches.length === 0 ? null : searches.length;
}

function count(items: readonly JsonObject[], type: string): number | null {
  const found = items.filter((item) => item['type'] === type).length;
  return found === 0 ? null : found;
}

function isHostedShell(item: JsonObject): boolean {
  return item['type'] === 'shell_call' && objectAt(item, 'environment')['type'] === 'container_reference';
}

function known<K extends string>(name: K, value: number | null): { readonly [N in K]?: number } {
  return (value === null ? {} : { [name]: value }) as { readonly [N in K]?: number };
}
