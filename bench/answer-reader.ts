import { crc32 } from 'node:zlib';

export interface Answer {
  readonly status: number;
  /** Of the body, its transfer coding taken away. */
  readonly bytes: number;
  readonly crc: number;
}

/** Reads the answers of one connection. A whole HTTP client would cost more than what is measured with it. */
export interface AnswerReader {
  /** @throws {Error} for what is no answer framed by content-length or chunks. */
  push(chunk: Buffer): void;
}

const endOfHead = '\r\n\r\n';
const maxHeadBytes = 16_384;

export function createAnswerReader(onAnswer: (answer: Answer) => void): AnswerReader {
  /** Bytes of a head, or of a line between chunks, that came in pieces. */
  let held: Buffer = Buffer.alloc(0);
  let state: 'head' | 'body' | 'size' | 'data' | 'data-end' | 'last' = 'head';
  let status = 0;
  let left = 0;
  let bytes = 0;
  let crc = 0;

  function finish(): void {
    state = 'head';
    onAnswer({ status, bytes, crc });
  }

  /** @returns the text up to `mark`, or null while it has not come, and where the rest begins */
  function until(mark: string, chunk: Buffer, from: number): { text: string; next: number } | null {
    const fresh = chunk.subarray(from);
    const joined = held.length === 0 ? fresh : Buffer.concat([held, fresh]);
    const end = joined.indexOf(mark);
    if (end < 0) {
      if (joined.length > maxHeadBytes) throw new Error('a head without an end');
      held = Buffer.from(joined);
      return null;
    }
    const next = from + end + mark.length - held.length;
    held = Buffer.alloc(0);
    return { text: joined.toString('latin1', 0, end), next };
  }

  function begin(head: string): void {
    status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1] ?? 'no');
    if (!Number.isInteger(status)) throw new Error('no HTTP answer');
    bytes = 0;
    crc = 0;
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (/\r\ntransfer-encoding: *chunked/i.test(head)) state = 'size';
    else if (length === undefined) throw new Error('an answer without an end');
    else {
      state = 'body';
      left = Number(length);
      if (left === 0) finish();
    }
  }

  function take(chunk: Buffer, from: number): number {
    const part = chunk.subarray(from, from + left);
    left -= part.length;
    bytes += part.length;
    crc = crc32(part, crc);
    if (left === 0) {
      if (state === 'body') finish();
      else state = 'data-end';
    }
    return from + part.length;
  }

  return Object.freeze({
    push(chunk: Buffer): void {
      let at = 0;
      while (at < chunk.length) {
        if (state === 'body' || state === 'data') {
          at = take(chunk, at);
          continue;
        }
        const found = until(state === 'head' ? endOfHead : '\r\n', chunk, at);
        if (found === null) return;
        at = found.next;
        if (state === 'head') begin(found.text);
        else if (state === 'data-end') state = 'size';
        else if (state === 'last') finish();
        else {
          if (!/^[0-9a-f]+$/i.test(found.text)) throw new Error('no chunk size');
          left = Number.parseInt(found.text, 16);
          state = left === 0 ? 'last' : 'data';
        }
      }
    },
  });
}
