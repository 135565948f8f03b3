import type { Dialect } from '../dialects/dialect.ts';
import { SallyportError, type ErrorCode } from '../errors.ts';
import { newId } from '../ids.ts';
import type { Receipt } from '../journal/journal.ts';
import { dialectOf } from './base-url.ts';
import { TracedCall } from './call-trace.ts';
import { decideOn, type Dispatch } from './decision.ts';
import { Entry } from './entry.ts';
import type { GatewayDeps } from './gateway.ts';
import { learn } from './lesson.ts';
import { outgoing } from './outgoing.ts';
import { ownHeaders } from './own-headers.ts';
import { RealtimeAttempt } from './realtime-attempt.ts';
import { type Upgrade, WaitingClient } from './realtime-client.ts';
import { type Handshake, readHandshake } from './realtime-handshake.ts';
import { joinsCall, modelInQuery, renameInQuery } from './realtime-model.ts';
import { mayRun } from './realtime-rules.ts';
import { asRefusal, sendRefusal } from './refusal.ts';
import { settle } from './settlement.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { Target } from './target.ts';
import { beginFields } from './use-record.ts';

/**
 * Without a byte either way, unless the token says how long: speech pauses for longer than an answer does, and clients that still want
 * their session send pings.
 */
const idleMs = 600_000;

/**
 * One session over a WebSocket: a call like every other, whose answer is what follows the change of protocols. One attempt, on a
 * connection of its own. It settles exactly once, whatever happens.
 */
export class RealtimeCall {
  readonly id = newId('call');
  readonly #deps: GatewayDeps;
  readonly #upgrade: Upgrade;
  readonly #client: WaitingClient;
  readonly #startedAtMs: number;
  readonly #startedTick = performance.now();
  readonly #dialect: Dialect;
  readonly #entry: Entry;
  #target: Target | null = null;
  #begin: Receipt | null = null;
  #overheadMs: number | null = null;
  #hops: string | null = null;
  #attempt: RealtimeAttempt | null = null;
  #trace: TracedCall | null = null;
  /** Set when the session has to end before it has begun: the client left, or the token was revoked. */
  #ended: SallyportError | null = null;

  constructor(deps: GatewayDeps, upgrade: Upgrade) {
    this.#deps = deps;
    this.#upgrade = upgrade;
    this.#startedAtMs = deps.now();
    this.#dialect = dialectOf(upgrade.request.url ?? '/');
    this.#entry = new Entry(deps, upgrade.request, this);
    this.#client = new WaitingClient(upgrade, () => this.cut('CLIENT_CLOSED', 'The client went away.'));
  }

  get keyId(): string | null {
    return this.#target?.key.id ?? null;
  }

  get streams(): 'websockets' | null {
    return this.#attempt?.isUpgraded === true ? 'websockets' : null;
  }

  /** Ends the session now, in whatever state it is. */
  cut(code: ErrorCode, message: string): void {
    this.#ended ??= new SallyportError(code, message);
    this.#attempt?.cut(code, message);
  }

