import { createAlertWatch } from './admin/alert-watch.ts';
import { createWebhookOutbox } from './admin/webhook-outbox.ts';
import { createWebhookSender, type SendWebhook } from './admin/webhook-sender.ts';
import type { Config } from './config.ts';
import type { Egress } from './egress/egress.ts';
import { createExchange } from './egress/exchange.ts';
import type { Installation } from './installation.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** What looks for the unusual while a gateway runs, and tells webhooks of it. */
export interface AlertDesk {
  readonly sendWebhook: SendWebhook;
  /** `operator`: he listed this origin, and it may be plain or private. */
  readonly reachOf: (origin: string) => 'public' | 'operator';
  start(): void;
  /** One look, and one round of deliveries. */
  look(): Promise<void>;
  deliver(): Promise<void>;
  stop(): void;
  /** What is under way ends first: sooner where egress was closed before. */
  close(): Promise<void>;
}

const lookMs = 60_000;
const deliverMs = 5000;
const forgetMs = 3_600_000;

export function createAlertDesk(
  { allowOrigins }: Pick<Config, 'allowOrigins'>,
  deps: {
    readonly installation: Pick<Installation, 'store' | 'vault' | 'journal'>;
    readonly egress: Egress;
    readonly log: Log;
    readonly metrics: Metrics;
    readonly clock: () => number;
  },
): AlertDesk {
  const { clock, egress, log, metrics } = deps;
  const { journal, store, vault } = deps.installation;
  const watch = createAlertWatch({
    store,
    journal,
    clock,
    onRaised({ alertId, rule, ...fields }) {
      metrics.alertRaised(rule);
      log.warn('alert.raised', { ...fields, kind: rule, record: alertId });
    },
  });
  const reachOf = (origin: string): 'public' | 'operator' =>
    allowOrigins.includes(origin) ? 'operator' : 'public';
  const sendWebhook = createWebhookSender({
    vault,
    exchanges: {
      public: createExchange(egress, { reach: 'public' }),
      operator: createExchange(egress, { allowsPlain: true }),
    },
    reachOf,
    clock,
  });
  const outbox = createWebhookOutbox({
    store,
    vault,
    send: sendWebhook,
    clock,
    onForgedRow: (kind, record) => log.error('database.forged-row', { kind, record }),
    onOutcome(outcome, record) {
      metrics.webhookDelivery(outcome);
      if (outcome === 'given_up') log.warn('webhook.given-up', { record });
    },
  });
  const timers: NodeJS.Timeout[] = [];
  const looking = createSlot((error) => log.warn('housekeeping.failed', { name: 'alerts', error }));
  const delivering = createSlot((error) => log.warn('housekeeping.failed', { name: 'webhooks', error }));
  const forgetting = createSlot((error) => log.warn('housekeeping.failed', { name: 'alerts', error }));
  const forget = (): void => forgetting.run(() => watch.forget().then(() => outbox.forget()));
  const every = (ms: number, work: () => void): unknown => timers.push(setInterval(work, ms).unref());

  return Object.freeze<AlertDesk>({
    sendWebhook,
    reachOf,
    start() {
      every(lookMs, () => looking.run(() => watch.look()));
      every(deliverMs, () => delivering.run(() => outbox.run()));
      every(forgetMs, forget);
      // Also where no process lives for an hour.
      forget();
    },
    look: () => watch.look(),
    deliver: () => outbox.run(),
    stop: () => timers.forEach(clearInterval),
    async close() {
      timers.forEach(clearInterval);
      await Promise.all([looking.idle(), delivering.idle(), forgetting.idle()]);
    },
  });
}

/** One work at a time: what takes longer than its interval does not meet the next. */
function createSlot(onError: (error: unknown) => void) {
  let running: Promise<void> | null = null;
  return {
    run(work: () => Promise<void>): void {
      running ??= work()
        .catch(onError)
        .finally(() => (running = null));
    },
    idle: async (): Promise<void> => running ?? undefined,
  };
}
