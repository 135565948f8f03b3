import type { LookupFunction } from 'node:net';
import type { Caller } from './admin/caller.ts';
import type { Keys } from './admin/keys.ts';
import { findOperator } from './admin/operator.ts';
import type { NewWorkspace } from './admin/workspaces.ts';
import { type AlertDesk, createAlertDesk } from './alert-desk.ts';
import { createAdminSide } from './admin-side.ts';
import { type CheckpointDesk, createCheckpointDesk } from './checkpoint-desk.ts';
import type { Config } from './config.ts';
import { createEgress } from './egress/egress.ts';
import { createMailer } from './egress/mailer.ts';
import { SallyportError } from './errors.ts';
import type { Paces } from './gateway/body-pace.ts';
import { createDataPlane, type DataPlane } from './gateway/data-plane.ts';
import type { Installation } from './installation.ts';
import { createLimits, type Limits } from './limits/limits.ts';
import { createMetricsGuard } from './metrics-guard.ts';
import { findOperatorCaller } from './operator-caller.ts';
import { ownOrigins } from './own-origins.ts';
import { providers as ownProviders } from './providers/catalogue.ts';
import type { RootKeyDesk } from './root-key-desk.ts';
import { apiRoutes } from './routes/api/api.ts';
import { createArrival } from './routes/arrival.ts';
import { createClientAddresses } from './routes/client-address.ts';
import { createEdge, type Edge, type EdgeRequest } from './routes/edge.ts';
import { createEdgeServer } from './routes/gateway.ts';
import { healthRoutes } from './routes/health.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { createTls, type Tls } from './routes/tls.ts';
import type { Log } from './telemetry/log.ts';
import type { MetricsSnapshot } from './telemetry/merged-metrics.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { openTracer } from './tracing.ts';
import { checkHealth, createGauging } from './vital-signs.ts';

export interface AppDeps {
  readonly installation: Installation;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly version: string;
  /** Trusted for upstreams instead of the built-in roots (tests). */
  readonly ca?: string;
  /** Resolves names of origins; the system's if left out (tests). */
  readonly lookup?: LookupFunction;
  /** Where the outlet `stdout` writes. */
  readonly output?: { write(text: string): unknown };
  /** Of bodies, in place of the usual ones (tests). */
  readonly paces?: Paces;
  /** In place of this process's own (those that hold over all workers), and of the catalogue. */
  readonly limits?: Limits;
  readonly providers?: typeof ownProviders;
  /** The metrics of all processes, in place of our own alone. */
  readonly scrapeAll?: () => Promise<string>;
}

/** Everything, built and not yet listening. */
export interface App {
  readonly dataPlane: DataPlane;
  readonly main: Edge;
  /** Listeners of their own, where they are set. */
  readonly admin: Edge | null;
  readonly metrics: Edge | null;
  /** `/api` as the operator: for the admin socket, and for commands that open the data directory. */
  readonly operator: Edge;
  readonly keys: Keys;
  readonly rootKeys: Pick<RootKeyDesk, 'beat' | 'rewrapped'>;
  readonly checkpoints: CheckpointDesk;
  readonly alerts: AlertDesk;
  /** Null: plain HTTP. */
  readonly tls: Pick<Tls, 'refresh'> | null;
  /** The first workspace. @throws {SallyportError} ALREADY_INITIALISED */
  initialise(): Promise<NewWorkspace>;
  operatorCaller(): Promise<Caller>;
  /** What this process has counted, as of now. */
  count(): Promise<MetricsSnapshot>;
  /** Says that no more calls should come: `/readyz` fails, and answers are the last of their connections. All is served. */
  retire(): void;
  /** Lets nobody new in, cuts what still runs after `graceMs`, then ends everything above the installation. */
  close(graceMs: number): Promise<void>;
  /** No more patience: what still runs is cut now, and so is what comes. */
  cut(): void;
}

/** For model calls that were cut to end, before all that is left is. */
const cutMs = 2_000;

/** Clients with a connection in use send their next request within it, and are told there that it is the last. */
const quietMs = 1_000;

