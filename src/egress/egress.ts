import { randomBytes } from 'node:crypto';
import type { LookupFunction } from 'node:net';
import { Call } from './call.ts';
import { EgressError } from './egress-error.ts';
import { type Connector, guardedConnector } from './guard.ts';
import { createLane, type Lane } from './lane.ts';
import { checkOrigin, isPublicOrigin } from './origin-check.ts';
import { Patience } from './patience.ts';
import { createTunnel } from './proxy.ts';
import { refusalOf } from './request-check.ts';
import type { EgressControl, EgressHandler, EgressRequest, Reach } from './request.ts';
import { SallyportError } from '../errors.ts';

export { EgressError } from './egress-error.ts';
export type {
  Credential,
  EgressControl,
  EgressHandler,
  EgressRequest,
  EgressStream,
  Reach,
} from './request.ts';

export interface Egress {
  /** Value of `x-sallyport-hop` on everything that leaves: a request that comes in with it is our own (508). */
  readonly hop: string;
  /** Sends one request. The handler's onStart is called before this returns, everything else after. */
  dispatch(request: EgressRequest, handler: EgressHandler): EgressControl;
  /** See origin-check.ts; also refuses our own addresses. @returns the canonical origin @throws SallyportError EGRESS_REFUSED */
  checkOrigin(origin: string, reach: Reach): string;
  /** To all origins together; `opened` since the start. */
  connections(): { readonly busy: number; readonly idle: number; readonly opened: number };
  /** Ends all connections; calls still on them fail with ABORTED. */
  close(): Promise<void>;
}

export interface EgressOptions {
  /** Trusted instead of the built-in roots (tests). Private CAs in production: NODE_EXTRA_CA_CERTS. */
  readonly ca?: string;
  /** Our own base URLs' origins: refused at saving. */
  readonly selfOrigins?: readonly string[];
  /** Names this gateway in the hop header; random per process if left out. */
  readonly hop?: string;
  /** Resolves names; the system's if left out. */
  readonly lookup?: LookupFunction;
  /** The operator's CONNECT proxy, as EGRESS_PROXY has it: for public origins, and for the operator's own that could be public ones. */
  readonly proxy?: string | null;
  /** Origins that are reached without it. */
  readonly directOrigins?: readonly string[];
}

/** The one way out of this program: guarded, verified, without redirects, and by no proxy but the operator's. */
export function createEgress(options: EgressOptions = {}): Egress {
  const hop = options.hop ?? randomBytes(16).toString('hex');
  const selfOrigins = new Set(options.selfOrigins);
  const lanes = { public: new Map<string, Lane>(), operator: new Map<string, Lane>() };
  const { ca, lookup } = options;
  const tunnel = typeof options.proxy === 'string' ? createTunnel({ url: options.proxy, ca, lookup }) : null;
  const direct = new Set(options.directOrigins);
  const straight = {
    public: guardedConnector({ reach: 'public', ca, lookup, tunnel: null }),
    operator: guardedConnector({ reach: 'operator', ca, lookup, tunnel: null }),
  };
  const tunnelled = tunnel === null ? null : guardedConnector({ reach: 'public', ca, lookup, tunnel });
  const patience = new Patience();
  let isClosed = false;
  let opened = 0;

  const check = (origin: string, reach: Reach): string => {
    const canonical = checkOrigin(origin, reach);
    if (selfOrigins.has(canonical))
      throw new SallyportError('EGRESS_REFUSED', 'This is the gateway’s own address.');
    return canonical;
  };

  const connectorTo = (origin: string, reach: Reach): Connector =>
    tunnelled !== null && !direct.has(origin) && (reach === 'public' || isPublicOrigin(origin))
      ? tunnelled
      : straight[reach];

  const laneOf = (origin: string, reach: Reach): Lane => {
    const known = lanes[reach].get(origin);
    if (known !== undefined) return known;
    if (check(origin, reach) !== origin)
      throw new SallyportError('EGRESS_REFUSED', 'The origin is not in its canonical form.');
    const lane = createLane(origin, connectorTo(origin, reach), {
      onOpen: () => (opened += 1),
      onEmpty: () => lanes[reach].delete(origin),
    });
    lanes[reach].set(origin, lane);
    return lane;
  };

  const start = (request: EgressRequest, call: Call): EgressError | null => {
    if (isClosed) return new EgressError('UPSTREAM_UNREACHABLE', 'The gateway is shutting down.');
    const refusal = refusalOf(request);
    if (refusal !== null) return refusal;
    try {
      const connection = laneOf(request.origin, request.reach).take(request.upgrade !== undefined);
      if (connection === null)
        return new EgressError('UPSTREAM_UNREACHABLE', 'Too many connections to this provider are open.');
      connection.send(call, hop);
      return null;
    } catch (error) {
      if (error instanceof SallyportError) return new EgressError('EGRESS_REFUSED', error.message);
      throw error;
    }
  };

  return Object.freeze({
    hop,
    dispatch(request: EgressRequest, handler: EgressHandler): EgressControl {
      const call = new Call(request, handler, patience);
      handler.onStart(call);
      if (!call.isOver) {
        const failure = start(request, call);
        if (failure !== null) call.fail(failure);
      }
      return call;
    },
    checkOrigin: check,
    connections() {
      let busy = 0;
      let idle = 0;
      for (const reached of [lanes.public, lanes.operator])
        for (const lane of reached.values()) {
          busy += lane.busy;
          idle += lane.idle;
        }
      return { busy, idle, opened };
    },
    async close(): Promise<void> {
      isClosed = true;
      const open = [...lanes.public.values(), ...lanes.operator.values()];
      await Promise.all(open.map((lane) => lane.close()));
    },
  });
}
