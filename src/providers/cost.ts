import type { Billed } from '../dialects/billed.ts';
import type { JsonObject } from '../dialects/dialect.ts';
import type { Usage } from '../dialects/usage.ts';
import { charge, type Factor } from './charge.ts';
import { ownFigure } from './own-figure.ts';
import type { Price, PriceBook } from './price.ts';
import { overrideFor, type PriceOverride } from './price-override.ts';

/** One attempt, as far as its cost depends on it. */
export interface Attempt {
  readonly method: string;
  /** `openai.chat`, as the provider's file names it. */
  readonly operation: string;
  /** The provider's name, or a custom provider's own. */
  readonly providerName: string;
  /** What prices hold for it (price-lists.ts), or null. */
  readonly priceList: string | null;
  /** As sent, and as the answer names it. */
  readonly model: string | null;
  readonly answerModel: string | null;
  /** When it began, ms since the epoch: prices change. */
  readonly at: number;
  /** Of the provider's answer; null where none came. */
  readonly upstreamStatus: number | null;
  /** Nothing of it left this machine. */
  readonly isUnsent: boolean;
  readonly usage: Usage | null;
  readonly usageSource: 'provider' | 'estimated' | 'unknown';
  readonly billed: Billed;
  readonly providerUsage: JsonObject | null;
}

export interface Cost {
  /** Null: not known, which is not 0. */
  readonly nanoUsd: bigint | null;
  /** Where the price is from; null where there is none. */
  readonly version: string | null;
}

const unknown: Cost = Object.freeze({ nanoUsd: null, version: null });

/**
 * Operations whose POST is free at every provider that has a list: token counts (platform.claude.com "Token counting", ai.google.dev
 * "Count tokens"), files (stored for nothing at OpenAI, Anthropic and
 * Google), and what is done with an answer that was made and paid for before.
 */
const freeOperations: ReadonlySet<string> = new Set([
  'anthropic.count_tokens',
  'anthropic.files',
  'anthropic.models',
  'google.count_tokens',
  'google.files',
  'google.models',
  'google.stored_interactions',
  'openai.files',
  'openai.input_tokens',
  'openai.models',
  'openai.stored_chat',
  'openai.stored_responses',
  'openai.uploads',
]);

/** Free of charge (developers.openai.com, "Moderation") wherever it is listed, but for Mistral, who charges by the token (mistral.ai/pricing). */
const moderation = 'openai.moderations';

/** Azure charges for what it has looked at, whatever the status, and names what is none (learn.microsoft.com, "Manage costs"). */
const freeAtAzure: ReadonlySet<number> = new Set([401, 403, 404, 429]);

/** What a GET begins and is charged for all the same: the handshake of a WebSocket. */
const chargedByGet: ReadonlySet<string> = new Set(['openai.realtime']);

/**
 * Factors on the price of tokens by the terms that an answer names. Anthropic: batches half (platform.claude.com "Batch processing"), inference
 * kept in the US 1.1 ("Data residency"). Every other tier, speed and tool has a price that no list here has.
 */
const factors: Readonly<Record<string, Readonly<Record<string, Factor>>>> = {
  anthropic: {
    batch: { numerator: 1n, denominator: 2n },
    'geo:us': { numerator: 11n, denominator: 10n },
    'batch+geo:us': { numerator: 11n, denominator: 20n },
  },
};

/**
 * What an attempt cost. The workspace's own price goes first, then the provider's own figure, then the list. Pure; what it is not sure of is
 * null: no price, a count that is missing, a count that the price does not name, a tier whose price nobody lists.
 */
