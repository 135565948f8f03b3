import type { Registry } from 'prom-client';
import { createTally } from './tally.ts';

type CacheName = 'callers' | 'workspace_keys' | 'data_keys';

interface CacheCounts {
  readonly entries: number;
  readonly hits: number;
  readonly misses: number;
}

/** What a process holds: counted where it is held, and read when it is asked for. Nothing of it costs a call anything here. */
export interface Resources {
  readonly streams: { readonly events: number; readonly websockets: number };
  readonly upstream: { readonly busy: number; readonly idle: number; readonly opened: number };
  readonly database: { readonly busy: number; readonly idle: number; readonly waiting: number };
  readonly caches: Readonly<Record<CacheName, CacheCounts>>;
  readonly targetsCooling: number;
  /** ms since what was revoked was last read. */
  readonly epochAgeMs: number;
}

export function createResourceMetrics(registry: Registry) {
  const gauge = <const L extends readonly string[]>(name: string, help: string, labels: L) =>
    createTally(registry, { type: 'gauge', name, help, labels });
  const streams = gauge('sallyport_streams_held', 'Answers that are streams, under way', ['kind']);
  const upstream = gauge('sallyport_upstream_connections', 'Connections to providers', ['state']);
  const opened = createTally(registry, {
    type: 'counter',
    name: 'sallyport_upstream_connections_opened_total',
    help: 'Connections to providers that were opened',
    labels: [],
  }).cell();
  const database = gauge('sallyport_database_connections', 'Connections to the database', ['state']);
  const waiting = gauge('sallyport_database_waiting', 'Transactions that wait for a connection', []).cell();
  const entries = gauge('sallyport_cache_entries', 'Entries of a cache', ['cache']);
  const lookups = createTally(registry, {
    type: 'counter',
    name: 'sallyport_cache_lookups_total',
    help: 'Looks into a cache, by whether it was there',
    labels: ['cache', 'result'],
  });
  const cooling = gauge('sallyport_targets_cooling', 'Keys at origins that failed a moment ago', []).cell();
  const epochAge = createTally(registry, {
    type: 'gauge',
    name: 'sallyport_epoch_age_seconds',
    help: 'Since what was revoked was last read from the database',
    labels: [],
    aggregator: 'max',
  }).cell();

  return Object.freeze({
    setResources(now: Resources) {
      streams.cell('events').value = now.streams.events;
      streams.cell('websocket').value = now.streams.websockets;
      upstream.cell('busy').value = now.upstream.busy;
      upstream.cell('idle').value = now.upstream.idle;
      opened.value = now.upstream.opened;
      database.cell('busy').value = now.database.busy;
      database.cell('idle').value = now.database.idle;
      waiting.value = now.database.waiting;
      for (const name of ['callers', 'workspace_keys', 'data_keys'] as const) {
        const cache = now.caches[name];
        entries.cell(name).value = cache.entries;
        lookups.cell(name, 'hit').value = cache.hits;
        lookups.cell(name, 'miss').value = cache.misses;
      }
      cooling.value = now.targetsCooling;
      epochAge.value = now.epochAgeMs / 1000;
    },
  });
}
