import type { ServerResponse } from 'node:http';
import { isOverTls } from './own-headers.ts';

/** For the error event of a broken stream to leave. */
const lastWordMs = 2000;

export interface AnswerWriterOptions {
  readonly response: ServerResponse;
  /** How long a client may take nothing of what waits for it, in ms; 0: no bound. */
  readonly writeIdleMs: number;
  /** The client takes less than comes: nothing more until `onTaken`. */
  readonly onFull: () => void;
  readonly onTaken: () => void;
  /** It has taken nothing for too long; its socket is destroyed after this. */
  readonly onStalled: () => void;
}

/** The client's side of an answer: bytes with back-pressure, and a bound for whoever stops reading. */
export class AnswerWriter {
  readonly #options: AnswerWriterOptions;
  #bytes = 0;
  #isFull = false;
  #stalled: NodeJS.Timeout | undefined;

  constructor(options: AnswerWriterOptions) {
    this.#options = options;
  }

  /** Of the body, handed over so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Leaves with what is written next, or by `sendHead`. */
  writeHead(status: number, headers: string[]): void {
    this.#options.response.writeHead(status, headers);
  }

  /** A head that came alone goes on alone. */
  sendHead(): void {
    const { response } = this.#options;
    if (this.#bytes === 0 && response.headersSent && !response.writableEnded && !response.destroyed)
      response.flushHeaders();
  }

  write(chunk: Buffer): void {
    const { response, writeIdleMs, onFull, onTaken, onStalled } = this.#options;
    this.#bytes += chunk.length;
    if (response.write(chunk) || this.#isFull) return;
    this.#isFull = true;
    onFull();
    // A client that has stopped reading would hold his place, the provider's and these bytes for as long as he likes.
    if (writeIdleMs > 0)
      this.#stalled = setTimeout(() => {
        onStalled();
        response.destroy();
      }, writeIdleMs);
    response.once('drain', () => {
      clearTimeout(this.#stalled);
      this.#isFull = false;
      onTaken();
    });
  }

  /** The call is over with its last byte; whether the client takes it is his affair, for as long as any byte may wait for him. */
  end(): void {
    const { response, writeIdleMs } = this.#options;
    response.end();
    if (writeIdleMs > 0 && (response.socket?.writableLength ?? 0) > 0) this.#destroyIn(writeIdleMs);
  }

  /** Ends an answer so that it does not look whole. @param lastWord null where the format has no place for one */
  breakOff(lastWord: Buffer | null): void {
    const { response } = this.#options;
    if (lastWord === null || response.destroyed) {
      // To a client of HTTP/1.0 the connection's end is the body's; under TLS the missing farewell tells it.
      const isOld = response.headersSent && response.req.httpVersionMinor === 0;
      if (isOld && response.socket !== null && !isOverTls(response)) response.socket.resetAndDestroy();
      else response.destroy();
      return;
    }
    // Whoever does not read does not get to keep a cut stream's socket.
    this.#destroyIn(lastWordMs);
    response.write(lastWord, () => response.destroy());
  }

  /** The call is over: nobody waits for the client any more. */
  release(): void {
    clearTimeout(this.#stalled);
  }

  #destroyIn(ms: number): void {
    const { response } = this.#options;
    const late = setTimeout(() => response.destroy(), ms).unref();
    response.once('close', () => clearTimeout(late));
  }
}
