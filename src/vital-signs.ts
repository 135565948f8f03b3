import { readBreachClock } from './admin/breach-clock.ts';
import { countKeys } from './admin/key-counts.ts';
import { countWebhooks } from './admin/webhook-counts.ts';
import type { CheckpointDesk } from './checkpoint-desk.ts';
import type { Egress } from './egress/egress.ts';
import type { DataPlane } from './gateway/data-plane.ts';
import type { Installation } from './installation.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface GaugingDeps {
  readonly installation: Pick<Installation, 'store' | 'shipper' | 'vault'>;
  readonly dataPlane: Pick<DataPlane, 'resources'>;
  readonly egress: Pick<Egress, 'connections'>;
  readonly checkpoints: Pick<CheckpointDesk, 'age'>;
  readonly metrics: Metrics;
}

/** For the database. Prometheus waits ten seconds for everything, and has to hear of an outage while there is one. */
const readMs = 1000;

/** Gauges of what nobody counts on the way of a call are read when they are asked for. */
export function createGauging({ installation, dataPlane, egress, checkpoints, metrics }: GaugingDeps) {
  const { store, shipper, vault } = installation;
  let reading: Promise<void> | null = null;

  /** One after the other: calls want the database's connections too. */
  async function readDatabase(): Promise<void> {
    metrics.setKeys(await countKeys({ store }, Date.now()));
    metrics.setWebhooks(await countWebhooks({ store }));
    const { waiting, dueAt } = await readBreachClock(store);
    metrics.setBreaches(waiting, dueAt === null ? 0 : (dueAt.getTime() - Date.now()) / 1000);
  }

  return async (): Promise<void> => {
    // With the database away the last counts stand; one that hangs is asked once, however many ask here.
    reading ??= readDatabase()
      .catch(() => {})
      .finally(() => (reading = null));
    await within(reading, readMs);
    const { callers, ...held } = dataPlane.resources();
    metrics.setResources({
      ...held,
      caches: { callers, ...vault.cacheCounts() },
      upstream: egress.connections(),
      database: store.connections(),
    });
    metrics.setJournalLag(shipper.lag());
    metrics.setCheckpointAge(checkpoints.age());
  };
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/** What `/readyz` tells. */
export async function checkHealth(
  { isDatabaseLost, store, journal, vault }: Installation,
  { epoch }: DataPlane,
) {
  const isReachable =
    !epoch.isStale() &&
    (await store.ping().then(
      () => true,
      () => false,
    ));
  const vaultState = await vault.check().then(
    (found) => (found === 'open' ? ('ok' as const) : found),
    () => 'failed' as const,
  );
  return {
    database: isReachable ? ('ok' as const) : isDatabaseLost() ? ('lost' as const) : ('failed' as const),
    journal: journal.isOpen() ? ('ok' as const) : ('failed' as const),
    vault: vaultState,
  };
}
