/**
 * Of less it is not worth it, where its call is about to end: that goes with a scavenge. Bodies of 100 KB that are given back leave a
 * quarter of the full collections (decision 45).
 */
export const largeBytes = 16 * 1024;

/**
 * Gives the memory of a buffer back at once, if the buffer is all of that memory; it is empty from then on, and so is whatever else looks at
 * it. The collector is told of memory outside of its heap, and begins a full collection because of it, long before it finds who let go.
 *
 * Never of what the system may still be sending, or a parser reading: they go by its address.
 *
 * @returns false: it is part of a larger memory, and stays.
 */
export function giveBack({ buffer, byteLength }: Buffer): boolean {
  if (!(buffer instanceof ArrayBuffer) || byteLength !== buffer.byteLength) return false;
  buffer.transfer(0);
  return true;
}
