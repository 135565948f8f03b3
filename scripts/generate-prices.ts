// Writes src/providers/price-table.json from the price list of @pydantic/genai-prices, which is in node_modules: nothing is fetched.
// Run it after the package was updated; a test compares what is there with what it would write.
import { hash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import {
  type ConditionalPrice,
  type MatchLogic,
  type ModelInfo,
  type ModelPrice,
  type Provider,
  waitForUpdate,
} from '@pydantic/genai-prices';
import type {
  PriceTable,
  TableMatch,
  TableModel,
  TablePrices,
  TableRate,
} from '../src/providers/price-table.ts';
import type { UnitName } from '../src/providers/price-units.ts';

/** Our name of a list → the package's. The providers that we serve, and those that recipes for custom keys name. */
const lists: Readonly<Record<string, string>> = {
  anthropic: 'anthropic',
  azure: 'azure',
  cerebras: 'cerebras',
  cohere: 'cohere',
  deepseek: 'deepseek',
  fireworks: 'fireworks',
  google: 'google',
  groq: 'groq',
  mistral: 'mistral',
  moonshotai: 'moonshotai',
  openai: 'openai',
  openrouter: 'openrouter',
  together: 'together',
  xai: 'x-ai',
};

/** Its keys: what they are for here, and how many of the package's units are one of ours. */
const keys: Readonly<Record<string, readonly [unit: UnitName, divisor: bigint] | null>> = {
  input_mtok: ['input', 1n],
  input_audio_mtok: ['audioInput', 1n],
  input_image_mtok: ['imageInput', 1n],
  input_video_mtok: ['videoInput', 1n],
  cache_read_mtok: ['cachedInput', 1n],
  cache_audio_read_mtok: ['cachedAudioInput', 1n],
  cache_image_read_mtok: ['cachedImageInput', 1n],
  cache_write_mtok: ['cacheWrite', 1n],
  cache_write_1h_mtok: ['cacheWrite1h', 1n],
  output_mtok: ['output', 1n],
  output_audio_mtok: ['audioOutput', 1n],
  output_image_mtok: ['imageOutput', 1n],
  output_video_mtok: ['videoOutput', 1n],
  output_reasoning_mtok: ['reasoning', 1n],
  audio_hours: ['audio', 1n],
  // Said twice where it is said: the same hours.
  input_audio_hours: null,
  web_searches_kcount: ['webSearches', 1n],
  storage_searches_kcount: ['fileSearches', 1n],
  requests_kcount: ['requests', 1000n],
};

/** What the package leaves out and a provider's page gives; the package goes first. */
const supplements: Readonly<Record<string, readonly TableModel[]>> = {
  openai: [
    // developers.openai.com/api/docs/models/tts-1 and /tts-1-hd: $15 and $30 for a million characters.
    ['tts-1', '=tts-1', { characters: 15_000_000_000 }],
    ['tts-1-hd', '=tts-1-hd', { characters: 30_000_000_000 }],
  ],
};

const target = new URL('../src/providers/price-table.json', import.meta.url);

/** The text of the file: one model a line, so that a change of prices reads as one. */
export async function priceTableText(): Promise<string> {
  const source = await waitForUpdate();
  if (source === null) throw new Error('the package holds no prices');
  const byId = new Map(source.map((provider) => [provider.id, provider]));
  const tables = Object.entries(lists).map(([name, id]) => [name, listOf(name, byId.get(id), byId)] as const);
  const body = tables
    .map(([name, { fallbacks, models }]) => {
      const rows = models.map((model) => `    ${JSON.stringify(model)}`).join(',\n');
      return `  ${JSON.stringify(name)}: {"fallbacks": ${JSON.stringify(fallbacks)}, "models": [\n${rows}\n  ]}`;
    })
    .join(',\n');
  const { version } = JSON.parse(
    readFileSync(new URL('../package.json', import.meta.resolve('@pydantic/genai-prices')), 'utf8'),
  ) as { version: string };
  const digest = hash('sha256', body).slice(0, 6);
  return `{"version": "genai-prices/${version}+${digest}", "lists": {\n${body}\n}}\n`;
}

function listOf(
  name: string,
  provider: Provider | undefined,
  byId: ReadonlyMap<string, Provider>,
): PriceTable['lists'][string] {
  if (provider === undefined) throw new Error(`the package has no prices of ${name}`);
  const ours = new Map(Object.entries(lists).map(([list, id]) => [id, list]));
  const fallbacks = (provider.fallback_model_providers ?? []).map((id) => {
    const list = ours.get(id);
    if (list === undefined || !byId.has(id))
      throw new Error(`${name} falls back to ${id}, which is not taken`);
    return list;
  });
  return { fallbacks, models: [...provider.models.map(modelOf), ...(supplements[name] ?? [])] };
}

function modelOf(model: ModelInfo): TableModel {
  const { prices } = model;
  if (!Array.isArray(prices)) return [model.id, matchOf(model.match), pricesOf(prices)];
  const periods = prices.map(({ constraint, prices }): readonly [string, TablePrices | null] => [
    when(constraint),
    pricesOf(prices),
  ]);
  return [model.id, matchOf(model.match), periods];
}

/** `from <date>`, `daily <time>/<time>` in UTC, or nothing. */
function when(constraint: ConditionalPrice['constraint']): string {
  if (constraint === undefined) return '';
  if (constraint.type === 'start_date') return `from ${constraint.start_date}`;
  const { start_time, end_time } = constraint as { start_time: string; end_time: string };
  for (const time of [start_time, end_time])
    if (!/^\d\d:\d\d:\d\dZ$/.test(time)) throw new Error(`a time of day that is not plain UTC: ${time}`);
  return `daily ${start_time.slice(0, 8)}/${end_time.slice(0, 8)}`;
}

/** Null: something in it is charged for that is never counted here, so that no cost is known. No price at all: free of charge. */
function pricesOf(prices: ModelPrice): TablePrices | null {
  const rates: Partial<Record<UnitName, TableRate>> = {};
  for (const [key, price] of Object.entries(prices)) {
    if (price === undefined) continue;
    const unit = keys[key];
    if (unit === undefined) return null;
    if (unit === null) continue;
    const [name, divisor] = unit;
    rates[name] =
      typeof price === 'number'
        ? nano(price, divisor)
        : [
            nano(price.base, divisor),
            ...price.tiers
              .toSorted((a, b) => a.start - b.start)
              .flatMap((tier) => [tier.start, nano(tier.price, divisor)]),
          ];
  }
  return rates;
}

/**
 * Dollars as the list writes them, which is the shortest decimal that a number prints as, in nano-dollars, exactly. The few that are a
 * quotient of something (0.08333333333333334) are rounded to a nano-dollar for a million: 1e-15 dollars a token.
 */
function nano(dollars: number, divisor: bigint): number {
  const match = /^(\d+)(?:\.(\d+))?(?:e-(\d+))?$/.exec(String(dollars));
  if (match === null) throw new Error(`no price: ${dollars}`);
  const [, whole = '', fraction = '', exponent = '0'] = match;
  const digits = BigInt(whole + fraction);
  const scale = 9 - fraction.length - Number(exponent);
  if (scale < 0 && digits < 10n ** 13n) throw new Error(`finer than a nano-dollar: ${dollars}`);
  const down = 10n ** BigInt(Math.max(0, -scale));
  const exact = scale >= 0 ? digits * 10n ** BigInt(scale) : (digits + down / 2n) / down;
  if (exact % divisor !== 0n) throw new Error(`no whole nano-dollars for one: ${dollars}`);
  const value = Number(exact / divisor);
  if (!Number.isSafeInteger(value)) throw new Error(`too large: ${dollars}`);
  return value;
}

/** A model's name is lower case when it is compared, but for `~`, which the package compares as it comes in lower case too. */
function matchOf(logic: MatchLogic): TableMatch {
  if ('or' in logic) {
    const parts = logic.or.map(matchOf);
    return parts.length === 1 ? (parts[0] as TableMatch) : parts;
  }
  if ('and' in logic) return ['&', ...logic.and.map(matchOf)];
  if ('equals' in logic) return `=${logic.equals.toLowerCase()}`;
  if ('starts_with' in logic) return `^${logic.starts_with.toLowerCase()}`;
  if ('ends_with' in logic) return `$${logic.ends_with.toLowerCase()}`;
  if ('contains' in logic) return `*${logic.contains.toLowerCase()}`;
  // A caller writes what it is tried on: nothing that could be tried in many ways.
  if (logic.regex.length > 80 || /[*+}?]\)?[*+{]|\\[1-9]/.test(logic.regex))
    throw new Error(`refused: ${logic.regex}`);
  return `~${new RegExp(logic.regex).source}`;
}

if (import.meta.main) writeFileSync(target, await priceTableText());
