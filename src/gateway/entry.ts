import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../errors.ts';
import type { Lease } from '../limits/limits.ts';
import { wipe } from '../secret.ts';
import { authenticate, type Authenticated } from './authentication.ts';
import { readPlace, type Place } from './base-url.ts';
import type { RunningCall } from './callers.ts';
import type { Secrets } from './credentials.ts';
import type { GatewayDeps } from './gateway.ts';
import { hopsOf } from './hops.ts';
import { checkNetwork } from './networks.ts';
import type { CallerSnapshot } from './snapshot.ts';

export interface Entered extends Authenticated {
  readonly caller: CallerSnapshot;
  /** With the query that is left when the token is taken out. */
  readonly place: Place;
  /** The gateways before this one. */
  readonly hops: string | null;
}

/**
 * The one way in, for calls and for sessions over a WebSocket: what every request of the data plane has to pass before anything of it
 * is read. What is taken here is given back by `leave`.
 */
export class Entry {
  readonly #deps: GatewayDeps;
  readonly #request: IncomingMessage;
  readonly #call: RunningCall & { readonly id: string };
  /** What came along with the token; gone with the call, whatever way it goes. */
  #secrets: Secrets | null = null;
  #caller: CallerSnapshot | null = null;
  #lease: Lease | null = null;
  #release: (() => void) | null = null;

  /** @param call what is cut when the token or the key is taken away. */
  constructor(deps: GatewayDeps, request: IncomingMessage, call: RunningCall & { readonly id: string }) {
    this.#deps = deps;
    this.#request = request;
    this.#call = call;
  }

  /** Null until he is known. */
  get caller(): CallerSnapshot | null {
    return this.#caller;
  }

  /** @throws {SallyportError} TLS_REQUIRED, SHUTTING_DOWN, LOOP_DETECTED, FORBIDDEN, RATE_LIMITED, and as readPlace and authenticate. */
  async enter(isDraining: boolean): Promise<Entered> {
    const { checkArrival, clientAddress, egress, limits } = this.#deps;
    checkArrival(this.#request);
    if (isDraining)
      throw new SallyportError('SHUTTING_DOWN', 'The gateway is shutting down.', { retryAfter: 1 });
    const hops = hopsOf(this.#request, egress.hop);
    const place = readPlace(this.#request.url ?? '/');
    const authenticated = await authenticate(this.#deps, this.#request, place);
    this.#secrets = authenticated;
    const caller = authenticated.held.current();
    this.#caller = caller;
    this.#release = authenticated.held.hold(this.#call);
    checkNetwork(caller, clientAddress(this.#request));
    const lease = limits.admit(caller);
    // A turn of the loop is spared where nobody has to be asked.
    this.#lease = lease instanceof Promise ? await lease : lease;
    return { ...authenticated, caller, place: { ...place, query: authenticated.query }, hops };
  }

  /** Puts a refusal on record: with a use that has begun it stands in that use's end. */
  note(refusal: SallyportError, hasBegun: boolean): void {
    const { log, denials, clientAddress, markClient, metrics } = this.#deps;
    const { id, keyId } = this.#call;
    if (refusal.code === 'INTERNAL')
      log.error('call.failed', { requestId: id, error: refusal.cause ?? refusal });
    if (hasBegun || refusal.code === 'CLIENT_CLOSED') return;
    metrics.refused(refusal.code);
    const workspaceId = this.#caller?.workspaceId ?? null;
    denials.note({
      workspaceId,
      tokenId: this.#caller?.tokenId ?? null,
      userId: this.#caller?.userId ?? null,
      keyId,
      code: refusal.code,
      ...markClient(clientAddress(this.#request), this.#caller ?? { workspaceId }),
    });
  }

  /** The seal and the key that came along are needed no longer. */
  forget(): void {
    wipe(this.#secrets?.seal, this.#secrets?.providerKey);
  }

  leave(): void {
    this.forget();
    this.#lease?.release();
    this.#release?.();
  }
}
