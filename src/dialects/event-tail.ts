import { withoutLongTexts } from './long-texts.ts';
import { findEventEnd } from './sse.ts';

interface Kept {
  readonly bytes: Buffer;
  /** Ends of events in here, counted up to `wantedEnds`. */
  readonly ends: number;
}

/** Usage, finish reason and end marker are at most three events; one is lost to the cut at the front, two are to spare. */
const wantedEnds = 6;
/** So much is looked at in one go: small events that come one by one cost a look each else. */
const [soonBytes, soonChunks] = [2048, 16];
/** Bytes that arrive one by one would otherwise become a Buffer each. */
const maxChunks = 512;
/** A blank line in any of its spellings contains one of these pairs. */
const pairs = ['\n\n', '\n\r', '\r\r'].map((pair) => Buffer.from(pair));

/**
 * The last events of a stream, kept by reference to the chunks that they came in: looking for blank lines natively costs
 * nothing beside parsing every event (285 µs a stream, measured). What is kept always covers at least five whole events.
 */
export class EventTail {
  readonly #maxBytes: number;
  #kept: Kept[] = [];
  #keptBytes = 0;
  #keptEnds = 0;
  #lastByte = -1;
  #isCut = false;
  #hasLost = false;
  #leftOutBytes = 0;
  /** Not looked at yet. */
  #fresh: Buffer[] = [];
  #freshBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#fresh.push(chunk);
    this.#freshBytes += chunk.length;
    if (this.#freshBytes > soonBytes || this.#fresh.length >= soonChunks) this.#keepFresh();
  }

  /** From the start of a whole event to the last byte that came; long texts may be left out. */
  bytes(): Buffer {
    this.#keepFresh();
    const bytes = Buffer.concat(this.#kept.map((part) => part.bytes));
    if (!this.#isCut) return bytes;
    const start = findEventEnd(bytes, 0);
    return start < 0 ? Buffer.alloc(0) : bytes.subarray(start);
  }

  /** Of long texts, so far. */
  get leftOutBytes(): number {
    return this.#leftOutBytes;
  }

  /** True once an event longer than the bound, and not by its texts, was let go. */
  hasLost(): boolean {
    this.#keepFresh();
    return this.#hasLost;
  }

  #keepFresh(): void {
    if (this.#freshBytes === 0) return;
    const fresh = this.#fresh;
    const chunk = fresh.length === 1 ? (fresh[0] as Buffer) : Buffer.concat(fresh, this.#freshBytes);
    this.#fresh = [];
    this.#freshBytes = 0;
    this.#keep(chunk);
  }

  #keep(chunk: Buffer): void {
    const found = findLastEnds(chunk);
    const isAcross = endsAcross(this.#lastByte, chunk[0] as number);
    this.#lastByte = chunk[chunk.length - 1] as number;
    if (found.ends === wantedEnds) {
      // Enough in this chunk alone, which may be a long one.
      const bytes = chunk.subarray(found.start);
      this.#isCut ||= this.#kept.length > 0 || found.start > 0;
      this.#kept = [{ bytes, ends: wantedEnds }];
      this.#keptBytes = bytes.length;
      this.#keptEnds = wantedEnds;
    } else {
      const ends = found.ends + (isAcross ? 1 : 0);
      this.#kept.push({ bytes: chunk, ends });
      this.#keptBytes += chunk.length;
      this.#keptEnds += ends;
      if (ends > 0) this.#dropFront();
    }
    if (this.#keptBytes > this.#maxBytes) {
      this.#shorten();
    } else if (this.#kept.length > maxChunks) {
      this.#kept = [{ bytes: Buffer.concat(this.#kept.map(({ bytes }) => bytes)), ends: this.#keptEnds }];
    }
  }

  /** An event of megabytes is one with a picture in it, and behind the picture stands what it cost. */
  #shorten(): void {
    const bytes = Buffer.concat(this.#kept.map((part) => part.bytes));
    const short = withoutLongTexts(bytes);
    this.#leftOutBytes += bytes.length - short.length;
    // Half of the bound, or what is left would be gone through again for a few bytes more.
    const isShort = short.length <= this.#maxBytes / 2;
    this.#kept = isShort ? [{ bytes: short, ends: this.#keptEnds }] : [];
    this.#keptBytes = isShort ? short.length : 0;
    if (isShort) return;
    this.#keptEnds = 0;
    this.#isCut = true;
    this.#hasLost = true;
  }

  #dropFront(): void {
    let front = this.#kept[0];
    let dropped = 0;
    while (front !== undefined && this.#keptEnds - front.ends >= wantedEnds) {
      this.#keptEnds -= front.ends;
      this.#keptBytes -= front.bytes.length;
      this.#isCut = true;
      dropped += 1;
      front = this.#kept[dropped];
    }
    if (dropped > 0) this.#kept.splice(0, dropped);
  }
}

/** The last ends of events, at most `wantedEnds`, and where the first of them starts. */
function findLastEnds(chunk: Buffer): { readonly ends: number; readonly start: number } {
  for (const pair of pairs) {
    let ends = 0;
    let start = 0;
    let at = chunk.lastIndexOf(pair);
    while (at >= 0) {
      ends += 1;
      start = at;
      if (ends === wantedEnds) break;
      at = at < 2 ? -1 : chunk.lastIndexOf(pair, at - 2);
    }
    if (ends > 0) return { ends, start };
  }
  return { ends: 0, start: 0 };
}

/** A blank line whose two line ends came in two chunks; \r and \n alone may be one line's end. */
function endsAcross(last: number, first: number): boolean {
  return (last === 0x0a && (first === 0x0a || first === 0x0d)) || (last === 0x0d && first === 0x0d);
}
