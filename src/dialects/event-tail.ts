import { findEventEnd } from './sse.ts';

/**
 * The last events of a stream, kept by reference to the chunks that they came in: looking for blank lines natively costs
 * nothing beside parsing every event (285 µs a stream, measured). What is kept always covers at least five whole events.
 */
export interface EventTail {
  push(chunk: Buffer): void;
  /** From the start of a whole event to the last byte that came. */
  bytes(): Buffer;
  /** True once an event longer than the bound was let go. */
  hasLost(): boolean;
}

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

export function createEventTail(maxBytes: number): EventTail {
  let kept: Kept[] = [];
  let keptBytes = 0;
  let keptEnds = 0;
  let lastByte = -1;
  let isCut = false;
  let lost = false;
  /** Not looked at yet. */
  let fresh: Buffer[] = [];
  let freshBytes = 0;

  function dropFront(): void {
    let front = kept[0];
    let dropped = 0;
    while (front !== undefined && keptEnds - front.ends >= wantedEnds) {
      keptEnds -= front.ends;
      keptBytes -= front.bytes.length;
      isCut = true;
      dropped += 1;
      front = kept[dropped];
    }
    if (dropped > 0) kept.splice(0, dropped);
  }

  function keepFresh(): void {
    if (freshBytes === 0) return;
    const chunk = fresh.length === 1 ? (fresh[0] as Buffer) : Buffer.concat(fresh, freshBytes);
    fresh = [];
    freshBytes = 0;
    keep(chunk);
  }

  function keep(chunk: Buffer): void {
    const found = findLastEnds(chunk);
    const isAcross = endsAcross(lastByte, chunk[0] as number);
    lastByte = chunk[chunk.length - 1] as number;
    if (found.ends === wantedEnds) {
      // Enough in this chunk alone, which may be a long one.
      const bytes = chunk.subarray(found.start);
      isCut ||= kept.length > 0 || found.start > 0;
      kept = [{ bytes, ends: wantedEnds }];
      keptBytes = bytes.length;
      keptEnds = wantedEnds;
    } else {
      const ends = found.ends + (isAcross ? 1 : 0);
      kept.push({ bytes: chunk, ends });
      keptBytes += chunk.length;
      keptEnds += ends;
      if (ends > 0) dropFront();
    }
    if (keptBytes > maxBytes) {
      kept = [];
      keptBytes = 0;
      keptEnds = 0;
      isCut = true;
      lost = true;
    } else if (kept.length > maxChunks) {
      kept = [{ bytes: Buffer.concat(kept.map(({ bytes }) => bytes)), ends: keptEnds }];
    }
  }

  return Object.freeze({
    push(chunk: Buffer): void {
      if (chunk.length === 0) return;
      fresh.push(chunk);
      freshBytes += chunk.length;
      if (freshBytes > soonBytes || fresh.length >= soonChunks) keepFresh();
    },
    bytes(): Buffer {
      keepFresh();
      const bytes = Buffer.concat(kept.map((part) => part.bytes));
      if (!isCut) return bytes;
      const start = findEventEnd(bytes, 0);
      return start < 0 ? Buffer.alloc(0) : bytes.subarray(start);
    },
    hasLost(): boolean {
      keepFresh();
      return lost;
    },
  });
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
