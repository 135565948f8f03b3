const maxBytes = 64 * 1024;

/** The body of a provider's error, which is read before anything is said of it. */
export class ErrorBody {
  readonly #pieces: Buffer[] = [];
  #bytes = 0;

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  /** More than is held: 64 KiB (GATEWAY.md, invariant 7). */
  get isTooLong(): boolean {
    return this.#bytes > maxBytes;
  }

  joined(): Buffer {
    return Buffer.concat(this.#pieces, this.#bytes);
  }
}
