import type { ServerResponse } from 'node:http';
import { frameChunk, lastChunk } from './chunk-frame.ts';
import { isOverTls } from './own-headers.ts';

/** For the error event of a broken stream to leave. */
const lastWordMs = 2000;

/** Whoever writes. */
export interface AnswerSource {
  /** The client takes less than comes: nothing more until `onTaken`. */
  onFull(): void;
  onTaken(): void;
  /** It has taken nothing for too long; its socket is destroyed after this. */
  onStalled(): void;
}

/** The client's side of an answer: bytes with back-pressure, and a bound for whoever stops reading. */
export class AnswerWriter {
  readonly #response: ServerResponse;
  readonly #writeIdleMs: number;
  readonly #source: AnswerSource;
  #bytes = 0;
  #isFull = false;
  #isReleased = false;
  #stalled: NodeJS.Timeout | undefined;
  /** In chunks that are framed here, and not by Node. */
  #isFramed = false;

  /** @param writeIdleMs how long a client may take nothing of what waits for it; 0: no bound */
  constructor(response: ServerResponse, writeIdleMs: number, source: AnswerSource) {
    this.#response = response;
    this.#writeIdleMs = writeIdleMs;
    this.#source = source;
  }

  /** Of the body, handed over so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Leaves with what is written next, or by `sendHead`. @param isForLong a stream follows */
  writeHead(status: number, headers: string[], isForLong = false): void {
    const response = this.#response;
    response.writeHead(status, headers);
    if (!isForLong) return;
    joinText((response as { _header?: unknown })._header);
    this.#isFramed = response.chunkedEncoding;
    // Node writes a chunk as a list of four pieces; in one piece an event takes a tenth less time.
    response.chunkedEncoding = false;
  }

  /** A head that came alone goes on alone. */
  sendHead(): void {
    const response = this.#response;
    if (this.#bytes === 0 && response.headersSent && !response.writableEnded && !response.destroyed)
      response.flushHeaders();
  }

  write(chunk: Buffer): void {
    const response = this.#response;
    this.#bytes += chunk.length;
    if (response.write(this.#framed(chunk)) || this.#isFull) return;
    this.#isFull = true;
    this.#source.onFull();
    // A client that has stopped reading would hold his place, the provider's and these bytes for as long as he likes.
    this.#onTurn(() => this.#watchStall());
    response.once('drain', () => {
      clearTimeout(this.#stalled);
      this.#isFull = false;
      this.#source.onTaken();
    });
  }

  #watchStall(): void {
    if (this.#writeIdleMs === 0 || !this.#isFull || this.#isReleased) return;
    this.#stalled = setTimeout(() => {
      this.#source.onStalled();
      this.#response.destroy();
    }, this.#writeIdleMs);
  }

  /** The call is over with its last byte; whether the client takes it is his affair, for as long as any byte may wait for him. */
  end(): void {
    const response = this.#response;
    if (this.#isFramed) response.end(lastChunk);
    else response.end();
    if (this.#writeIdleMs > 0 && response.socket?.writableLength !== 0)
      this.#onTurn(() => this.#destroyIn(this.#writeIdleMs));
  }

  /** Ends an answer so that it does not look whole. @param lastWord null where the format has no place for one */
  breakOff(lastWord: Buffer | null): void {
    const response = this.#response;
    if (lastWord === null || response.destroyed) return this.#cut();
    // Whoever does not read does not get to keep a cut stream's socket.
    this.#onTurn(() => this.#destroyIn(lastWordMs));
    response.write(this.#framed(lastWord), () => this.#cut());
  }

  #cut(): void {
    const response = this.#response;
    // To a client of HTTP/1.0 the connection's end is the body's; under TLS the missing farewell tells it.
    const isOld = response.headersSent && response.req.httpVersionMinor === 0;
    if (isOld && response.socket !== null && !isOverTls(response)) response.socket.resetAndDestroy();
    else response.destroy();
  }

  /** The call is over: nobody waits for the client any more. */
  release(): void {
    this.#isReleased = true;
    clearTimeout(this.#stalled);
  }

  #framed(bytes: Buffer): Buffer {
    return this.#isFramed && bytes.length > 0 ? frameChunk(bytes) : bytes;
  }

  /** At once, but for the answer to a pipelined call: nobody may be blamed for not taking it before its turn has come. */
  #onTurn(begin: () => void): void {
    const response = this.#response;
    if (response.socket === null) response.once('socket', begin);
    else begin();
  }

  #destroyIn(ms: number): void {
    const response = this.#response;
    const late = setTimeout(() => response.destroy(), ms).unref();
    response.once('close', () => clearTimeout(late));
  }
}

/**
 * Node keeps the head, which it put together from some sixty pieces, until the answer's end: 1.6 KB more for each held stream than the same text in one.
 * V8 joins the pieces of a text that a pattern is looked for in.
 */
function joinText(text: unknown): void {
  if (typeof text === 'string') /[^]/.test(text);
}
