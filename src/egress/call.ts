import { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { giveBack } from '../memory.ts';
import { AnswerSearch } from './answer-search.ts';
import { AnswerWait, type Waiter } from './answer-wait.ts';
import type { Carrier } from './carrier.ts';
import { dispatchOptions } from './dispatch-options.ts';
import { type EgressCode, EgressError, explain } from './egress-error.ts';
import { headerPairs } from './header-pairs.ts';
import type { Passage } from './injector.ts';
import type { Patience } from './patience.ts';
import { newPlaceholder } from './placeholder.ts';
import type { EgressControl, EgressHandler, EgressRequest } from './request.ts';
import { SearchedAnswer } from './searched-answer.ts';
import { UpgradedStream } from './upgraded-stream.ts';

/** Informational answers before the final one: some servers say that they are at work. */
const maxInformational = 64;

/** One request on its way: undici's handler, the caller's control and the injector's passage in one object. */
export class Call implements Dispatcher.DispatchHandler, EgressControl, Passage, Waiter {
  #request: EgressRequest;
  readonly #handler: EgressHandler;
  #carrier: Carrier | null = null;
  #controller: Dispatcher.DispatchController | null = null;
  #connectTimer: NodeJS.Timeout | undefined;
  readonly #wait: AnswerWait;
  #socket: Socket | null = null;
  #bytesReadBefore = 0;
  #wasUsedBefore = false;
  #isOver = false;
  #isPaused = false;
  #isHeadWritten = false;
  #isAnswered = false;
  #isBodySent = false;
  #bodyError: unknown = null;
  /** From the opening of the key until it is known that its answer is not searched, or the call is over. */
  #search: AnswerSearch | null = null;
  #answer: SearchedAnswer | null = null;
  #informational = 0;
  /** What the connection has become, once its protocol was changed. */
  #upgraded: UpgradedStream | null = null;

  placeholder: string | null;

  constructor(request: EgressRequest, handler: EgressHandler, patience: Patience) {
    this.#request = request;
    this.#handler = handler;
    this.#wait = new AnswerWait(patience, request.timeouts, this);
    this.placeholder = request.credential === null ? null : newPlaceholder();
    if (request.body !== null && !Buffer.isBuffer(request.body))
      request.body.on('error', (error) => {
        this.#bodyError = error;
      });
  }

  get origin(): string {
    return this.#request.origin;
  }

  get credential(): EgressRequest['credential'] {
    return this.#request.credential;
  }

  get body(): Buffer | null {
    return Buffer.isBuffer(this.#request.body) ? this.#request.body : null;
  }

  get keyEchoes(): number {
    return this.#search?.found ?? 0;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  /** Gives the call to a connection, which asks for its `options`: undici's. */
  ride(carrier: Carrier): void {
    this.#carrier = carrier;
  }

  options(hop: string): Dispatcher.DispatchOptions {
    return dispatchOptions(this.#request, hop, this.placeholder);
  }

  /** A connection is being made for this call. */
  onConnecting(): void {
    const { connectMs } = this.#request.timeouts;
    if (connectMs === 0 || this.#connectTimer !== undefined || this.#isOver) return;
    const message = `No connection to the provider within ${connectMs} ms.`;
    this.#connectTimer = setTimeout(() => this.onLate('UPSTREAM_CONNECT_TIMEOUT', message), connectMs);
  }

  abort(reason?: Error): void {
    if (this.#isOver) return;
    this.fail(new EgressError('ABORTED', 'The call was given up.', this.#reached(), reason));
  }

  pause(): void {
    this.#isPaused = true;
    (this.#upgraded ?? this.#controller)?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#wait.move();
    if (!this.#isOver) (this.#upgraded ?? this.#controller)?.resume();
  }

  forgetBody(): boolean {
    const { body } = this.#request;
    const isTaken = this.#isBodySent && this.#socket?.writableLength === 0;
    return isTaken && Buffer.isBuffer(body) && giveBack(body);
  }

  /** Ends the call from our side; the caller hears of it after the present turn, never inside his own call to abort or dispatch. */
  fail(error: EgressError): void {
    if (this.#isOver) return;
    this.#end(false);
    queueMicrotask(() => this.#handler.onError(error));
  }

  onKey(key: Uint8Array): void {
    if (this.#request.searchFrom !== null) this.#search = new AnswerSearch(key);
  }

  onHead(): void {
    const socket = this.#carrier?.socket ?? null;
    this.#isHeadWritten = true;
    this.#socket = socket;
    this.#bytesReadBefore = socket?.bytesRead ?? 0;
    this.#wasUsedBefore = (this.#carrier?.served ?? 0) > 0;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    clearTimeout(this.#connectTimer);
    this.#controller = controller;
    this.#wait.begin();
    if (this.#isPaused) controller.pause();
  }

  onResponseStarted(): void {
    this.#isAnswered = true;
  }

  onRequestSent(): void {
    this.#isBodySent = true;
    this.#wait.move();
  }

  isHeldUp(isHeadRead: boolean): boolean {
    const isTaking = !this.#isBodySent && this.#socket?.writableNeedDrain === false;
    return this.#upgraded !== null || (isHeadRead ? this.#isPaused : isTaking);
  }

  onLate(code: EgressCode, message: string): void {
    this.fail(new EgressError(code, message, this.#reached()));
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (this.#isOver) return;
    if (status < 200) return this.#passOver();
    this.#wait.moveToBody();
    const raw = controller.rawHeaders as readonly Buffer[];
    this.#answer = this.#answerOf(status);
    const headers = this.#answer === null ? headerPairs(raw) : this.#answer.headers(raw);
    // A stream may last for hours: undici would hold these and the read that they came in, and we what was asked with.
    controller.rawHeaders = null;
    this.#request = { ...this.#request, headers: [], credential: null };
    if (headers === null)
      this.fail(
        new EgressError('UPSTREAM_ERROR', 'The answer is compressed and cannot be searched for the key.', {
          ...this.#reached(),
          fault:
            'it is compressed although the request asked that it be not, and cannot be searched for the key',
        }),
      );
    else this.#handler.onHeaders(status, headers);
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    socket: Duplex,
  ): void {
    const handler = this.#handler;
    if (this.#isOver || handler.onUpgrade === undefined) {
      socket.destroy();
      this.fail(
        new EgressError('UPSTREAM_ERROR', 'The provider changed protocols unasked.', this.#reached()),
      );
      return;
    }
    this.#isAnswered = true;
    const raw = controller.rawHeaders as readonly Buffer[];
    const answer = this.#answerOf(status);
    const headers = answer?.headers(raw) ?? headerPairs(raw);
    this.#upgraded = new UpgradedStream(socket, answer, {
      onData: (chunk) => {
        if (!this.#isOver) handler.onData(chunk);
      },
      onDrain: () => {
        if (!this.#isOver) handler.onDrain?.();
      },
      onEnd: () => {
        if (this.#isOver) return;
        this.#end(false);
        handler.onEnd();
      },
      onError: (error) => this.onResponseError(null, error),
    });
    if (this.#isPaused) this.#upgraded.pause();
    handler.onUpgrade(headers, this.#upgraded);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isOver) return;
    this.#wait.move();
    const rest = this.#answer === null ? chunk : this.#answer.push(chunk);
    if (rest.length > 0) this.#handler.onData(rest);
  }

  onResponseEnd(): void {
    if (this.#isOver) return;
    const socket = this.#socket;
    // An answer that ends with its connection (no length, no chunks) looks whole to undici even after a reset.
    if (socket !== null && socket.errored !== null) {
      this.onResponseError(null, socket.errored);
      return;
    }
    const held = this.#answer?.end();
    if (held !== undefined && held.length > 0) this.#handler.onData(held);
    if (this.#isOver) return;
    this.#end(this.#isBodySent && socket !== null && !socket.destroyed);
    this.#handler.onEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: unknown): void {
    if (this.#isOver) return;
    const failure =
      this.#bodyError !== null && error === this.#bodyError
        ? new EgressError('ABORTED', 'The request’s body broke off.', this.#reached(), error)
        : explain(error, {
            headWritten: this.#isHeadWritten,
            isAnswered: this.#isAnswered || (this.#socket?.bytesRead ?? 0) > this.#bytesReadBefore,
            wasUsedBefore: this.#wasUsedBefore,
            isRepeatable: this.#request.body === null || Buffer.isBuffer(this.#request.body),
          });
    this.fail(failure);
  }

  /** Each one begins the time for the head anew. */
  #passOver(): void {
    this.#wait.move();
    this.#informational += 1;
    if (this.#informational > maxInformational)
      this.fail(
        new EgressError('UPSTREAM_ERROR', 'The provider did not come to an answer.', {
          ...this.#reached(),
          fault: 'it is announced again and again, and does not come',
        }),
      );
  }

  /** Null: an answer of this status is not searched for the key. */
  #answerOf(status: number): SearchedAnswer | null {
    if (this.#search !== null && status >= (this.#request.searchFrom ?? 0))
      return new SearchedAnswer(this.#search, status, this.#request.method);
    this.#search?.wipe();
    this.#search = null;
    return null;
  }

  #reached(): { reachedUpstream: boolean; stale: boolean } {
    return { reachedUpstream: this.#isHeadWritten, stale: false };
  }

  #end(isClean: boolean): void {
    this.#isOver = true;
    this.#wait.end();
    this.placeholder = null;
    this.#search?.wipe();
    clearTimeout(this.#connectTimer);
    const { body } = this.#request;
    // A server's own message is left to the server: destroying it takes the client's socket, and with it the answer that says why.
    if (!isClean && body !== null && !Buffer.isBuffer(body) && !(body instanceof IncomingMessage))
      body.destroy();
    this.#upgraded?.destroy();
    this.#carrier?.release(isClean);
    this.#carrier = null;
  }
}
