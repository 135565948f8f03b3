import { renderStreamError } from '../dialects/error-answer.ts';
import type { Reading } from '../dialects/meter.ts';
import type { EgressControl, EgressError, EgressHandler } from '../egress/egress.ts';
import { SallyportError, type ErrorCode } from '../errors.ts';
import { failureOfAnswer, failureOfError } from './attempt-failure.ts';
import { AnswerBody } from './answer-body.ts';
import { foreignFault } from './answer-form.ts';
import { type AnswerSource, AnswerWriter } from './answer-writer.ts';
import { startDrain, type Drain, type DrainBounds } from './drain.ts';
import { ErrorBody } from './error-body.ts';
import { answerHeaders } from './forwarded-headers.ts';
import { Gathering, type GatheringEnds } from './gathering.ts';
import type { RelayOptions } from './relay-options.ts';
import type { HeldAnswer, RelayResult } from './relay-result.ts';
import { type ToldUrls, toldUrls } from './told-urls.ts';
import { clientGone, foreignAnswer, refusedKey, sentence } from './upstream-words.ts';
import type { EndReason } from './use-record.ts';

const broken = { outcome: 'UPSTREAM_STREAM_BROKEN', endReason: 'upstream_broken' } as const;

/**
 * One attempt's answer on its way to the client. Bytes go on as they come, with back-pressure; a copy feeds the meter. After the
 * first byte to the client there is no second attempt, and an answer that broke upstream never looks whole: an error event where the
 * format has events, then the socket is destroyed.
 */
