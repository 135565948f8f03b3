import { type Billed, termsOf } from './billed.ts';
import { isObject, type JsonObject, type JsonValue, objectAt, parseJson } from './dialect.ts';
import { charactersPerToken } from './estimate.ts';
import type { Reading } from './meter.ts';
import { readOpenaiBilled, serviceTierOf } from './openai-billed.ts';
import { readOpenaiUsage } from './openai-usage.ts';
import { recordable, sum, type Usage, word } from './usage.ts';

/** Reads usage from the messages that a provider sends in a session. Never throws. */
export interface SessionMeter {
  /** One whole message; null for one that was too long to be kept. */
  read(message: Buffer | null): void;
  finish(): Reading;
}

/** Events that end a response and carry what it cost (Realtime; Responses over WebSocket). */
const responseEnds = new Set([
  'response.done',
  'response.completed',
  'response.incomplete',
  'response.failed',
]);
/** Billed by the prices of a model that is named nowhere, so that a session with one has no known cost. */
const transcribed = 'conversation.item.input_audio_transcription.completed';
/** What a message is searched for before it is parsed: most of a session is audio, of which nothing is wanted. */
const telling = ['"usage"', '"response.created"', 'text.delta"', 'transcript.delta"'].map((text) =>
  Buffer.from(text),
);
/** Names in the sums, all levels together: the providers send about fifteen. */
const maxNames = 64;

/**
 * OpenAI's and xAI's form. Each response has counts of its own, over all of the conversation before it, and is billed by them: a
 * session's usage is their sum. Sources: platform.openai.com/docs/guides/realtime-costs, docs.x.ai/developers/rest-api-reference.
 */
export function createSessionMeter(): SessionMeter {
  const sums = createSums(maxNames);
  let total: Usage | null = null;
  let billed: Billed = {};
  let ended = 0;
  let open = 0;
  let hasLost = false;
  let model: string | null = null;
  let isOfSeveralModels = false;
  /** Of text, since the last response that was counted. */
  let characters = 0;

  function add(usage: JsonValue | undefined, path: string, charges: Billed): void {
    if (!isObject(usage)) return;
    billed = addedBilled(billed, charges);
    sums.add(usage, path);
    const counts = readOpenaiUsage(usage);
    if (counts !== null) total = total === null ? counts : added(total, counts);
  }

  function readEvent(event: JsonObject): void {
    const type = event['type'];
    if (type === 'response.created') open += 1;
    else if (type === transcribed) add(event['usage'], 'transcription', termsOf(['transcription']));
    else if (typeof type === 'string' && responseEnds.has(type)) {
      const response = objectAt(event, 'response');
      ended += 1;
      open = Math.max(0, open - 1);
      characters = 0;
      const ran = word(response['model'], 128) ?? model;
      // Each response over a WebSocket may be another model's, and the sum has no price then.
      isOfSeveralModels ||= model !== null && ran !== model;
      model = ran;
      const { usage } = response;
      const raw = isObject(usage) ? usage : null;
      add(usage, '', readOpenaiBilled(response, raw, serviceTierOf(response)));
    } else if (open > 0 && typeof event['delta'] === 'string') characters += event['delta'].length;
  }

  return Object.freeze<SessionMeter>({
    read(message) {
      if (message === null) {
        hasLost = true;
        return;
      }
      if (!telling.some((text) => message.includes(text))) return;
      const event = parseJson(message.toString('utf8'));
      if (isObject(event)) readEvent(event);
    },
    finish() {
      const isWhole = open === 0 && !hasLost;
      const usage = isWhole ? total : withGuess(total, Math.ceil(characters / charactersPerToken));
      return {
        usage,
        usageSource: usage === null ? 'unknown' : isWhole ? 'provider' : 'estimated',
        billed: isOfSeveralModels ? addedBilled(billed, termsOf(['several-models'])) : billed,
        providerUsage: total === null ? null : recordable({ responses: ended, ...sums.value() }),
        errorInBand: null,
        model: isOfSeveralModels ? null : model,
        isComplete: null,
      };
    },
  });
}

function added(a: Usage, b: Usage): Usage {
  return {
    inputTokens: sum(a.inputTokens, b.inputTokens),
    cachedInputTokens: sum(a.cachedInputTokens, b.cachedInputTokens),
    cacheWriteInputTokens: sum(a.cacheWriteInputTokens, b.cacheWriteInputTokens),
    outputTokens: sum(a.outputTokens, b.outputTokens),
    reasoningTokens: sum(a.reasoningTokens, b.reasoningTokens),
  };
}

function addedBilled(a: Billed, b: Billed): Billed {
  const counts: Record<string, number> = {};
  for (const each of [a, b])
    for (const [name, value] of Object.entries(each as Record<string, unknown>))
      if (typeof value === 'number') counts[name] = (counts[name] ?? 0) + value;
  return { ...counts, ...termsOf([a.terms, b.terms].flatMap((terms) => terms?.split('+') ?? [])) };
}

/** A response was under way, or a message was not read: what is known, and the text that was heard of it. */
function withGuess(known: Usage | null, outputTokens: number): Usage | null {
  if (outputTokens === 0) return known;
  const nothing = {
    inputTokens: null,
    cachedInputTokens: null,
    cacheWriteInputTokens: null,
    reasoningTokens: null,
  };
  return { ...(known ?? nothing), outputTokens: (known?.outputTokens ?? 0) + outputTokens };
}

interface Sums {
  /** @param part the member under which it is summed; empty for the outermost. */
  add(counts: JsonObject, part: string): void;
  value(): JsonObject;
}

/** Adds up the numbers of objects of one shape: audio and text have prices of their own. Further names than `maxNames` are left out. */
function createSums(maxNames: number): Sums {
  const totals = new Map<string, number>();
  function addAll(counts: JsonObject, path: readonly string[]): void {
    for (const [name, value] of Object.entries(counts)) {
      const at = [...path, name];
      if (isObject(value) && at.length < 4) addAll(value, at);
      if (typeof value !== 'number' || !Number.isFinite(value)) continue;
      const key = JSON.stringify(at);
      if (totals.has(key) || totals.size < maxNames) totals.set(key, (totals.get(key) ?? 0) + value);
    }
  }
  return {
    add: (counts, part) => addAll(counts, part === '' ? [] : [part]),
    value() {
      const whole = newObject();
      for (const [key, value] of totals) {
        const path = JSON.parse(key) as string[];
        const last = path.pop() as string;
        let at = whole;
        for (const name of path) {
          const next = at[name];
          at = isNested(next) ? next : (at[name] = newObject());
        }
        if (!isNested(at[last])) at[last] = value;
      }
      return whole;
    },
  };
}

interface Nested {
  [name: string]: number | Nested;
}

/** No prototype: a count may be called anything. */
function newObject(): Nested {
  return Object.create(null) as Nested;
}

function isNested(value: number | Nested | undefined): value is Nested {
  return typeof value === 'object';
}
