import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dialect } from '../dialects/dialect.ts';
import { SallyportError, type ErrorCode } from '../errors.ts';
import { newId } from '../ids.ts';
import { wipe } from '../secret.ts';
import type { Receipt } from '../journal/journal.ts';
import type { Lease } from '../limits/limits.ts';
import { defaultPolicy } from '../token-policy.ts';
import { authenticate } from './authentication.ts';
import { dialectOf, readPlace } from './base-url.ts';
import { isPreflight, corsHeaders } from './cors.ts';
import { credentialOf } from './credential.ts';
import type { Secrets } from './credentials.ts';
import { requestHeaders } from './forwarded-headers.ts';
import type { GatewayDeps } from './gateway.ts';
import { decide, type Dispatch } from './decision.ts';
import { answersModels } from './model-answer.ts';
import { guardsOf, ownHeaders } from './own-headers.ts';
import { Relay } from './relay.ts';
import type { RelayResult } from './relay-result.ts';
import { asRefusal, sendRefusal } from './refusal.ts';
import { discardRest } from './request-rest.ts';
import { settle } from './settlement.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { Target } from './target.ts';
import { beginFields } from './use-record.ts';

/** One call, from the request's head to the last byte of its answer. It settles exactly once, whatever happens. */
export class Call {
  readonly id = newId('call');
  readonly #deps: GatewayDeps;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #expectsContinue: boolean;
  readonly #startedAtMs: number;
  readonly #startedTick = performance.now();
  readonly #dialect: Dialect;
  /** What came along with the token; gone with the call, whatever way it goes. */
  #secrets: Secrets | null = null;
  #dispatchedTick: number | null = null;
  #isContinued = false;
  #caller: Pick<CallerSnapshot, 'workspaceId' | 'tokenId' | 'userId' | 'policy'> | null = null;
  #target: Target | null = null;
  #relay: Relay | null = null;
  #begin: Receipt | null = null;
  #attempt = 0;
  /** Set when the call has to end before it has an answer: the client left, or the token was revoked. */
  #ended: SallyportError | null = null;

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
    this.#startedAtMs = deps.now();
    this.#dialect = dialectOf(request.url ?? '/');
    response.on('close', () => {
      if (response.writableFinished) return;
      const { onDisconnect } = this.#caller?.policy ?? defaultPolicy;
      if (onDisconnect.type === 'drain' && this.#relay?.drain(onDisconnect) === true) return;
      this.cut('CLIENT_CLOSED', 'The client went away.');
    });
    // A client that resets is not a fault of ours; 'close' follows and says what is needed.
    response.on('error', () => {});
  }

  get keyId(): string | null {
    return this.#target?.key.id ?? null;
  }

  /** Ends the call now, in whatever state it is. */
  cut(code: ErrorCode, message: string): void {
    this.#ended ??= new SallyportError(code, message);
    this.#relay?.cut(code, code === 'CLIENT_CLOSED' ? 'client_closed' : 'revoked', message);
  }