/** The only place that knows everyone. Where a lower room needs a higher one's ability, it is handed a function here. */
export async function createApp(config: Config, deps: AppDeps): Promise<App> {
  const { installation, log, metrics, version } = deps;
  const { store, vault, journal } = installation;
  const clock = Date.now;
  const egress = createEgress({
    proxy: config.egressProxy,
    directOrigins: config.egressDirectOrigins,
    selfOrigins: ownOrigins(config),
    ...(deps.ca === undefined ? {} : { ca: deps.ca }),
    ...(deps.lookup === undefined ? {} : { lookup: deps.lookup }),
  });
  const checkpoints = createCheckpointDesk(config, { ...deps, egress, clock });
  const alerts = createAlertDesk(config, { installation, egress, log, metrics, clock });
  const origins: Readonly<Record<string, string>> = config.origins;
  const originOf = (provider: string): string => origins[provider] ?? '';
  const operatorSet = new Set([...config.operatorSetOrigins].map(originOf));
  const addresses = createClientAddresses(config.trustedProxies);
  const { isPrivate, checkArrival, ownOrigin } = createArrival(config, addresses);

  const { limits = createLimits({ clock }), providers = ownProviders } = deps;
  const tracer = await openTracer(config, { egress, log, version });
  const dataPlane = await createDataPlane({
    store,
    vault,
    journal,
    egress,
    limits,
    metrics,
    log,
    tracer,
    providers,
    originOf,
    isOperatorSet: (origin) => operatorSet.has(origin),
    clientAddress: (request) => addresses.of(request),
    isPrivate,
    checkArrival,
    ownOrigin,
    staleSeconds: config.authStaleSeconds,
    maxJsonBytes: config.maxJsonBytes,
    maxUploadBytes: config.maxUploadBytes,
    workers: config.workers,
    paces: deps.paces,
    corsOrigins: config.corsOrigins,
    upstreamTimeouts: config.upstreamTimeouts,
    onEpochHint: (listener) => installation.epochHints.start(listener),
  });

  const side = createAdminSide(config, {
    installation,
    dataPlane,
    egress,
    checkpoints,
    alerts,
    sendMail:
      config.smtpUrl === null || config.smtpFrom === null
        ? null
        : createMailer({ url: config.smtpUrl, from: config.smtpFrom, ca: deps.ca, lookup: deps.lookup }),
    originOf,
    log,
    metrics,
    version,
    clock,
  });
  const { callers, keys, rootKeys, workspaces } = side;
  const services = {
    ...side.services,
    version,
    onFault: (error: unknown, request: EdgeRequest) =>
      log.error('api.failed', { requestId: request.id, route: request.routeOptions.url, error }),
  };

  const operatorCaller = (): Promise<Caller> => findOperatorCaller({ store });

  const tls = createTls(config, { log });
  const overNetwork = apiRoutes({
    ...services,
    addressOf: (request) => addresses.of(request.raw),
    isSecure: (request) => isPrivate(request.raw),
    checkArrival: (request) => checkArrival(request.raw),
  });
  let isRetired = false;
  let isCut = false;
  const health = healthRoutes({
    version,
    isStopping: () => isRetired,
    checks: () => checkHealth(installation, dataPlane),
  });
  const gauge = createGauging({ installation, dataPlane, egress, checkpoints, metrics });
  const scraped = {
    contentType: metrics.contentType,
    text: deps.scrapeAll ?? (() => gauge().then(() => metrics.text())),
  };
  const openMetrics = metricsRoutes({ metrics: scraped, mayRead: async () => true });
  const mayRead = createMetricsGuard({
    callers,
    limits,
    addresses,
    checkArrival,
    operator: () => findOperator(store),
  });
  const guardedMetrics = metricsRoutes({ metrics: scraped, mayRead });
  const main = await createEdge({
    serverOf: (listener) => createEdgeServer(dataPlane.gateway, listener, tls),
    tls,
    plugins: [
      { plugin: health },
      ...(config.adminPort === null ? [{ plugin: overNetwork, prefix: '/api' }] : []),
      ...(config.metricsPort === null ? [{ plugin: guardedMetrics }] : []),
    ],
  });
  const admin =
    config.adminPort === null
      ? null
      : await createEdge({
          tls,
          plugins: [{ plugin: overNetwork, prefix: '/api' }, { plugin: health }],
        });
  const metricsEdge =
    config.metricsPort === null ? null : await createEdge({ tls: null, plugins: [{ plugin: openMetrics }] });
  const operator = await createEdge({
    tls: null,
    plugins: [
      {
        plugin: apiRoutes({
          ...services,
          addressOf: () => '',
          isSecure: () => true,
          checkArrival: () => {},
          callerOf: () => operatorCaller(),
        }),
        prefix: '/api',
      },
    ],
  });
  dataPlane.start();

  const edges = [main, admin, metricsEdge, operator].filter((edge) => edge !== null);

  function retire(): void {
    isRetired = true;
    for (const edge of edges) edge.retire();
  }

  function cut(): void {
    isCut = true;
    dataPlane.gateway.drain();
    dataPlane.gateway.cutAll();
  }

  return Object.freeze<App>({
    dataPlane,
    main,
    admin,
    metrics: metricsEdge,
    operator,
    keys,
    rootKeys,
    checkpoints,
    alerts,
    tls,
    operatorCaller,
    async initialise() {
      const found = await store.asSystem((tx) =>
        tx.selectFrom('workspaces').select('id').limit(1).executeTakeFirst(),
      );
      if (found !== undefined) {
        throw new SallyportError(
          'ALREADY_INITIALISED',
          'This installation has a workspace already; nothing was changed.',
        );
      }
      return workspaces.createWorkspace(
        { type: 'cli', id: 'init', ip: null, isOperator: true },
        { name: 'default' },
      );
    },
    count: () => gauge().then(() => metrics.snapshot()),
    retire,
    cut,
    async close(graceMs) {
      retire();
      side.services.tails.close();
      tls?.stop();
      const cutter = setTimeout(cut, graceMs);
      // A client that takes nothing of an export or a tail would hold a stop as long as it likes.
      const lastCutter = setTimeout(() => edges.forEach((edge) => edge.cut()), graceMs + cutMs);
      const quiet = (): number => (isCut ? 0 : Math.min(quietMs, graceMs));
      await Promise.all(edges.map(async (edge) => edge.close(quiet)));
      clearTimeout(cutter);
      clearTimeout(lastCutter);
      log.debug('closed', { name: 'listeners' });
      alerts.stop();
      await checkpoints.close();
      await rootKeys.close();
      side.outcomes.stop();
      await dataPlane.stop();
      log.debug('closed', { name: 'data plane' });
      await tracer?.close();
      await egress.close();
      await alerts.close();
      await installation.epochHints.stop();
      log.debug('closed', { name: 'egress' });
    },
  });
}
