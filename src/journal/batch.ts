/**
 * Bytes one behind another: the lines of a group commit, what is shipped together. Grows as needed, and keeps its memory: what the collector
 * has to find out of its heap makes it begin a full collection, and text that is made piece by piece it copies until it is whole.
 */
export interface Batch {
  /** The buffer, with room for so many bytes more behind `length()`; another one after each growth. */
  room(bytes: number): Buffer;
  /** So many of them were filled. */
  add(bytes: number): void;
  bytes(): Buffer;
  length(): number;
  clear(): void;
}

/** What a burst has made larger than this is let go. */
const largestKept = 4 * 1024 * 1024;

/** @param smallest bytes that it begins with */
export function createBatch(smallest = 262_144): Batch {
  let buffer = Buffer.allocUnsafeSlow(smallest);
  let length = 0;
  return Object.freeze({
    room(bytes: number) {
      if (length + bytes > buffer.length) {
        const larger = Buffer.allocUnsafeSlow(Math.max(length + bytes, buffer.length * 2));
        buffer.copy(larger, 0, 0, length);
        buffer = larger;
      }
      return buffer;
    },
    add(bytes: number) {
      length += bytes;
    },
    bytes: () => buffer.subarray(0, length),
    length: () => length,
    clear() {
      length = 0;
      if (buffer.length > largestKept) buffer = Buffer.allocUnsafeSlow(smallest);
    },
  });
}