export function costOf(book: PriceBook, overrides: readonly PriceOverride[], attempt: Attempt): Cost {
  const { priceList, usageSource } = attempt;
  const own = overridePrice(overrides, attempt);
  // Whoever says that a model costs nothing says it of every end that a call can have.
  if (own?.rates.size === 0) return costAt(own, attempt, null);
  if (isFree(attempt)) {
    const version = priceList === null ? own?.version : book.version;
    return version === undefined ? unknown : { nanoUsd: 0n, version };
  }
  if (attempt.upstreamStatus === null) return unknown;
  if (own !== null) return costAt(own, attempt, null);
  const figure = usageSource === 'estimated' ? null : ownFigure(priceList, attempt.providerUsage);
  if (figure !== null) return figure;
  const price = listPrice(book, attempt);
  if (price === null) return unknown;
  const { terms } = attempt.billed;
  const factor = terms === undefined ? null : factors[priceList ?? '']?.[terms];
  return factor === undefined ? { nanoUsd: null, version: price.version } : costAt(price, attempt, factor);
}

function costAt(price: Price, attempt: Attempt, factor: Factor | null): Cost {
  if (isOfMany(attempt) && isTiered(price, attempt)) return { nanoUsd: null, version: price.version };
  const billed = { ...attempt.billed, ...searchesOf(attempt), ...audioOf(attempt) };
  return { nanoUsd: charge(price, attempt.usage, billed, factor), version: price.version };
}

/**
 * Nothing is charged for a request that never left, for one that was refused (OpenAI, Anthropic and Google charge for answers of status 200
 * alone, Azure does not), and for looking at what is there.
 */
function isFree({ isUnsent, upstreamStatus, operation, method, priceList }: Attempt): boolean {
  if (isUnsent || isFreeOperation(method, operation, priceList)) return true;
  const status = upstreamStatus ?? 0;
  return status >= 400 && (priceList !== 'azure' || freeAtAzure.has(status));
}

/** Known to cost nothing before the answer has come, at a provider whose prices are listed. */
export function isFreeOperation(method: string, operation: string, priceList: string | null): boolean {
  if (freeOperations.has(operation)) return true;
  if (operation === moderation && priceList !== 'mistral') return true;
  return method !== 'POST' && method !== 'PUT' && method !== 'PATCH' && !chargedByGet.has(operation);
}

/** Counts of a session are sums over its responses (`realtime-usage.ts`). */
function isOfMany({ providerUsage }: Attempt): boolean {
  const responses = providerUsage?.['responses'];
  return typeof responses === 'number' && responses > 1;
}

/** Each response has a length and so a price of its own; what they are together says nothing about it. */
function isTiered({ rates }: Price, { usage }: Attempt): boolean {
  const input = usage?.inputTokens ?? 0;
  return [...rates.values()].some(({ tiers }) => tiers.some(({ over }) => input > over));
}

/** Search models search once for each answer and don't say so (developers.openai.com, "Web search": chat completions always retrieve). */
function searchesOf({ priceList, operation, model }: Attempt): Pick<Billed, 'webSearches'> {
  const searches =
    priceList === 'openai' && operation === 'openai.chat' && /-search-(?:preview|api)/.test(model ?? '');
  return searches ? { webSearches: 1 } : {};
}

/** Groq charges for ten seconds at least (console.groq.com/docs/speech-to-text, "Minimum Billed Length"). */
function audioOf({ priceList, billed }: Attempt): Pick<Billed, 'audioMs'> {
  const { audioMs = 0 } = billed;
  return priceList === 'groq' && audioMs > 0 ? { audioMs: Math.max(audioMs, 10_000) } : {};
}

function overridePrice(overrides: readonly PriceOverride[], attempt: Attempt): Price | null {
  for (const model of [attempt.model, attempt.answerModel]) {
    const found = model === null ? null : overrideFor(overrides, attempt.providerName, model, attempt.at);
    if (found !== null) return found;
  }
  return null;
}

/** At Azure the name sent is a deployment's, which may be called anything: the answer says what ran. */
function listPrice(book: PriceBook, { priceList, model, answerModel, at }: Attempt): Price | null {
  const names = priceList === 'azure' ? [answerModel, model] : [model, answerModel];
  for (const name of names) {
    const price = name === null ? null : book.priceOf(priceList, name, at);
    if (price !== null) return price;
  }
  return null;
}
