import { hasEventFraming, renderStreamError } from '../dialects/error-answer.ts';
import { createMeter, type Meter, type Reading } from '../dialects/meter.ts';
import { createUsageHolder, type UsageHolder } from '../dialects/held-usage.ts';
import type { EgressControl, EgressError, EgressHandler } from '../egress/egress.ts';
import { SallyportError, type ErrorCode } from '../errors.ts';
import { failureOfAnswer, failureOfError } from './attempt-failure.ts';
import { answerHeaders, headerOf } from './forwarded-headers.ts';
import type { RelayOptions } from './relay-options.ts';
import type { RelayResult } from './relay-result.ts';
import { refusedKey, sentence } from './upstream-words.ts';
import type { EndReason } from './use-record.ts';

const maxErrorBytes = 64 * 1024;
/** For the error event of a broken stream to leave. */
const lastWordMs = 2000;

/** The provider's own error, whole, of which the client has heard nothing yet. */
interface HeldAnswer {
  readonly code: ErrorCode;
  readonly body: Buffer;
  readonly result: RelayResult;
}

/**
 * One attempt's answer on its way to the client. Bytes go on as they come, with back-pressure; a copy feeds the meter. After the
 * first byte to the client there is no second attempt, and an answer that broke upstream never looks whole: an error event where the
 * format has events, then the socket is destroyed.
 */
export class Relay implements EgressHandler {
  readonly done: Promise<RelayResult>;
  #finish!: (result: RelayResult) => void;
  readonly #options: RelayOptions;
  #control: EgressControl | null = null;
  #status = 0;
  #headers: readonly [string, string][] = [];
  #isEvents = false;
  #meter: Meter | null = null;
  #holder: UsageHolder | null = null;
  /** Error answers are read before anything is said, up to a bound: a 401 never reaches the client. */
  #errorBody: Buffer[] | null = null;
  #errorBytes = 0;
  #held: HeldAnswer | null = null;
  #responseBytes = 0;
  #firstByteAt: number | null = null;
  #isEnded = false;
  #waitsForDrain = false;
  #stalled: NodeJS.Timeout | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  onStart(control: EgressControl): void {
    this.#control = control;
    if (this.#isEnded) control.abort();
  }

