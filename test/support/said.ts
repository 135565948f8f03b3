import type { PassThrough } from 'node:stream';

/** All that has been written to it since the last time; `read()` alone gives the first piece of it. */
export function said(stream: PassThrough): string {
  const pieces: Buffer[] = [];
  for (;;) {
    const piece = stream.read() as Buffer | null;
    if (piece === null) return Buffer.concat(pieces).toString();
    pieces.push(piece);
  }
}
