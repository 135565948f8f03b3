/**
 * Server-sent events as the WHATWG HTML standard parses them (9.2.6): lines end with \r\n, \n or \r, a blank line ends an
 * event, lines of data are joined with \n, comments and unknown fields are ignored, one BOM at the very start is skipped.
 */
export interface SseEvent {
  /** The `event` field; null when there is none. */
  readonly name: string | null;
  readonly data: string;
}

export interface SseSplitter {
  /** Events that this chunk completes. Those without a data line are left out. */
  push(chunk: Buffer): SseEvent[];
  /** What stands after the last blank line: by the standard not an event yet. */
  rest(): SseEvent | null;
  /** True once an event passed the bound; nothing more comes then. */
  hasOverflowed(): boolean;
}

const LF = 0x0a;
const CR = 0x0d;
const blankLine = Buffer.from('\n\n');

/** @param maxEventBytes an event longer than that ends the splitting. */
export function createSseSplitter(maxEventBytes: number): SseSplitter {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let isFirst = true;
  let overflowed = false;

  function take(raw: Buffer, events: SseEvent[]): void {
    const event = parseEvent(isFirst ? withoutBom(raw) : raw);
    isFirst = false;
    if (event !== null) events.push(event);
  }

  return Object.freeze({
    push(chunk: Buffer): SseEvent[] {
      const events: SseEvent[] = [];
      if (overflowed || chunk.length === 0) return events;
      pending.push(chunk);
      pendingBytes += chunk.length;
      // Without an end of line there is no end of an event: joining only then keeps byte-wise arrival linear.
      if (!chunk.includes(LF) && !chunk.includes(CR)) {
        overflowed = pendingBytes > maxEventBytes;
        if (overflowed) pending = [];
        return events;
      }
      const bytes = pending.length === 1 ? chunk : Buffer.concat(pending);
      let from = 0;
      for (let end = findEventEnd(bytes, 0); end >= 0; end = findEventEnd(bytes, from)) {
        take(bytes.subarray(from, end), events);
        from = end;
      }
      pending = from === bytes.length ? [] : [bytes.subarray(from)];
      pendingBytes = bytes.length - from;
      overflowed = pendingBytes > maxEventBytes;
      if (overflowed) pending = [];
      return events;
    },
    rest(): SseEvent | null {
      if (overflowed || pendingBytes === 0) return null;
      const raw = Buffer.concat(pending);
      return parseEvent(isFirst ? withoutBom(raw) : raw);
    },
    hasOverflowed: () => overflowed,
  });
}

/**
 * The offset after the blank line that ends the event at `from`, or -1. A blank line right at `from` counts as an event of its
 * own: a \n that was cut off its \r. Bytes between are searched natively, as almost every stream uses \n alone.
 */
export function findEventEnd(bytes: Buffer, from: number): number {
  if (from >= bytes.length) return -1;
  if (bytes[from] === LF) return from + 1;
  if (bytes.indexOf(CR, from) < 0) {
    const at = bytes.indexOf(blankLine, from);
    return at < 0 ? -1 : at + 2;
  }
  let isLineStart = true;
  for (let at = from; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte !== LF && byte !== CR) {
      isLineStart = false;
      continue;
    }
    if (byte === CR && bytes[at + 1] === LF) at += 1;
    if (isLineStart) return at + 1;
    isLineStart = true;
  }
  return -1;
}

/** One event's bytes, with or without the blank line; null without a data line. */
export function parseEvent(raw: Buffer): SseEvent | null {
  let name: string | null = null;
  let data: string | null = null;
  for (const line of raw.toString('utf8').split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') name = value;
    else if (field === 'data') data = data === null ? value : `${data}\n${value}`;
  }
  return data === null ? null : { name, data };
}

function withoutBom(raw: Buffer): Buffer {
  return raw[0] === 0xef && raw[1] === 0xbb && raw[2] === 0xbf ? raw.subarray(3) : raw;
}
