import { readBreachClock } from './admin/breach-clock.ts';
import { countKeys } from './admin/key-counts.ts';
import type { DataPlane } from './gateway/data-plane.ts';
import type { Installation } from './installation.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** Gauges of what nobody counts on the way of a call are read when they are asked for. */
export async function scrape({ store, shipper }: Installation, metrics: Metrics): Promise<string> {
  metrics.setJournalLag(shipper.lag());
  // With the database away the last counts stand.
  await countKeys({ store }, Date.now()).then(metrics.setKeys, () => {});
  await readBreachClock(store).then(
    ({ waiting, dueAt }) =>
      metrics.setBreaches(waiting, dueAt === null ? 0 : (dueAt.getTime() - Date.now()) / 1000),
    () => {},
  );
  return metrics.text();
}

/** What `/readyz` tells. */
export async function checkHealth({ store, journal, vault }: Installation, { epoch }: DataPlane) {
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
    database: isReachable ? ('ok' as const) : ('failed' as const),
    journal: journal.isOpen() ? ('ok' as const) : ('failed' as const),
    vault: vaultState,
  };
}
