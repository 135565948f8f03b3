import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dialect } from '../dialects/dialect.ts';
import { textBytesOf } from '../dialects/request-text.ts';
import { SallyportError, type ErrorCode } from '../errors.ts';
import { giveBack, largeBytes } from '../memory.ts';
import type { Receipt } from '../journal/journal.ts';
import { sendAttempt } from './attempt.ts';
import type { Asked, Dispatch, Undecided } from './decision.ts';
import type { TracedCall } from './call-trace.ts';
import type { DrainBounds } from './drain.ts';
import type { GatewayDeps } from './gateway.ts';
import { learn } from './lesson.ts';
import { Onward, type Made, type NextAttempt } from './onward.ts';
import { Relay } from './relay.ts';
import type { RelayResult } from './relay-result.ts';
import { resultsBase } from './results-url.ts';
import { settle } from './settlement.ts';
import type { Target } from './target.ts';
import type { ToldUrls } from './told-urls.ts';
import { beginFields, endReasonOf } from './use-record.ts';

export interface AttemptsOptions {
  readonly id: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly dialect: Dialect;
  /** Headers of ours that go with whatever comes, flat. */
  readonly ownHeaders: () => string[];
  /** Tells the client, if he can still be told. */
  readonly refuse: (error: SallyportError) => void;
  readonly startedAtMs: number;
}

interface Way {
  /** The gateways that the call came through. */
  readonly hops: string | null;
  /** Our own time before the first attempt went out. */
  readonly gatewayMs: () => number;
  /** The memory of the body has been given back, before the end of the call. */
  readonly onForgotten: () => void;
}

type Next = NextAttempt & { readonly begin: Receipt; readonly startedAtMs: number };

/**
 * The attempts of one call, one after the other: each has its own record of begin and end, the last one's is final, and only what the
 * last one brings is told. Once the client has been told anything there is no other.
 */
export class Attempts {
  readonly #deps: GatewayDeps;
  readonly #options: AttemptsOptions;
  #relay: Relay | null = null;
  /** Where the call goes, as soon as that is known. */
  target: Target | null = null;
  begin: Receipt | null = null;
  /** Null where tracing is off. */
  trace: TracedCall | null = null;
  /** So far, the one under way too. */
  count = 0;
  /** When the first one went out, as `performance.now` tells it. */
  dispatchedTick: number | null = null;
  /** Set when the call has to end before it has an answer: the client left, the token was revoked, or it took too long. */
  ended: SallyportError | null = null;
  /** ms since the epoch. */
  #dueAtMs = Infinity;
  /** Ends a wait between two attempts. */
  #wake: (() => void) | null = null;