export class Relay implements EgressHandler, GatheringEnds, AnswerSource {
  readonly done: Promise<RelayResult>;
  readonly #finish: (result: RelayResult) => void;
  readonly #options: RelayOptions;
  #control: EgressControl | null = null;
  #status = 0;
  /** Of an error. Those of another answer are let go, as there may be dozens and a stream lasts. */
  #headers: readonly [string, string][] = [];
  upstreamRequestId: string | null = null;
  urls: ToldUrls | null = null;
  readonly #writer: AnswerWriter;
  readonly #gathering = new Gathering(this);
  #body: AnswerBody | null = null;
  /** Error answers are read before anything is said, up to a bound: a 401 never reaches the client. */
  #errorBody: ErrorBody | null = null;
  #held: HeldAnswer | null = null;
  #firstByteAt: number | null = null;
  /** The client has left, and the answer is read on: nothing is written any more. */
  #drain: Drain | null = null;
  #isEnded = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#writer = new AnswerWriter(options.response, options.stalledMs, this);
    ({ promise: this.done, resolve: this.#finish } = Promise.withResolvers<RelayResult>());
  }

  /** It has events, and has not ended. */
  get isStreaming(): boolean {
    return !this.#isEnded && this.#body?.isEvents === true;
  }

  onStart(control: EgressControl): void {
    this.#control = control;
    if (this.#isEnded) control.abort();
  }

  onHeaders(status: number, headers: readonly [string, string][]): void {
    if (this.#isEnded) return;
    this.#status = status;
    this.#firstByteAt = this.#options.now();
    const { target } = this.#options;
    this.upstreamRequestId = target.provider.upstreamRequestId(headers);
    this.urls = toldUrls(status, headers);
    const fault = foreignFault(status, target.operation, headers);
    if (fault !== null) return this.#refuseAnswer(fault);
    if (status < 400) return this.#begin(headers);
    this.#headers = headers;
    this.#errorBody = new ErrorBody();
  }

  onData(chunk: Buffer): void {
    if (this.#isEnded) return;
    if (this.#drain !== null) {
      this.#body?.read(chunk);
      this.#drain.take(chunk.length);
      return;
    }
    if (this.#errorBody === null) return this.#gathering.push(chunk);
    this.#errorBody.push(chunk);
    if (this.#errorBody.isTooLong) this.#answerError(false);
  }

  onEnd(): void {
    this.#gathering.flush();
    if (this.#isEnded) return;
    if (this.#drain !== null) return this.#leave(true);
    if (this.#errorBody !== null) return this.#answerError(true);
    const reading = this.#body?.finish(true) ?? null;
    if (this.#body?.isCutOff(reading) === true)
      return this.#break(reading, broken, 'The provider ended the stream before it was whole.');
    for (const chunk of this.#body?.rest() ?? []) this.#writer.write(chunk);
    this.#writer.end();
    const failed = reading?.errorInBand ?? null;
    this.#settle({
      outcome: failed === null ? this.#outcomeOfStatus() : 'UPSTREAM_ERROR',
      endReason: failed === null ? 'complete' : 'upstream_broken',
      reading,
    });
  }

  onError(error: EgressError): void {
    this.#gathering.flush();
    if (this.#isEnded) return;
    if (this.#drain !== null) return this.#leave(false);
    const isTimeout = error.code.endsWith('_TIMEOUT');
    const reason: EndReason = isTimeout ? 'timeout' : 'upstream_broken';
    if (this.#options.response.headersSent) {
      const reading = this.#body?.finish(false) ?? null;
      if (!isTimeout) return this.#break(reading, broken, 'The provider’s answer broke off.');
      const outcome = 'UPSTREAM_IDLE_TIMEOUT';
      return this.#break(reading, { outcome, endReason: reason }, sentence(outcome, this.#options.target));
    }
    // A fault of our own on the way (a body past its bound) is told as what it is.
    if (error.cause instanceof SallyportError) return this.fail(error.cause, !error.reachedUpstream);
    const code: ErrorCode = error.code === 'ABORTED' ? 'CLIENT_CLOSED' : error.code;
    this.#settle({
      outcome: code,
      endReason: reason,
      failure: failureOfError(error),
      isUnsent: !error.reachedUpstream,
      refusal: new SallyportError(code, sentence(code, this.#options.target, error.fault), { cause: error }),
    });
  }

  /** The attempt could not be made or went on no further, for a reason of our own. */
  fail(refusal: SallyportError, isUnsent = true): void {
    if (this.#isEnded) return;
    this.#settle({ outcome: refusal.code, endReason: 'upstream_broken', refusal, isUnsent });
  }

  /** The client is gone, or the call was revoked: the upstream is aborted at once, whatever its state. */
  cut(outcome: ErrorCode, endReason: EndReason, message: string): void {
    this.#gathering.flush();
    if (this.#isEnded) return;
    if (this.#drain !== null) {
      this.#leave(false);
      this.#control?.abort();
      return;
    }
    const reading = this.#body?.finish(false) ?? null;
    if (endReason !== 'client_closed' && this.#options.response.headersSent) {
      return this.#break(reading, { outcome, endReason }, message);
    }
    this.#settle({ outcome, endReason, reading, refusal: new SallyportError(outcome, message) });
    this.#control?.abort();
  }

  /** The client is gone, and the answer is read on within bounds. @returns false: there is nothing to read */
  drain(bounds: DrainBounds): boolean {
    this.#gathering.flush();
    if (this.#isEnded || this.#control === null || this.#drain !== null) return false;
    this.#drain = startDrain(bounds, () => this.cut('CLIENT_CLOSED', 'client_closed', clientGone));
    this.#writer.release();
    this.#control.resume();
    return true;
  }

  /** The end of a drain; `isWhole`: its counts are the provider's own. */
  #leave(isWhole: boolean): void {
    const reading = this.#body?.finish(isWhole) ?? null;
    const refusal = new SallyportError('CLIENT_CLOSED', clientGone);
    this.#settle({ outcome: 'CLIENT_CLOSED', endReason: 'client_closed', reading, refusal });
  }

  #begin(given: readonly [string, string][]): void {
    const { target, ownHeaders, onBegun } = this.#options;
    this.#body = new AnswerBody(this.#status, given, this.#options);
    if (this.#drain !== null) return;
    const headers = answerHeaders(target.provider, given, this.#body.keepsLength);
    this.#writer.writeHead(this.#status, [...headers, ...ownHeaders()], this.#body.isEvents);
    onBegun?.(this.#body.isEvents, () => this.#control?.forgetBody() === true);
    this.#gathering.awaitTurnEnd();
  }

  handOn(chunk: Buffer): void {
    if (this.#isEnded) return;
    // What follows an error too long to be held has no body of its own.
    if (this.#body === null) return this.#writer.write(chunk);
    if (this.#body.push(chunk, this.#writer)) return;
    this.#break(this.#body.finish(false), broken, 'The provider sent something else than events.');
  }

  onTurnEnd(): void {
    this.#writer.sendHead();
  }

  onFault(fault: Error): void {
    this.#control?.abort(fault);
  }

  onFull(): void {
    this.#control?.pause();
  }

  onTaken(): void {
    this.#control?.resume();
  }

  onStalled(): void {
    this.cut('CLIENT_TOO_SLOW', 'client_closed', 'The client took nothing for too long.');
  }

  /** Before anything was said: what comes is no answer of a provider's. */
  #refuseAnswer(fault: string): void {
    if (this.#drain !== null) return this.cut('CLIENT_CLOSED', 'client_closed', clientGone);
    const refusal = foreignAnswer(this.#options.target, fault);
    this.#settle({ outcome: refusal.code, endReason: 'upstream_broken', refusal });
    this.#control?.abort();
  }

  /**
   * The provider's own error: relayed as it is, but for refusals of the stored key, which say nothing of it and are a 502. One after
   * which another attempt may follow waits for the call's word; one too long to be held does not.
   */
  #answerError(isWhole: boolean): void {
    const { target, now } = this.#options;
    const body = this.#errorBody?.joined() ?? Buffer.alloc(0);
    this.#errorBody = null;
    const given = target.provider.classify(this.#status, body) ?? 'UPSTREAM_REJECTED';
    const code = this.#status === 401 || this.#status === 403 ? 'UPSTREAM_AUTH' : given;
    const failure = failureOfAnswer(code, this.#status, this.#headers, now());
    if (code === 'UPSTREAM_AUTH') {
      const refusal = refusedKey(target, this.#status);
      this.#settle({ outcome: code, endReason: 'complete', failure, refusal });
      return this.#control?.abort();
    }
    if (failure !== null && isWhole) {
      const result = this.#settle({ outcome: code, endReason: 'complete', failure, isHeld: true });
      this.#held = { code, body, result };
      return;
    }
    this.#tellError(code, body);
    if (!isWhole) return;
    this.#writer.end();
    this.#settle({ outcome: code, endReason: 'complete' });
  }

  #tellError(code: ErrorCode, body: Buffer): void {
    const { target, ownHeaders } = this.#options;
    const headers = answerHeaders(target.provider, this.#headers, true);
    this.#writer.writeHead(this.#status, [...headers, ...ownHeaders(), 'x-sallyport-code', code]);
    this.#writer.write(body);
  }

  /** No other attempt follows: the client gets the provider's own error after all. Only after a result that `isHeld`. */
  release(): RelayResult {
    const { code, body, result } = this.#held as HeldAnswer;
    this.#tellError(code, body);
    this.#writer.end();
    this.#writer.release();
    return { ...result, isHeld: false, responseBytes: this.#writer.bytes };
  }

  #break(
    reading: Reading | null,
    how: Pick<RelayResult, 'outcome' | 'endReason'> & { readonly outcome: ErrorCode },
    message: string,
  ): void {
    const { dialect, requestId } = this.#options;
    this.#settle({ ...how, reading });
    this.#control?.abort();
    const isEvents = this.#body?.isEvents === true;
    this.#writer.breakOff(isEvents ? renderStreamError(dialect, how.outcome, message, requestId) : null);
  }

  #outcomeOfStatus(): 'ok' | ErrorCode {
    if (this.#status < 400) return 'ok';
    return this.#options.target.provider.classify(this.#status, Buffer.alloc(0)) ?? 'UPSTREAM_REJECTED';
  }

  #settle(result: Pick<RelayResult, 'outcome' | 'endReason'> & Partial<RelayResult>): RelayResult {
    this.#isEnded = true;
    this.#gathering.drop();
    this.#writer.release();
    this.#drain?.stop();
    const whole: RelayResult = {
      upstreamRequestId: this.upstreamRequestId,
      firstByteAt: this.#firstByteAt,
      responseBytes: this.#writer.bytes,
      upstreamStatus: this.#status === 0 ? null : this.#status,
      isUnsent: this.#control === null,
      reading: null,
      failure: null,
      isHeld: false,
      keyEchoes: this.#control?.keyEchoes ?? 0,
      refusal: null,
      ...result,
    };
    this.#finish(whole);
    return whole;
  }
}
