import type { Installation } from '../src/installation.ts';
import type { Journal } from '../src/journal/journal.ts';
import type { Limits } from '../src/limits/limits.ts';
import { providers } from '../src/providers/catalogue.ts';
import type { Log } from '../src/telemetry/log.ts';
import type { Metrics } from '../src/telemetry/metrics.ts';

/** Parts that do nothing, in the place of the product's. They are handed in by the bench: no setting makes them. */

/** Says that each record is durable, and writes none. */
export function forgetful(journal: Journal): Journal {
  const receipt = {
    stream: journal.stream,
    seq: 0,
    hash: '0'.repeat(64),
    text: `${journal.stream}.0.0000000000000000`,
  };
  return { ...journal, append: () => Promise.resolve(receipt) };
}

/** Holds the key in clear and checks nothing. */
export function careless(vault: Installation['vault'], key: Buffer): Installation['vault'] {
  const prepared = {
    maxBytes: key.length,
    openInto: (into: Buffer, offset: number) => key.copy(into, offset),
    checkOrigin: () => {},
    wipe: () => {},
  };
  return { ...vault, prepare: () => Promise.resolve(prepared) };
}

export const limitless: Limits = Object.freeze({
  admit: () => ({ release: () => {} }),
  countAuthFailure: () => {},
  checkAuthFailures: () => {},
  countSealFailure: () => {},
  checkSealFailures: () => {},
});

/** What calls tell is dropped; what is read of them stays. */
export function uncounted(metrics: Metrics): Metrics {
  const { text, contentType } = metrics;
  const drop = (): void => {};
  const names = Object.keys(metrics).filter((name) => typeof metrics[name as keyof Metrics] === 'function');
  const dropped = Object.fromEntries(names.map((name) => [name, drop]));
  return { ...(dropped as unknown as Metrics), text, contentType };
}

export const silent: Log = Object.freeze({
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
});

/** Providers whose answers nobody counts: no usage is read or asked for, and so nothing has a cost. */
export const unmetered: typeof providers = new Map(
  [...providers].map(([name, provider]) => [
    name,
    { ...provider, usageReader: () => null, splicesStreamUsage: () => false },
  ]),
);