  constructor(deps: GatewayDeps, options: AttemptsOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  get isStreaming(): boolean {
    return this.#relay?.isStreaming === true;
  }

  get upstreamRequestId(): string | null {
    return this.#relay?.upstreamRequestId ?? null;
  }

  get urls(): ToldUrls | null {
    return this.#relay?.urls ?? null;
  }

  /** Ends the call now, in whatever state it is. */
  cut(code: ErrorCode, message: string): void {
    this.ended ??= new SallyportError(code, message);
    this.#wake?.();
    this.#relay?.cut(code, endReasonOf(code), message);
  }

  /** The client is gone, and the answer is read on within bounds. @returns false: there is nothing to read */
  drain(bounds: DrainBounds): boolean {
    return this.#relay?.drain(bounds) === true;
  }

  cutOverdue(now: number): void {
    if (now >= this.#dueAtMs) this.cut('CALL_TIMEOUT', 'The call took longer in all than it may.');
  }

  /** @param first its key is wiped at the end, whatever way. @throws {SallyportError} before the first attempt is on record */
  async run(undecided: Undecided, asked: Asked, first: Dispatch, way: Way): Promise<void> {
    const { health, metrics, now } = this.#deps;
    const callStartedAtMs = this.#options.startedAtMs;
    let dispatch = first;
    let onward: Onward | null = null;
    try {
      if (this.ended !== null) throw this.ended;
      const { totalMs } = first.limits;
      if (totalMs > 0) this.#dueAtMs = callStartedAtMs + totalMs;
      let startedAtMs = now();
      let begin = await this.#beginUse(undecided, first, startedAtMs);
      metrics.callStarted(first.target.provider.name);
      let wasIll = health.begin(first.target);
      for (;;) {
        this.begin = begin;
        this.count += 1;
        const { identity, pricing, prepared, target } = dispatch;
        const body = Buffer.isBuffer(dispatch.body) ? { bytesSeen: dispatch.body.length } : dispatch.body;
        const result = await this.#attempt(dispatch, asked, way);
        const endedAtMs = now();
        learn(this.#deps, undecided.held.current(), target, startedAtMs, result);
        let next: Next | null = null;
        // Told is told: the body may be gone.
        if (result.failure !== null && !this.#options.response.headersSent) {
          onward ??= new Onward(this.#deps, undecided, asked);
          next = await this.#follow(undecided, onward, { dispatch, failure: result.failure, wasIll });
        }
        const isFinal = next === null;
        const told = isFinal ? this.#tell(result) : result;
        settle(this.#deps, {
          identity,
          pricing,
          begin,
          attempt: this.count,
          isFinal,
          result: told,
          body,
          status: isFinal ? this.#statusTold(told) : null,
          startedAtMs,
          endedAtMs: isFinal ? now() : endedAtMs,
          callStartedAtMs,
          overheadMs: way.gatewayMs(),
        });
        this.trace?.attemptEnded(told, isFinal ? now() : endedAtMs);
        if (next === null) return;
        metrics.retried(target.provider.name, next.reason);
        ({ dispatch, begin, startedAtMs } = next);
        if (dispatch.prepared !== prepared) prepared.wipe();
        metrics.callMoved(target.provider.name, dispatch.target.provider.name);
        if (dispatch.target.key.id !== target.key.id) wasIll = health.begin(dispatch.target);
      }
    } finally {
      dispatch.prepared.wipe();
    }
  }

  /** The attempt after a failed one, its begin on record; null where none follows and the client is to be told. */
  async #follow(
    undecided: Undecided,
    onward: Onward,
    failed: Pick<Made, 'dispatch' | 'failure' | 'wasIll'>,
  ): Promise<Next | null> {
    const { now, log } = this.#deps;
    const { dispatch } = failed;
    let next: NextAttempt | null = null;
    try {
      const isIdempotent = ['GET', 'HEAD', 'OPTIONS'].includes(this.#method);
      const made = { ...failed, attempts: this.count, isIdempotent, leftMs: this.#dueAtMs - now() };
      next = this.ended === null ? await onward.after(made, (ms) => this.#pause(ms)) : null;
      if (next !== null && this.ended === null) {
        const startedAtMs = now();
        // The next begin comes before this end: an attempt is final unless another one is on record.
        const begin = await this.#beginUse(undecided, next.dispatch, startedAtMs);
        return { ...next, begin, startedAtMs };
      }
    } catch (error) {
      // That another target cannot be used is no news for the client, who hears of the one that failed.
      if (!(error instanceof SallyportError))
        log.error('call.failed', { requestId: this.#options.id, error });
    }
    if (next !== null && next.dispatch.prepared !== dispatch.prepared) next.dispatch.prepared.wipe();
    this.target = dispatch.target;
    return null;
  }

  /** @returns whether the call goes on: it may be ended while it waits. */
  async #pause(ms: number): Promise<boolean> {
    if (ms > 0 && this.ended === null) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
      this.#wake = null;
    }
    return this.ended === null;
  }

  /** Nothing follows: the client hears of the last attempt, or why the call was ended meanwhile. */
  #tell(result: RelayResult): RelayResult {
    let told = result;
    const { ended } = this;
    if (result.failure !== null && ended !== null) {
      const { code } = ended;
      told = { ...result, outcome: code, endReason: endReasonOf(code), isHeld: false, refusal: ended };
    } else if (result.isHeld) told = (this.#relay as Relay).release();
    if (told.refusal !== null) this.#options.refuse(told.refusal);
    return told;
  }

  #statusTold({ refusal }: RelayResult): number | null {
    const { response } = this.#options;
    return response.headersSent ? response.statusCode : (refusal?.status ?? null);
  }

  #beginUse(
    { held, clientAddress }: Undecided,
    { identity, target }: Dispatch,
    startedAtMs: number,
  ): Promise<Receipt> {
    const marks = this.#deps.markClient(clientAddress(), held.current());
    const fields = beginFields(identity, target, this.count + 1, startedAtMs, marks);
    return this.#deps.journal.append('use.begin', fields);
  }

  #attempt(dispatch: Dispatch, asked: Asked, { hops, onForgotten }: Way): Promise<RelayResult> {
    const { id, request, response, dialect, ownHeaders } = this.#options;
    const { target, limits, body, holdsUsage } = dispatch;
    const method = this.#method;
    const requestBytes = Buffer.isBuffer(body) ? body.length : 0;
    const relay = new Relay({
      target,
      response,
      method,
      requestId: id,
      dialect,
      ownHeaders,
      holdsUsage,
      resultsBase: resultsBase(this.#deps, request, target),
      textBytes: Buffer.isBuffer(body) && dispatch.identity.isStream ? textBytesOf(body) : null,
      stalledMs: limits.writeIdleMs,
      // What was asked is of no more use. A stream may last for hours.
      onBegun: (isStream, forgetSent) => {
        if (!isStream && requestBytes < largeBytes) return;
        // A form keeps what it was made from.
        if (!forgetSent() || asked.form !== null) return;
        if (Buffer.isBuffer(asked.body) && asked.body !== body && !giveBack(asked.body)) return;
        onForgotten();
      },
      now: this.#deps.now,
    });
    this.#relay = relay;
    if (this.ended !== null) {
      // It ended while its record was being written: the record stands, nothing is sent.
      this.cut(this.ended.code, this.ended.message);
      return relay.done;
    }
    this.dispatchedTick ??= performance.now();
    const context = this.trace?.attemptStarted(dispatch) ?? null;
    sendAttempt(this.#deps, dispatch, { method, rawHeaders: request.rawHeaders, hops, context }, relay);
    return relay.done;
  }

  get #method(): string {
    return this.#options.request.method ?? 'GET';
  }
}
