import { createRequire } from 'node:module';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Registry } from 'prom-client';
import { register } from './tally.ts';

/**
 * prom-client's own of CPU, memory, descriptors and heap, by the names that everybody's dashboards know. One by one, because all at once they
 * bring an observer of every garbage collection and a second histogram of the event loop, and names that promtool complains of.
 */
const chosen = [
  'processCpuTotal',
  'processStartTime',
  'osMemoryHeap',
  'processOpenFileDescriptors',
  'processMaxFileDescriptors',
  'heapSizeAndUsed',
] as const;

const load = createRequire(import.meta.url);

/** A timer of this many ms is watched (in C++), and what it comes late by is the delay. With 10 ms an idle process woke five times as often. */
const resolutionMs = 50;
/** A second scraper within this time sees the same window, not an empty one. */
const minWindowMs = 10_000;
const nsPerSecond = 1e9;

/** Of the time since it was read last: whoever reads it ends that time for the others. */
export const eventLoopDelay = 'sallyport_event_loop_delay_seconds';

export function createProcessMetrics(registry: Registry): void {
  for (const name of chosen)
    (load(`prom-client/lib/metrics/${name}.js`) as (registry: Registry) => void)(registry);
  const delays = monitorEventLoopDelay({ resolution: resolutionMs });
  delays.enable();
  const total = { sum: 0, count: 0 };
  let beganAt = performance.now();
  const name = eventLoopDelay;
  register(
    registry,
    { name, help: 'How late timers are, since the last scrape', aggregator: 'max' },
    'summary',
    () => {
      const quantiles = ([0.5, 0.99, 1] as const).map((quantile) => ({
        labels: { quantile: String(quantile) },
        value: late(delays.count === 0 ? 0 : quantile === 1 ? delays.max : delays.percentile(quantile * 100)),
      }));
      const { sum, count } = sumOf(delays);
      const samples = [
        ...quantiles,
        { labels: {}, value: total.sum + sum, metricName: `${name}_sum` },
        { labels: {}, value: total.count + count, metricName: `${name}_count` },
      ];
      if (performance.now() - beganAt >= minWindowMs) {
        total.sum += sum;
        total.count += count;
        beganAt = performance.now();
        delays.reset();
      }
      return samples;
    },
  );
}

/** What is measured is from one firing to the next, the timer's own time within it. @returns seconds */
function late(ns: number): number {
  return Math.max(0, ns / nsPerSecond - resolutionMs / 1000);
}

function sumOf(delays: ReturnType<typeof monitorEventLoopDelay>): {
  readonly sum: number;
  readonly count: number;
} {
  const { count } = delays;
  return { count, sum: count === 0 ? 0 : late(delays.mean) * count };
}
