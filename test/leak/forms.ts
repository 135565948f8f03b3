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

/** How often each pattern stands in a chunk, from `start` on: what begins before was counted with the chunk before. */
export function countIn(
  chunk: Buffer,
  patterns: readonly Pattern[],
  counts: Map<string, number>,
  start = 0,
): void {
  for (const { name, bytes } of patterns) {
    let found = counts.get(name) ?? 0;
    const first = Math.max(0, start - bytes.length + 1);
    for (let at = chunk.indexOf(bytes, first); at >= 0; at = chunk.indexOf(bytes, at + 1)) found += 1;
    counts.set(name, found);
  }
}

/** Only what was found. */
export function foundOf(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].filter(([, count]) => count > 0));
}
