import process from 'node:process';
import { type App, createApp } from '../app.ts';
import type { Config } from '../config.ts';
import { runningDatabase } from '../db/embedded-running.ts';
import { SallyportError } from '../errors.ts';
import { createOwnFront } from '../front.ts';
import { openInstallation } from '../installation.ts';
import { createSharedLimits } from '../limits/shared-limits.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type Channel, createChannel } from './channel.ts';
import type { OfPrimary, OfWorker } from './protocol.ts';

export interface WorkerDeps {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly version: string;
}

/** Between two tellings of what was counted, and of what was used of limits. */
const [countMs, flushMs] = [1000, 250];

/**
 * One of several processes that take calls: everything of a gateway but what it does once (workers/primary.ts). It lives as long as its
 * primary: Node ends a worker whose primary is gone.
 *
 * @returns the exit code
 */
export async function serveAsWorker(config: Config, { log, metrics, version }: WorkerDeps): Promise<number> {
  const stop = Promise.withResolvers<number>();
  let graceMs = 0;
  const started = Promise.withResolvers<App>();
  // Ctrl-C and a service manager reach every process; the primary alone says when a worker stops, and how.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  const handlers: OfWorker = {
    count: async () => (await started.promise).count(),
    recall: ({ tokenId }) => limits.recall(tokenId),
    owed: ({ who, owedMs }) => limits.learn(who, owedMs),
    retire: () => void started.promise.then((app) => app.retire()),
    cut: () => void started.promise.then((app) => app.cut()),
    stop: (how) => stop.resolve(how.graceMs),
  };
  const primary: Channel<OfPrimary> = createChannel<OfPrimary>(toPrimary, handlers);
  const limits = createSharedLimits({
    clock: Date.now,
    ask: (ask) => primary.ask('permits', ask),
    report: (report) => primary.tell('report', report),
    onCount: (who, perMinute) => primary.tell('failed', { who, perMinute }),
  });
  const { maxConnections } = await primary.ask('welcome', null);
  const installation = await openInstallation(config, {
    log,
    metrics,
    isWorker: true,
    maxConnections,
    ...(config.databaseUrl === null ? { database: findDatabase(config) } : {}),
  });
  const timers: NodeJS.Timeout[] = [];
  const every = (ms: number, work: () => void): unknown => timers.push(setInterval(work, ms).unref());
  try {
    const scrapeAll = (): Promise<string> => primary.ask('scrape', null);
    const app = await createApp(config, { installation, log, metrics, version, limits, scrapeAll });
    try {
      started.resolve(app);
      const port = await createOwnFront(config, app).open();
      app.rootKeys.beat.start();
      every(flushMs, () => limits.flush());
      every(countMs, () => void metrics.counts().then((counts) => primary.tell('counted', counts)));
      primary.tell('serving', { port });
      graceMs = await stop.promise;
    } finally {
      await app.close(graceMs);
    }
  } finally {
    for (const timer of timers) clearInterval(timer);
    await installation.close();
  }
  return 0;
}

const toPrimary = {
  send: (message: unknown): void => void process.send?.(message, undefined, undefined, () => {}),
  onMessage: (listener: (message: unknown) => void): void => void process.on('message', listener),
};

/** The primary's embedded server, which it alone starts and stops. */
function findDatabase({ dataDir }: Pick<Config, 'dataDir'>) {
  const connection = runningDatabase(dataDir);
  if (connection === null) throw new SallyportError('INTERNAL', 'The primary’s database does not run.');
  return { connection, stop: async () => {} };
}
