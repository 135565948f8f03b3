import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Egress } from '../egress/egress.ts';
import type { Journal } from '../journal/journal.ts';
import type { Limits } from '../limits/limits.ts';
import type { Log } from '../telemetry/log.ts';
import type { PriceBook } from '../providers/price.ts';
import { Roster } from '../roster.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Tracer } from '../telemetry/tracer.ts';
import type { Vault } from '../vault/vault.ts';
import type { BodyBudget } from './body-budget.ts';
import type { Paces } from './body-pace.ts';
import { Call } from './call.ts';
import type { Callers } from './callers.ts';
import type { Denials } from './denials.ts';
import type { Ends } from './ends.ts';
import type { KeyWatch } from './key-watch.ts';
import type { LastUsed } from './last-used.ts';
import { RealtimeCall } from './realtime.ts';
import type { Upgrade } from './realtime-client.ts';
import type { ModelCatalog } from './model-catalog.ts';
import type { Resolver } from './model-choice.ts';
import type { SealGate } from './seal-gate.ts';
import type { TargetHealth } from './target-health.ts';
import type { LimitsOf } from './time-limits.ts';

export interface GatewayDeps {
  readonly callers: Callers;
  readonly resolver: Resolver;
  readonly models: ModelCatalog;
  readonly sealGate: SealGate;
  /** For a provider key that came with its call. */
  readonly prepareGiven: Vault['prepareGiven'];
  readonly journal: Pick<Journal, 'append' | 'isOpen'>;
  readonly ends: Pick<Ends, 'write'>;
  readonly denials: Pick<Denials, 'note'>;
  readonly bodies: Pick<BodyBudget, 'share'>;
  readonly egress: Pick<Egress, 'dispatch' | 'hop'>;
  readonly limits: Limits;
  readonly limitsOf: LimitsOf;
  readonly health: Pick<TargetHealth, 'begin' | 'end'>;
  readonly keyWatch: Pick<KeyWatch, 'refused' | 'retest' | 'worked'>;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Null where tracing is off. */
  readonly tracer: Tracer | null;
  readonly lastUsed: Pick<LastUsed, 'note'>;
  readonly prices: PriceBook;
  readonly markClient: Vault['markClient'];
  /** The peer, or what trusted proxies say of it. */
  readonly clientAddress: (request: IncomingMessage) => string;
  /** May a provider key come in clear over this connection? */
  readonly isPrivate: (request: IncomingMessage) => boolean;
  /** `https://gateway.example`, as the client reached us; null where it cannot be told. */
  readonly ownOrigin: (request: IncomingMessage) => string | null;
  /** REQUIRE_TLS. @throws {SallyportError} TLS_REQUIRED */
  readonly checkArrival: (request: IncomingMessage) => void;
  readonly maxJsonBytes: number;
  readonly maxUploadBytes: number;
  readonly paces: Paces;
  readonly corsOrigins: readonly string[];
  readonly now: () => number;
}

export interface Gateway {
  /** Serves one request of the data plane, to its end. Never rejects. */
  handle(
    request: IncomingMessage,
    response: ServerResponse,
    options?: { expectsContinue?: boolean },
  ): Promise<void>;
  /** The same for a request for a WebSocket. */
  upgrade(upgrade: Upgrade): Promise<void>;
  callsInFlight(): number;
  /** Those of them whose answers are streams, and have begun. */
  streamsHeld(): { readonly events: number; readonly websockets: number };
  /** Resolves when no call is under way; those that come meanwhile are waited for too. */
  idle(): Promise<void>;
  /** New calls get 503, running ones go on. */
  drain(): void;
  /** Ends calls that have taken longer than they may; to be asked a few times a second. */
  cutOverdue(): void;
  /** Ends what still runs. */
  cutAll(): void;
}

export function createGateway(deps: GatewayDeps): Gateway {
  const running = new Roster<Call | RealtimeCall>();
  let isDraining = false;
  const waiting: (() => void)[] = [];

  async function run(call: Call | RealtimeCall): Promise<void> {
    const seat = running.add(call);
    try {
      await call.run(isDraining);
    } finally {
      seat.leave();
      if (running.size === 0) for (const resolve of waiting.splice(0)) resolve();
    }
  }

  return Object.freeze({
    handle: (
      request: IncomingMessage,
      response: ServerResponse,
      options: { expectsContinue?: boolean } = {},
    ) => run(new Call(deps, request, response, options.expectsContinue === true)),
    upgrade: (upgrade: Upgrade) => run(new RealtimeCall(deps, upgrade)),
    callsInFlight: () => running.size,
    streamsHeld() {
      const held = { events: 0, websockets: 0 };
      for (const { streams } of running.all()) if (streams !== null) held[streams] += 1;
      return held;
    },
    idle: () =>
      running.size === 0 ? Promise.resolve() : new Promise<void>((resolve) => void waiting.push(resolve)),
    drain: () => {
      isDraining = true;
    },
    cutOverdue: () => {
      const now = deps.now();
      for (const call of running.all()) if (call instanceof Call) call.cutOverdue(now);
    },
    cutAll: () => {
      for (const call of running.all()) call.cut('SHUTTING_DOWN', 'The gateway is shutting down.');
    },
  });
}
