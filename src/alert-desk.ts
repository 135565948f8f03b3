import { createAlertWatch } from './admin/alert-watch.ts';
import type { Installation } from './installation.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** What looks for the unusual while a gateway runs. */
export interface AlertDesk {
  start(): void;
  /** What is under way ends first. */
  close(): Promise<void>;
}

const lookMs = 60_000;
const forgetMs = 24 * 3_600_000;

export function createAlertDesk(deps: {
  readonly installation: Pick<Installation, 'store' | 'journal'>;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: () => number;
}): AlertDesk {
  const { clock, log, metrics } = deps;
  const { journal, store } = deps.installation;
  const watch = createAlertWatch({
    store,
    journal,
    clock,
    onRaised({ alertId, rule, ...fields }) {
      metrics.alertRaised(rule);
      log.warn('alert.raised', { ...fields, kind: rule, record: alertId });
    },
  });
  const timers: NodeJS.Timeout[] = [];
  let running: Promise<void> | null = null;

  /** One that takes longer than its interval does not meet the next. */
  function run(work: () => Promise<void>): void {
    running ??= work()
      .catch((error: unknown) => log.warn('housekeeping.failed', { name: 'alerts', error }))
      .finally(() => (running = null));
  }

  return Object.freeze<AlertDesk>({
    start() {
      timers.push(
        setInterval(() => run(() => watch.look()), lookMs).unref(),
        setInterval(() => run(() => watch.forget()), forgetMs).unref(),
      );
    },
    async close() {
      timers.forEach(clearInterval);
      await running;
    },
  });
}
