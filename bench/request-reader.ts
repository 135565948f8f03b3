export interface Request {
  /** Request line and headers, without the empty line behind them. */
  readonly head: string;
  /** Of a body of up to 16 KiB; a longer one is counted and let go. */
  readonly body: string;
}

/** Reads the requests of one connection: what a cheap provider needs of HTTP, and no more. */
export interface RequestReader {
  /** @throws {Error} for what is no request framed by content-length. */
  push(chunk: Buffer): void;
}

const endOfHead = '\r\n\r\n';
const maxHeadBytes = 16_384;
const maxKeptBytes = 16_384;

export function createRequestReader(onRequest: (request: Request) => void): RequestReader {
  let held: Buffer = Buffer.alloc(0);
  let head: string | null = null;
  let left = 0;
  let isKept = false;
  let parts: string[] = [];

  /** @returns where what comes behind the head begins; null: it has not come whole */
  function begin(chunk: Buffer): Buffer | null {
    const joined = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const end = joined.indexOf(endOfHead);
    if (end < 0) {
      if (joined.length > maxHeadBytes) throw new Error('a head without an end');
      held = Buffer.from(joined);
      return null;
    }
    held = Buffer.alloc(0);
    const text = joined.toString('latin1', 0, end);
    head = text;
    const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
    if (length === undefined && !text.startsWith('GET ')) throw new Error('a request without a length');
    left = Number(length ?? 0);
    isKept = left <= maxKeptBytes;
    parts = [];
    return joined.subarray(end + endOfHead.length);
  }

  return Object.freeze({
    push(chunk: Buffer): void {
      let rest: Buffer | null = chunk;
      while (rest !== null && (rest.length > 0 || head !== null)) {
        if (head === null) {
          rest = begin(rest);
          if (rest === null) return;
        }
        const part = rest.subarray(0, left);
        left -= part.length;
        if (isKept) parts.push(part.toString('latin1'));
        if (left > 0) return;
        const request: Request = { head: head as unknown as string, body: parts.join('') };
        head = null;
        rest = rest.subarray(part.length);
        onRequest(request);
      }
    },
  });
}
