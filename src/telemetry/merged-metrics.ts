import { AggregatorRegistry } from 'prom-client';

/** What one process has counted. Plain data, to be sent from one process to another. */
export type MetricsSnapshot = readonly {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly values: readonly {
    readonly labels: Readonly<Record<string, string | number>>;
    readonly value: number;
    readonly metricName?: string;
  }[];
  /** `sum` or `max` (tally.ts). */
  readonly aggregator: string;
}[];

/** The exposition text of several processes as that of one. @param snapshots the primary's comes first */
export async function mergeMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  return merged(snapshots).metrics();
}

/** What is left of processes that have ended: counters never go down because one of those that counted is gone. */
export async function keepCounts(snapshots: readonly MetricsSnapshot[]): Promise<MetricsSnapshot> {
  const all = (await merged(snapshots).getMetricsAsJSON()) as unknown as MetricsSnapshot;
  return all.filter(({ type }) => type === 'counter' || type === 'histogram');
}

/** What prom-client would leave out, such as when the process started, is the primary's. */
function merged(snapshots: readonly MetricsSnapshot[]) {
  const all = snapshots.map((snapshot) =>
    snapshot.map((metric) => (metric.aggregator === 'omit' ? { ...metric, aggregator: 'first' } : metric)),
  );
  return AggregatorRegistry.aggregate(all);
}
