import type { PriceTable, TableMatch, TableModel, TablePrices, TableRate } from './price-table.ts';
import type { UnitName } from './price-units.ts';

/** A price for one model at one time. */
export interface Price {
  /** Names the source: `genai-prices/0.1.8+29b9d4`, or `price_…` for a workspace's own. */
  readonly version: string;
  /** Nano-dollars for `per` of a unit (price-units.ts). Empty: free of charge. */
  readonly rates: ReadonlyMap<UnitName, Rate>;
  /** Parts without a price of their own that are charged like the whole that they are part of. */
  readonly inherits: ReadonlySet<UnitName> | 'all';
}

export interface Rate {
  readonly base: bigint;
  /** For calls with more input tokens than `over`: the price of all of them. Rising. */
  readonly tiers: readonly { readonly over: number; readonly rate: bigint }[];
}

/** What providers charge like the text beside it unless their list says otherwise: pictures and video are counted in tokens of the model. */
const common: readonly UnitName[] = [
  'imageInput',
  'videoInput',
  'cachedImageInput',
  'cachedVideoInput',
  'imageOutput',
  'videoOutput',
  'reasoning',
];

/**
 * Where a list's silence has a meaning. OpenAI: writing to the cache has no price of its own before gpt-5.6 ("Prompt caching": no extra
 * fees), and audio always has one, which the list lacks for old previews. Google: one price for all input unless audio is listed apart
 * (ai.google.dev/gemini-api/docs/pricing), and speech is all that a speech model puts out.
 */
const inherited: Readonly<Record<string, readonly UnitName[]>> = {
  openai: ['cacheWrite'],
  azure: ['cacheWrite'],
  google: ['audioInput', 'cachedAudioInput', 'audioOutput'],
};

interface Period {
  readonly applies: (at: Date) => boolean;
  readonly price: Price | null;
}

/** Names are whatever callers write: beyond this many nothing is remembered. */
const maxRemembered = 2000;

/** Prices of the table by list, model and time. */
export function createPriceBook(table: PriceTable) {
  const found = new Map<string, TableModel | null>();
  const periods = new Map<TableModel, readonly Period[]>();

  function modelIn(list: string, model: string): TableModel | null {
    const key = `${list}\n${model}`;
    const known = found.get(key);
    if (known !== undefined) return known;
    const name = model.toLowerCase();
    const entry = search(list, name) ?? search(list, dashedDate(name)) ?? null;
    if (found.size >= maxRemembered) found.clear();
    found.set(key, entry);
    return entry;
  }

  function search(list: string, name: string): TableModel | undefined {
    if (!Object.hasOwn(table.lists, list)) return undefined;
    const { models, fallbacks } = table.lists[list] as PriceTable['lists'][string];
    const entry = models.find(([, match]) => matches(match, name));
    if (entry !== undefined) return entry;
    for (const fallback of fallbacks) {
      const other = table.lists[fallback]?.models.find(([, match]) => matches(match, name));
      if (other !== undefined) return other;
    }
    return undefined;
  }

  const entryOf = (list: string, model: string): TableModel | null =>
    model.length > 256 ? null : modelIn(list, model);

  return Object.freeze({
    version: table.version,

    /** The table's own name of a model: of a closed set, whatever callers write. */
    nameOf: (list: string | null, model: string): string | null =>
      list === null ? null : (entryOf(list, model)?.[0] ?? null),

    /**
     * The price of a model, or null where none is known.
     *
     * @param list One of the table's lists, or null: an origin whose prices nobody lists.
     * @param at ms since the epoch; prices change by date, some by the time of day.
     */
    priceOf(list: string | null, model: string, at: number): Price | null {
      const entry = list === null ? null : entryOf(list, model);
      if (list === null || entry === null) return null;
      const compiled = periods.getOrInsertComputed(entry, () => periodsOf(entry, table.version, list));
      const date = new Date(at);
      return (compiled.findLast(({ applies }) => applies(date)) ?? compiled[0])?.price ?? null;
    },
  });
}

export type PriceBook = ReturnType<typeof createPriceBook>;

function periodsOf([, , prices]: TableModel, version: string, list: string): readonly Period[] {
  const rows = Array.isArray(prices)
    ? (prices as readonly (readonly [string, TablePrices | null])[])
    : ([['', prices as TablePrices | null]] as const);
  const inherits = new Set([...common, ...(inherited[list] ?? [])]);
  return rows.map(([when, rates]) => ({
    applies: appliesAt(when),
    price: rates === null ? null : { version, inherits, rates: ratesOf(rates) },
  }));
}

function ratesOf(prices: TablePrices): ReadonlyMap<UnitName, Rate> {
  const entries = Object.entries(prices) as [UnitName, TableRate][];
  return new Map(entries.map(([unit, rate]) => [unit, rateOf(typeof rate === 'number' ? [rate] : rate)]));
}

function rateOf([base = 0, ...rest]: readonly number[]): Rate {
  const tiers = [];
  for (let at = 0; at < rest.length; at += 2)
    tiers.push({ over: rest[at] as number, rate: BigInt(rest[at + 1] as number) });
  return { base: BigInt(base), tiers };
}

function appliesAt(when: string): (at: Date) => boolean {
  if (when === '') return () => true;
  const [kind, text = ''] = when.split(' ');
  if (kind === 'from') {
    const from = Date.parse(`${text}T00:00:00Z`);
    return (at) => at.getTime() >= from;
  }
  const [start, end] = text.split('/').map(secondsOf) as [number, number];
  return (at) => {
    const seconds = at.getUTCHours() * 3600 + at.getUTCMinutes() * 60 + at.getUTCSeconds();
    return end < start ? seconds >= start || seconds < end : seconds >= start && seconds < end;
  };
}

function secondsOf(time: string): number {
  const [hours = 0, minutes = 0, seconds = 0] = time.split(':').map(Number);
  return hours * 3600 + minutes * 60 + seconds;
}

function matches(match: TableMatch, name: string): boolean {
  if (typeof match !== 'string') {
    const [first, ...rest] = match;
    return first === '&'
      ? rest.every((part) => matches(part, name))
      : match.some((part) => matches(part, name));
  }
  const text = match.slice(1);
  switch (match[0]) {
    case '=':
      return name === text;
    case '^':
      return name.startsWith(text);
    case '$':
      return name.endsWith(text);
    case '*':
      return name.includes(text);
    default:
      return new RegExp(text).test(name);
  }
}

/** `-20250514` as lists that know `-2025-05-14` have it. */
function dashedDate(name: string): string {
  return name.replaceAll(/-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)/g, '-$1-$2-$3');
}
