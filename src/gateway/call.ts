import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dialect } from '../dialects/dialect.ts';
import type { ErrorCode } from '../errors.ts';
import { newId } from '../ids.ts';
import { defaultPolicy } from '../token-policy.ts';
import { dialectOf } from './base-url.ts';
import { isPreflight, corsHeaders } from './cors.ts';
import type { GatewayDeps } from './gateway.ts';
import { Attempts } from './attempts.ts';
import { TracedCall } from './call-trace.ts';
import { sayContinue } from './continue.ts';
import { decideOn, type Undecided } from './decision.ts';
import { Entry } from './entry.ts';
import { readIncoming } from './incoming.ts';
import { answersModels } from './model-answer.ts';
import { guardsOf, ownHeaders } from './own-headers.ts';
import { asRefusal, sendRefusal } from './refusal.ts';
import { discardRest } from './request-rest.ts';
import { callLocation } from './told-urls.ts';
import { uploadUrlHere } from './upload-url.ts';

/** One call, from the request's head to the last byte of its answer. It settles exactly once, whatever happens. */
export class Call {
  readonly id = newId('call');
  readonly #deps: GatewayDeps;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #expectsContinue: boolean;
  readonly #startedTick = performance.now();
  readonly #dialect: Dialect;
  readonly #entry: Entry;
  #isContinued = false;
  readonly #attempts: Attempts;
  #trace: TracedCall | null = null;

  constructor(
    deps: GatewayDeps,
    request: IncomingMessage,
    response: ServerResponse,
    expectsContinue: boolean,
  ) {
    this.#deps = deps;
    this.#request = request;
    this.#response = response;
    this.#expectsContinue = expectsContinue;
    this.#dialect = dialectOf(request.url ?? '/');
    this.#entry = new Entry(deps, request, this);
    this.#attempts = new Attempts(deps, {
      id: this.id,
      request,
      response,
      dialect: this.#dialect,
      ownHeaders: () => this.#ownHeaders(),
      refuse: (error) => this.#refuse(error),
      startedAtMs: deps.now(),
    });
    response.on('close', () => {
      if (response.writableFinished) return;
      const { onDisconnect } = this.#entry.caller?.policy ?? defaultPolicy;
      if (onDisconnect.type === 'drain' && this.#attempts.drain(onDisconnect)) return;
      this.cut('CLIENT_CLOSED', 'The client went away.');
    });
    // A client that resets is not a fault of ours; 'close' follows and says what is needed.
    response.on('error', () => {});
  }

  get keyId(): string | null {
    return this.#attempts.target?.key.id ?? null;
  }

  get streams(): 'events' | null {
    return this.#attempts.isStreaming ? 'events' : null;
  }

  /** Ends the call now, in whatever state it is. */
  cut(code: ErrorCode, message: string): void {
    this.#attempts.cut(code, message);
  }

  /** Ends it if it takes longer than it may in all. */
  cutOverdue(now: number): void {
    this.#attempts.cutOverdue(now);
  }

  async run(isDraining: boolean): Promise<void> {
    const { bodies, clientAddress, keyWatch, corsOrigins } = this.#deps;
    const { maxJsonBytes, maxUploadBytes, paces } = this.#deps;
    if (isPreflight(this.#request, corsOrigins)) {
      const allowed = corsHeaders(this.#request, corsOrigins, true);
      this.#response.writeHead(204, [...guardsOf(this.#request), ...allowed]).end();
      return;
    }
    this.#trace = TracedCall.start(this.#deps, this.id, this.#request);
    this.#attempts.trace = this.#trace;
    const share = bodies.share();
    try {
      const entered = await this.#entry.enter(isDraining);
      const { caller, held, place, hops, seal, providerKey } = entered;
      const own = (): string[] => this.#ownHeaders();
      if (await answersModels(this.#deps, this.#request, this.#response, place, entered, own)) return;
      const undecided: Undecided = {
        id: this.id,
        request: this.#request,
        held,
        place,
        seal,
        providerKey,
        clientAddress: () => clientAddress(this.#request),
        onTarget: (target) => {
          this.#attempts.target = target;
        },
      };
      const restrictsModels = caller.models !== null;
      const bounds = { maxJsonBytes, maxUploadBytes, restrictsModels, share, paces };
      const asked = await readIncoming(this.#request, undecided.place, bounds, () => this.#goOn());
      const { refusedKeys } = caller;
      if (refusedKeys.length > 0) keyWatch.retest(refusedKeys, caller);
      const first = await decideOn(this.#deps, undecided, asked);
      await this.#attempts.run(undecided, asked, first, {
        hops,
        gatewayMs: () => this.#overheadMs ?? 0,
        onForgotten: () => share.release(),
      });
    } catch (error) {
      this.#refuse(error);
    } finally {
      share.release();
      this.#entry.leave();
      if (this.#response.writableEnded) discardRest(this.#request);
      const { headersSent, statusCode } = this.#response;
      this.#trace?.ended(headersSent ? statusCode : null, this.#entry.caller);
    }
  }

  #goOn(): void {
    if (!this.#expectsContinue) return;
    sayContinue(this.#response, () => {
      this.#isContinued = true;
    });
  }

  #refuse(error: unknown): void {
    const refusal = asRefusal(error);
    this.#trace?.refused(refusal.code);
    this.#entry.note(refusal, this.#attempts.begin !== null);
    if (this.#response.headersSent || this.#response.destroyed) {
      this.#response.destroy();
      return;
    }
    sendRefusal(
      {
        request: this.#request,
        response: this.#response,
        dialect: this.#dialect,
        requestId: this.id,
        headers: this.#ownHeaders(),
        isBodyComing: !this.#expectsContinue || this.#isContinued,
      },
      refusal,
    );
  }

  #ownHeaders(): string[] {
    const { target, begin, count, upstreamRequestId, urls } = this.#attempts;
    return ownHeaders(this.#request, this.#deps.corsOrigins, {
      callId: this.id,
      dialect: this.#dialect,
      target,
      begin,
      attempt: count,
      upstreamRequestId,
      uploadUrl: uploadUrlHere(this.#deps, this.#request, target, urls?.upload ?? null),
      location: callLocation(this.#request, target, urls?.location ?? null),
      overheadMs: this.#overheadMs,
    });
  }

  /** The gateway's own time before the first attempt went out. */
  get #overheadMs(): number | null {
    const { dispatchedTick } = this.#attempts;
    return dispatchedTick === null ? null : dispatchedTick - this.#startedTick;
  }
}
