const LF = 0x0a;
const CR = 0x0d;
const lessThan = 0x3c;
/** Of a line that is not data: by the standard it is passed over, so that no honest one is long. */
const maxLineBytes = 1024 * 1024;
/**
 * Of a line of data. Pictures come as one: OpenAI's `partial_image` and `response.completed`, Gemini's `inlineData`, some 27 MB for one
 * of 4K. Nothing here keeps it, but whoever reads events does.
 */
const maxDataBytes = 64 * 1024 * 1024;

/**
 * Looks at the bytes of an event stream on their way: are they events at all, and is there an end to their lines? Keeps none of them. Only for
 * `text/event-stream` without a content-encoding.
 */
export class EventFraming {
  #isEvents = true;
  #hasBegun = false;
  #lineBytes = 0;
  /** The first bytes of the line that is not at its end, as latin1. */
  #lineStart = '';

  /** False: what comes is no event stream, and nothing of this chunk should go on. Once false, always false. */
  push(chunk: Buffer): boolean {
    // JSON has no NUL, and a text that is UTF-16 or no text at all has many.
    if (this.#isEvents && (chunk.includes(0) || this.#isPage(chunk) || this.#isTooLong(chunk)))
      this.#isEvents = false;
    return this.#isEvents;
  }

  /** The last byte stands in the middle of a line. */
  get endsInLine(): boolean {
    return this.#lineBytes > 0;
  }

  /** A page, which a proxy on the way put in the place of events. */
  #isPage(chunk: Buffer): boolean {
    if (this.#hasBegun) return false;
    const at = chunk.findIndex((byte) => byte !== LF && byte !== CR && byte !== 0x20 && byte !== 0x09);
    this.#hasBegun = at >= 0;
    return chunk[at] === lessThan;
  }

  #isTooLong(chunk: Buffer): boolean {
    // As almost every chunk: whole lines.
    if (this.#lineBytes === 0 && chunk[chunk.length - 1] === LF) return false;
    const end = lastLineEnd(chunk);
    if (end >= 0) {
      // Only a line that began before this chunk can be longer than one read.
      const first = this.#lineBytes === 0 ? 0 : firstLineEnd(chunk);
      if (this.#lineBytes + first > boundOf(this.#lineStart)) return true;
      this.#lineBytes = chunk.length - end - 1;
      this.#lineStart = chunk.toString('latin1', end + 1, end + 6);
      return false;
    }
    if (this.#lineStart.length < 5)
      this.#lineStart += chunk.toString('latin1', 0, 5 - this.#lineStart.length);
    this.#lineBytes += chunk.length;
    return this.#lineBytes > boundOf(this.#lineStart);
  }
}

function boundOf(lineStart: string): number {
  return lineStart === 'data:' ? maxDataBytes : maxLineBytes;
}

function firstLineEnd(chunk: Buffer): number {
  const [lf, cr] = [chunk.indexOf(LF), chunk.indexOf(CR)];
  return lf < 0 || (cr >= 0 && cr < lf) ? cr : lf;
}

function lastLineEnd(chunk: Buffer): number {
  return Math.max(chunk.lastIndexOf(LF), chunk.lastIndexOf(CR));
}
