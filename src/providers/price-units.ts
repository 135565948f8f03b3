/**
 * What a provider may charge for. Units of one family lie within each other: an audio token read from a cache is an audio token
 * and a cached one, and both are input. A price for the part takes the part out of the whole.
 */
export interface Unit {
  /** How many of them one price is for. */
  readonly per: number;
  readonly dimensions: Readonly<Record<string, string>>;
}

const million = 1_000_000;
const token = (direction: 'input' | 'output', more: Readonly<Record<string, string>> = {}): Unit => ({
  per: million,
  dimensions: { family: 'tokens', direction, ...more },
});
const tool = (type: string): Unit => ({ per: 1000, dimensions: { family: 'tools', type } });

const table = {
  input: token('input'),
  audioInput: token('input', { modality: 'audio' }),
  imageInput: token('input', { modality: 'image' }),
  videoInput: token('input', { modality: 'video' }),
  cachedInput: token('input', { cache: 'read' }),
  cachedAudioInput: token('input', { cache: 'read', modality: 'audio' }),
  cachedImageInput: token('input', { cache: 'read', modality: 'image' }),
  cachedVideoInput: token('input', { cache: 'read', modality: 'video' }),
  cacheWrite: token('input', { cache: 'write' }),
  cacheWrite1h: token('input', { cache: 'write', ttl: '1h' }),
  output: token('output'),
  audioOutput: token('output', { modality: 'audio' }),
  imageOutput: token('output', { modality: 'image' }),
  videoOutput: token('output', { modality: 'video' }),
  reasoning: token('output', { type: 'reasoning' }),
  /** Counted in ms, priced by the hour. */
  audio: { per: 3_600_000, dimensions: { family: 'time' } },
  characters: { per: million, dimensions: { family: 'characters' } },
  images: { per: 1, dimensions: { family: 'images' } },
  requests: { per: 1, dimensions: { family: 'requests' } },
  webSearches: tool('web'),
  fileSearches: tool('file'),
  rerankSearches: tool('rerank'),
} as const satisfies Record<string, Unit>;

/** Names as the price table and workspaces' own prices have them. */
export type UnitName = keyof typeof table;

export const units: Readonly<Record<UnitName, Unit>> = table;

export const unitNames = Object.keys(units) as readonly UnitName[];

/** Whether every `inner` is an `outer`. */
export function isWithin(inner: UnitName, outer: UnitName): boolean {
  const { dimensions } = units[inner];
  return (
    inner !== outer &&
    Object.entries(units[outer].dimensions).every(([name, value]) => dimensions[name] === value)
  );
}

/** Units that are part of no other: a price for one means that its count has to be known. */
export function isRoot(unit: UnitName): boolean {
  return unitNames.every((other) => !isWithin(unit, other));
}
