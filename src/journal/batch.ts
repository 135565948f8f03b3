/** The bytes of one group commit. Grows as needed; `take` hands the bytes out and the next batch reuses them once written. */
export interface Batch {
  /** `source[start, cut)`, the member `hash`, `source[cut, end)`, a newline. */
  line(source: Buffer, start: number, cut: number, end: number, hash: string): void;
  bytes(): Buffer;
  length(): number;
  clear(): void;
}

/** `,"hash":"` + 64 + `"` and the newline. */
const addedBytes = 75;

export function createBatch(): Batch {
  let buffer = Buffer.allocUnsafeSlow(262_144);
  let length = 0;
  return Object.freeze({
    line(source: Buffer, start: number, cut: number, end: number, hash: string) {
      const needed = length + end - start + addedBytes;
      if (needed > buffer.length) {
        const larger = Buffer.allocUnsafeSlow(Math.max(needed, buffer.length * 2));
        buffer.copy(larger, 0, 0, length);
        buffer = larger;
      }
      length += source.copy(buffer, length, start, cut);
      length += buffer.write(`,"hash":"${hash}"`, length, 'latin1');
      length += source.copy(buffer, length, cut, end);
      buffer[length] = 0x0a;
      length += 1;
    },
    bytes: () => buffer.subarray(0, length),
    length: () => length,
    clear() {
      length = 0;
    },
  });
}
