/**
 * Memory for secrets. Buffers of up to 64 bytes live on the V8 heap, `Buffer.from(string)` and `concat` come from a pool
 * shared with strangers, and both leave copies that no fill() reaches (measured: ../docs/decisions). Memory of its own,
 * outside the heap, is the only kind that a wipe really wipes.
 */
export function secretBuffer(bytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(bytes));
}

/** A copy of `source` in memory of its own; the source stays the caller's to wipe. */
export function secretCopy(source: Uint8Array): Buffer {
  const copy = secretBuffer(source.byteLength);
  copy.set(source);
  return copy;
}

export function wipe(...buffers: readonly (Uint8Array | null | undefined)[]): void {
  for (const buffer of buffers) buffer?.fill(0);
}