  async run(isDraining: boolean): Promise<void> {
    const { bodies, corsOrigins, egress, limits } = this.#deps;
    if (isPreflight(this.#request, corsOrigins)) {
      const allowed = corsHeaders(this.#request, corsOrigins, true);
      this.#response.writeHead(204, [...guardsOf(this.#request), ...allowed]).end();
      return;
    }
    let lease: Lease | null = null;
    const share = bodies.share();
    let release: (() => void) | null = null;
    try {
      this.#deps.checkArrival(this.#request);
      if (isDraining)
        throw new SallyportError('SHUTTING_DOWN', 'The gateway is shutting down.', { retryAfter: 1 });
      if (this.#request.headers['x-sallyport-hop'] === egress.hop) {
        throw new SallyportError(
          'LOOP_DETECTED',
          'This call came out of this gateway: an origin leads back to it.',
        );
      }
      const place = readPlace(this.#request.url ?? '/');
      const authenticated = await authenticate(this.#deps, this.#request, place);
      const { held, query, seal, providerKey } = authenticated;
      this.#secrets = authenticated;
      this.#caller = held.current();
      release = held.hold(this);
      lease = limits.admit(held.current());
      const own = (): string[] => this.#ownHeaders();
      if (await answersModels(this.#deps, this.#request, this.#response, place, authenticated, own)) return;
      const dispatch = await decide(this.#deps, {
        id: this.id,
        request: this.#request,
        held,
        place: { ...place, query },
        seal,
        providerKey,
        clientAddress: () => this.#deps.clientAddress(this.#request),
        onTarget: (target) => {
          this.#target = target;
        },
        share,
        goOn: () => this.#goOn(),
      });
      try {
        if (this.#ended !== null) throw this.#ended;
        await this.#send(dispatch);
      } finally {
        dispatch.prepared.wipe();
      }
    } catch (error) {
      this.#refuse(error);
    } finally {
      wipe(this.#secrets?.seal, this.#secrets?.providerKey);
      share.release();
      lease?.release();
      release?.();
      if (this.#response.writableEnded) discardRest(this.#request);
    }
  }

  async #send(dispatch: Dispatch): Promise<void> {
    const { metrics, now } = this.#deps;
    const isRepeatable = dispatch.body === null || Buffer.isBuffer(dispatch.body);
    let startedAtMs = now();
    let begin: Receipt | null = await this.#beginUse(dispatch, 1, startedAtMs);
    metrics.callStarted(dispatch.target.provider.name);
    while (begin !== null) {
      this.#attempt += 1;
      this.#begin = begin;
      let result = await this.#attemptOnce(dispatch);
      const isStale = result.failure?.kind === 'stale_socket';
      const repeats =
        isStale && isRepeatable && this.#attempt < defaultPolicy.maxAttempts && this.#ended === null;
      const nextStartedAtMs = now();
      // The next begin comes before this end: an attempt is final unless another one is on record.
      const next: Receipt | null = repeats
        ? await this.#beginUse(dispatch, this.#attempt + 1, nextStartedAtMs).catch(() => null)
        : null;
      if (next === null && result.isHeld) result = (this.#relay as Relay).release();
      if (next === null && result.refusal !== null) this.#refuse(result.refusal);
      settle(this.#deps, {
        identity: dispatch.identity,
        pricing: dispatch.pricing,
        begin,
        attempt: this.#attempt,
        isFinal: next === null,
        result,
        body: dispatch.body,
        status: this.#response.headersSent ? this.#response.statusCode : (result.refusal?.status ?? null),
        startedAtMs,
        callStartedAtMs: this.#startedAtMs,
        overheadMs: (this.#dispatchedTick ?? this.#startedTick) - this.#startedTick,
      });
      if (next !== null) metrics.retried(dispatch.target.provider.name, 'stale_socket');
      begin = next;
      startedAtMs = nextStartedAtMs;
    }
  }

  #beginUse({ identity, target }: Dispatch, attempt: number, startedAtMs: number): Promise<Receipt> {
    const ipHash = this.#deps.hashIp(this.#deps.clientAddress(this.#request));
    return this.#deps.journal.append(
      'use.begin',
      beginFields(identity, target, attempt, startedAtMs, ipHash),
    );
  }

  #attemptOnce({ target, limits, prepared, body, isUnpacked, holdsUsage }: Dispatch): Promise<RelayResult> {
    const { egress, metrics, now } = this.#deps;
    const { provider } = target;
    const isCustom = provider.name === 'custom';
    const relay = new Relay({
      target,
      response: this.#response,
      method: this.#method,
      requestId: this.id,
      dialect: this.#dialect,
      ownHeaders: () => this.#ownHeaders(),
      holdsUsage,
      requestBytes: Buffer.isBuffer(body) ? body.length : 0,
      stalledMs: limits.writeIdleMs,
      now,
    });
    this.#relay = relay;
    if (this.#ended !== null) {
      // It ended while its record was being written: the record stands, nothing is sent.
      this.cut(this.#ended.code, this.#ended.message);
      return relay.done;
    }
    this.#dispatchedTick ??= performance.now();
    try {
      if (target.key.auth === 'none') prepared.checkOrigin(target.origin);
      egress.dispatch(
        {
          origin: target.origin,
          reach: target.reach,
          method: this.#method,
          path: target.path,
          headers: requestHeaders(provider, this.#request.rawHeaders, {
            isRead: isCustom || provider.usageReader(target.operation) !== null,
            isStreamed: body !== null && !Buffer.isBuffer(body),
            isUnpacked,
            lengthChange: body === null || Buffer.isBuffer(body) ? 0 : body.lengthChange,
            isOwnKey: target.key.isCallersOwn,
          }),
          body,
          credential: credentialOf(target, prepared, (ok) => metrics.keyOpened(provider.name, ok)),
          searchFrom: isCustom ? 0 : 400,
          timeouts: {
            connectMs: limits.connectMs,
            headersMs: limits.firstByteMs,
            bodyMs: limits.betweenBytesMs,
          },
        },
        relay,
      );
    } catch (error) {
      relay.fail(asRefusal(error));
    }
    return relay.done;
  }

  get #method(): string {
    return this.#request.method ?? 'GET';
  }

  #goOn(): void {
    if (!this.#expectsContinue) return;
    this.#isContinued = true;
    this.#response.writeContinue();
  }

  #refuse(error: unknown): void {
    const refusal = asRefusal(error);
    const { log, denials, clientAddress, hashIp } = this.#deps;
    if (refusal.code === 'INTERNAL')
      log.error('call.failed', { requestId: this.id, error: refusal.cause ?? refusal });
    if (this.#begin === null && refusal.code !== 'CLIENT_CLOSED') {
      const clientIpHash = hashIp(clientAddress(this.#request));
      denials.note({
        workspaceId: this.#caller?.workspaceId ?? null,
        tokenId: this.#caller?.tokenId ?? null,
        userId: this.#caller?.userId ?? null,
        keyId: this.keyId,
        code: refusal.code,
        clientIpHash,
      });
    }
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
    const tick = this.#dispatchedTick;
    return ownHeaders(this.#request, this.#deps.corsOrigins, {
      callId: this.id,
      dialect: this.#dialect,
      target: this.#target,
      begin: this.#begin,
      attempt: this.#attempt,
      upstreamRequestId: this.#relay?.upstreamRequestId ?? null,
      overheadMs: tick === null ? null : tick - this.#startedTick,
    });
  }
}