  async run(isDraining: boolean): Promise<void> {
    const { request } = this.#upgrade;
    this.#trace = TracedCall.start(this.#deps, this.id, request);
    try {
      const { held, place, hops, seal, providerKey } = await this.#entry.enter(isDraining);
      this.#hops = hops;
      const { query } = place;
      const handshake = readHandshake(request, this.#deps.corsOrigins);
      const model = modelInQuery(query);
      const dispatch = await decideOn(
        this.#deps,
        {
          id: this.id,
          request,
          method: 'POST',
          held,
          place,
          seal,
          providerKey,
          clientAddress: () => this.#deps.clientAddress(request),
          onTarget: (target) => {
            this.#target = target;
            checkJoining(target, query);
          },
        },
        { body: null, isUnpacked: false, fields: null, form: null, model, otherModels: [], isStream: true },
      );
      try {
        if (this.#ended !== null) throw this.#ended;
        await this.#send(dispatch, handshake, query);
      } finally {
        dispatch.prepared.wipe();
      }
    } catch (error) {
      this.#refuse(error);
    } finally {
      this.#entry.leave();
      const { headersSent, statusCode } = this.#upgrade.response;
      this.#trace?.ended(headersSent ? statusCode : null, this.#entry.caller);
    }
  }

  async #send(dispatch: Dispatch, handshake: Handshake, query: string): Promise<void> {
    const { markClient, clientAddress, health, journal, metrics, now } = this.#deps;
    const { request, response } = this.#upgrade;
    const { identity, target } = dispatch;
    const startedAtMs = now();
    const marks = markClient(clientAddress(request), this.#entry.caller as CallerSnapshot);
    const begin = await journal.append('use.begin', beginFields(identity, target, 1, startedAtMs, marks));
    this.#begin = begin;
    metrics.callStarted(target.provider.name);
    health.begin(target);
    const attempt = this.#attemptFor(dispatch, handshake);
    this.#attempt = attempt;
    const { totalMs } = dispatch.limits;
    const late =
      totalMs === 0
        ? undefined
        : setTimeout(() => this.cut('CALL_TIMEOUT', `The session took longer than ${totalMs} ms.`), totalMs);
    // Where it ended while its record was being written the record stands, and nothing is sent.
    if (this.#ended === null) this.#dispatch(dispatch, attempt, query);
    else this.cut(this.#ended.code, this.#ended.message);
    const result = await attempt.done;
    clearTimeout(late);
    learn(this.#deps, this.#entry.caller as CallerSnapshot, target, startedAtMs, result);
    if (result.refusal !== null) this.#refuse(result.refusal);
    settle(this.#deps, {
      identity,
      pricing: dispatch.pricing,
      begin,
      attempt: 1,
      isFinal: true,
      result,
      body: { bytesSeen: attempt.requestBytes },
      status: response.headersSent ? response.statusCode : (result.refusal?.status ?? null),
      startedAtMs,
      endedAtMs: now(),
      callStartedAtMs: this.#startedAtMs,
      overheadMs: this.#overheadMs ?? 0,
    });
    this.#trace?.attemptEnded(result, now());
  }

  #attemptFor({ target, limits, prepared }: Dispatch, handshake: Handshake): RealtimeAttempt {
    const caller = this.#entry.caller as CallerSnapshot;
    const { request, response } = this.#upgrade;
    return new RealtimeAttempt({
      target,
      response,
      handshake,
      client: this.#client,
      method: 'GET',
      rawHeaders: request.rawHeaders,
      requestId: this.id,
      dialect: this.#dialect,
      ownHeaders: (upstreamRequestId) => this.#ownHeaders(upstreamRequestId),
      onUpgraded: () => {
        // A session may last for hours.
        prepared.wipe();
        this.#entry.forget();
      },
      holdsUsage: false,
      resultsBase: null,
      textBytes: null,
      mayRun: mayRun(caller, target),
      maxMessageBytes: this.#deps.maxJsonBytes,
      idleMs: caller.policy.timeouts.betweenBytesMs ?? idleMs,
      stalledMs: limits.writeIdleMs,
      now: this.#deps.now,
    });
  }

  #dispatch(dispatch: Dispatch, attempt: RealtimeAttempt, query: string): void {
    const { path, upstreamModel } = dispatch.target;
    this.#overheadMs = performance.now() - this.#startedTick;
    const renamed =
      upstreamModel === null
        ? path
        : path.slice(0, path.length - query.length) + renameInQuery(query, upstreamModel);
    try {
      this.#deps.egress.dispatch(
        {
          ...outgoing(this.#deps, dispatch, this.#hops),
          method: 'GET',
          path: renamed,
          headers: [...attempt.headers, ...(this.#trace?.attemptStarted(dispatch) ?? [])],
          body: null,
          upgrade: 'websocket',
        },
        attempt,
      );
    } catch (error) {
      attempt.fail(error);
    }
  }

  #refuse(error: unknown): void {
    const refusal = asRefusal(error);
    const { request, response } = this.#upgrade;
    this.#trace?.refused(refusal.code);
    this.#entry.note(refusal, this.#begin !== null);
    if (response.headersSent || this.#upgrade.socket.destroyed || refusal.code === 'CLIENT_CLOSED') {
      this.#upgrade.socket.destroy();
      return;
    }
    const headers = ['sec-websocket-version', '13', ...this.#ownHeaders(null)];
    const { id: requestId } = this;
    sendRefusal(
      { request, response, dialect: this.#dialect, requestId, headers, isBodyComing: false },
      refusal,
    );
  }

  #ownHeaders(upstreamRequestId: string | null): string[] {
    return ownHeaders(this.#upgrade.request, this.#deps.corsOrigins, {
      callId: this.id,
      dialect: this.#dialect,
      target: this.#target,
      begin: this.#begin,
      attempt: this.#begin === null ? 0 : 1,
      upstreamRequestId,
      overheadMs: this.#overheadMs,
    });
  }
}

/** A call that somebody began over WebRTC or the telephone is an object in the account, like a file. */
function checkJoining({ key }: Target, query: string): void {
  if (key.isCallersOwn || !joinsCall(query)) return;
  throw new SallyportError(
    'ENDPOINT_FORBIDDEN',
    'Calls that are under way (call_id) are not joined on a key that is not your own: its users would hear each other.',
  );
}