  onHeaders(status: number, headers: readonly [string, string][]): void {
    if (this.#isEnded) return;
    this.#status = status;
    this.#headers = headers;
    this.#firstByteAt = this.#options.now();
    if (status >= 400) this.#errorBody = [];
    else this.#begin();
  }

  onData(chunk: Buffer): void {
    if (this.#isEnded) return;
    if (this.#errorBody === null) return this.#pass(chunk);
    this.#errorBody.push(chunk);
    this.#errorBytes += chunk.length;
    if (this.#errorBytes > maxErrorBytes) this.#answerError(false);
  }

  onEnd(): void {
    if (this.#isEnded) return;
    if (this.#errorBody !== null) return this.#answerError(true);
    const reading = this.#meter?.finish(true) ?? null;
    if (reading !== null && reading.isComplete === false && this.#breaksWhenIncomplete()) {
      return this.#break(
        reading,
        'UPSTREAM_STREAM_BROKEN',
        'upstream_broken',
        'The provider ended the stream before it was whole.',
      );
    }
    for (const chunk of this.#holder?.end() ?? []) this.#write(chunk);
    this.#end();
    const failed = reading?.errorInBand ?? null;
    this.#settle({
      outcome: failed === null ? this.#outcomeOfStatus() : 'UPSTREAM_ERROR',
      endReason: failed === null ? 'complete' : 'upstream_broken',
      reading,
    });
  }

  onError(error: EgressError): void {
    if (this.#isEnded) return;
    const isTimeout = error.code.endsWith('_TIMEOUT');
    const reason: EndReason = isTimeout ? 'timeout' : 'upstream_broken';
    if (this.#options.response.headersSent) {
      const reading = this.#meter?.finish(false) ?? null;
      const [outcome, message] = isTimeout
        ? (['UPSTREAM_IDLE_TIMEOUT', sentence('UPSTREAM_IDLE_TIMEOUT', this.#options.target)] as const)
        : (['UPSTREAM_STREAM_BROKEN', 'The provider’s answer broke off.'] as const);
      return this.#break(reading, outcome, reason, message);
    }
    // A fault of our own on the way (a body past its bound) is told as what it is.
    if (error.cause instanceof SallyportError) return this.fail(error.cause);
    const code: ErrorCode = error.code === 'ABORTED' ? 'CLIENT_CLOSED' : error.code;
    this.#settle({
      outcome: code,
      endReason: reason,
      failure: failureOfError(error),
      refusal: new SallyportError(code, sentence(code, this.#options.target, error.fault), { cause: error }),
    });
  }

  /** The attempt could not be made or went on no further, for a reason of our own. */
  fail(refusal: SallyportError): void {
    if (this.#isEnded) return;
    this.#settle({ outcome: refusal.code, endReason: 'upstream_broken', refusal });
  }

  /** The client is gone, or the call was revoked: the upstream is aborted at once, whatever its state. */
  cut(outcome: ErrorCode, endReason: EndReason, message: string): void {
    if (this.#isEnded) return;
    const reading = this.#meter?.finish(false) ?? null;
    if (endReason !== 'client_closed' && this.#options.response.headersSent) {
      return this.#break(reading, outcome, endReason, message);
    }
    this.#settle({ outcome, endReason, reading, refusal: new SallyportError(outcome, message) });
    this.#control?.abort();
  }

  #begin(): void {
    const { target, response, method } = this.#options;
    this.#isEvents = hasEventFraming(headerOf(this.#headers, 'content-type'));
    const reader = this.#status < 300 ? target.provider.usageReader(target.operation) : null;
    if (reader !== null && method !== 'HEAD') {
      this.#meter = createMeter(reader, {
        isStream: this.#isEvents,
        contentEncoding: headerOf(this.#headers, 'content-encoding'),
        requestBytes: this.#options.requestBytes,
      });
    }
    if (this.#options.holdsUsage && this.#isEvents) this.#holder = createUsageHolder();
    response.writeHead(this.#status, [
      ...answerHeaders(target.provider, this.#headers, this.#holder === null),
      ...this.#options.ownHeaders(),
    ]);
    // Most answers come whole in one read: their head and body are one write then. A head that comes alone goes on alone.
    process.nextTick(() => {
      if (this.#responseBytes === 0 && !response.writableEnded && !response.destroyed)
        response.flushHeaders();
    });
  }

  #pass(chunk: Buffer): void {
    this.#meter?.push(chunk);
    if (this.#holder === null) return this.#write(chunk);
    for (const part of this.#holder.push(chunk)) this.#write(part);
  }

  #write(chunk: Buffer): void {
    const { response } = this.#options;
    this.#responseBytes += chunk.length;
    if (response.write(chunk) || this.#waitsForDrain) return;
    this.#waitsForDrain = true;
    this.#control?.pause();
    // A client that has stopped reading would hold his place, the provider's and these bytes for as long as he likes.
    this.#stalled = setTimeout(() => {
      this.cut('CLIENT_CLOSED', 'client_closed', 'The client took nothing for too long.');
      response.destroy();
    }, this.#options.stalledMs);
    response.once('drain', () => {
      clearTimeout(this.#stalled);
      this.#waitsForDrain = false;
      this.#control?.resume();
    });
  }

  /**
   * The provider's own error: relayed as it is, but for refusals of the stored key, which say nothing of it and are a 502. One after
   * which another attempt may follow waits for the call's word; one too long to be held does not.
   */
  #answerError(isWhole: boolean): void {
    const { target, now } = this.#options;
    const body = Buffer.concat(this.#errorBody ?? [], this.#errorBytes);
    this.#errorBody = null;
    const given = target.provider.classify(this.#status, body) ?? 'UPSTREAM_REJECTED';
    const code = this.#status === 401 || this.#status === 403 ? 'UPSTREAM_AUTH' : given;
    const failure = failureOfAnswer(code, this.#status, this.#headers, now());
    if (code === 'UPSTREAM_AUTH') {
      const refusal = refusedKey(target, this.#status);
      this.#settle({ outcome: code, endReason: 'complete', failure, refusal });
      this.#control?.abort();
      return;
    }
    if (failure !== null && isWhole) {
      const result = this.#settle({ outcome: code, endReason: 'complete', failure, isHeld: true });
      this.#held = { code, body, result };
      return;
    }
    this.#tellError(code, body);
    if (!isWhole) return;
    this.#end();
    this.#settle({ outcome: code, endReason: 'complete' });
  }

  #tellError(code: ErrorCode, body: Buffer): void {
    const { target, response, ownHeaders } = this.#options;
    const headers = answerHeaders(target.provider, this.#headers, true);
    response.writeHead(this.#status, [...headers, ...ownHeaders(), 'x-sallyport-code', code]);
    this.#write(body);
  }

  /** No other attempt follows: the client gets the provider's own error after all. Only after a result that `isHeld`. */
  release(): RelayResult {
    const { code, body, result } = this.#held as HeldAnswer;
    this.#tellError(code, body);
    this.#end();
    clearTimeout(this.#stalled);
    return { ...result, isHeld: false, responseBytes: this.#responseBytes };
  }

  /** The call is over with its last byte; whether the client takes it is his affair, for as long as any byte may wait for him. */
  #end(): void {
    const { response, stalledMs } = this.#options;
    response.end();
    if ((response.socket?.writableLength ?? 0) === 0) return;
    const late = setTimeout(() => response.destroy(), stalledMs).unref();
    response.once('close', () => clearTimeout(late));
  }

  #break(reading: Reading | null, outcome: ErrorCode, endReason: EndReason, message: string): void {
    const { response, dialect, requestId } = this.#options;
    this.#settle({ outcome, endReason, reading });
    this.#control?.abort();
    if (!this.#isEvents || response.destroyed) {
      response.destroy();
      return;
    }
    // Whoever does not read does not get to keep a cut stream's socket.
    const late = setTimeout(() => response.destroy(), lastWordMs);
    response.once('close', () => clearTimeout(late));
    response.write(renderStreamError(dialect, outcome, message, requestId), () => response.destroy());
  }

  /** A custom upstream may end its streams as it likes; the known ones have an end that can be missed. */
  #breaksWhenIncomplete(): boolean {
    return (
      this.#isEvents &&
      this.#options.target.provider.name !== 'custom' &&
      headerOf(this.#headers, 'content-encoding') === null
    );
  }

  #outcomeOfStatus(): 'ok' | ErrorCode {
    if (this.#status < 400) return 'ok';
    return this.#options.target.provider.classify(this.#status, Buffer.alloc(0)) ?? 'UPSTREAM_REJECTED';
  }

  #settle(result: Pick<RelayResult, 'outcome' | 'endReason'> & Partial<RelayResult>): RelayResult {
    this.#isEnded = true;
    clearTimeout(this.#stalled);
    const whole: RelayResult = {
      upstreamRequestId: this.#options.target.provider.upstreamRequestId(this.#headers),
      firstByteAt: this.#firstByteAt,
      responseBytes: this.#responseBytes,
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

  get upstreamRequestId(): string | null {
    return this.#options.target.provider.upstreamRequestId(this.#headers);
  }
}
