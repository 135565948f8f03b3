/** A text to look for in bytes, and what to call it. */
export interface Pattern {
  readonly name: string;
  readonly bytes: Buffer;
}

/** As long as chance never finds it, and short enough that a piece of a key is found. */
const pieceBytes = 16;

/**
 * A key in every form in which a program would hold it: raw, UTF-16LE, base64 in its three alignments (base64url is the same for
 * letters and digits), hex in both cases. Raw in three pieces, because an allocator writes its lists over what is freed; the other
 * forms by the key's middle.
 *
 * @param key at least 48 letters, digits or hyphens
 */
export function formsOf(label: string, key: string): readonly Pattern[] {
  const bytes = Buffer.from(key, 'latin1');
  const from = (bytes.length - pieceBytes) >> 1;
  const middle = bytes.subarray(from, from + pieceBytes);
  const raw = [4, from, bytes.length - pieceBytes].map((at) => bytes.subarray(at, at + pieceBytes));
  const base64 = [0, 1, 2].map((shift) => {
    // What stands before and after in the same group of three changes only the first and last digits.
    const text = Buffer.concat([Buffer.alloc(shift), middle]).toString('base64');
    return text.slice(4, 4 * Math.floor((shift + pieceBytes) / 3));
  });
  const hex = middle.toString('hex');
  return [
    ...raw.map((piece, i) => ({ name: `${label} raw ${['start', 'middle', 'end'][i]}`, bytes: piece })),
    { name: `${label} utf-16`, bytes: Buffer.from(middle.toString('latin1'), 'utf16le') },
    ...base64.map((text, i) => ({ name: `${label} base64 +${i}`, bytes: Buffer.from(text) })),
    { name: `${label} hex`, bytes: Buffer.from(hex) },
    { name: `${label} HEX`, bytes: Buffer.from(hex.toUpperCase()) },
  ];
}

/**
 * Of a chunk every second word of four bytes is looked at: wherever a pattern of eleven bytes or more begins, one of its first eight words
 * (they overlap) is among them. So one pass finds all patterns, at a hundredth of what a pass for each would cost.
 */
interface Words {
  /** Which patterns have this word, and how far behind their beginning. */
  readonly places: ReadonlyMap<number, readonly { readonly pattern: Pattern; readonly offset: number }[]>;
  /** By a hash of the word: 0 where no pattern has such a one. */
  readonly marks: Uint8Array;
}

const [wordBytes, stepBytes] = [4, 8];
const leastBytes = stepBytes + wordBytes - 1;
const known = new WeakMap<readonly Pattern[], Words>();
const markOf = (word: number): number => Math.imul(word, 0x9e3779b1) >>> 16;

function wordsOf(patterns: readonly Pattern[]): Words {
  const places = new Map<number, { pattern: Pattern; offset: number }[]>();
  const marks = new Uint8Array(2 ** 16);
  for (const pattern of patterns) {
    if (pattern.bytes.length < leastBytes)
      throw new RangeError(`${pattern.name} is too short to be looked for`);
    for (let offset = 0; offset < stepBytes; offset += 1) {
      const word = pattern.bytes.readInt32LE(offset);
      marks[markOf(word)] = 1;
      places.set(word, [...(places.get(word) ?? []), { pattern, offset }]);
    }
  }
  return { places, marks };
}

/** How often each pattern stands in a chunk, from `start` on: what ends before was counted with the chunk before. */
export function countIn(
  chunk: Buffer,
  patterns: readonly Pattern[],
  counts: Map<string, number>,
  start = 0,
): void {
  const words = known.get(patterns) ?? wordsOf(patterns);
  known.set(patterns, words);
  const { marks, places } = words;
  const first = (wordBytes - (chunk.byteOffset % wordBytes)) % wordBytes;
  if (chunk.length < first + wordBytes) return;
  const looked = new Int32Array(chunk.buffer, chunk.byteOffset + first, (chunk.length - first) >> 2);
  for (let i = 0; i < looked.length; i += stepBytes / wordBytes) {
    const word = looked[i] as number;
    if (marks[markOf(word)] === 0) continue;
    for (const { pattern, offset } of places.get(word) ?? []) {
      const { bytes, name } = pattern;
      const at = first + i * wordBytes - offset;
      if (at < 0 || at + bytes.length <= start || !chunk.subarray(at, at + bytes.length).equals(bytes))
        continue;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  }
}

/** Only what was found. */
export function foundOf(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].filter(([, count]) => count > 0));
}
