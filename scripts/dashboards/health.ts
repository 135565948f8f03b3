import type { Board } from './board.ts';
import { graph, stat, table } from './panel.ts';

const of = 'instance=~"$instance"';
const hitRatio = (cache: string): string =>
  `sum by (cache) (rate(sallyport_cache_lookups_total{${of},result="hit"${cache}}[$__rate_interval])) / sum by (cache) (rate(sallyport_cache_lookups_total{${of}${cache}}[$__rate_interval]))`;

export const health: Board = {
  name: 'health',
  title: 'health',
  description: 'Whether the gateway runs, and what it holds.',
  variables: [],
  rows: {
    '': [
      stat({
        title: 'Nodes',
        description: 'Gateways that Prometheus reaches.',
        unit: 'short',
        bounds: { bad: 1, below: true },
        query: 'count(sallyport_build_info)',
      }),
      stat({
        title: 'Alerts firing',
        description: 'Of docker/prometheus/rules.yml; docs/operations.md says what to do for each.',
        unit: 'short',
        bounds: { bad: 1 },
        query: 'count(ALERTS{alertstate="firing",alertname=~"Sallyport.+"}) or vector(0)',
      }),
      stat({
        title: 'Database read',
        description:
          'How long ago it was last read what was revoked: four times a second while the database answers.',
        unit: 's',
        bounds: { warn: 1, bad: 30 },
        query: `max(sallyport_epoch_age_seconds{${of}})`,
      }),
      stat({
        title: 'Own faults',
        description:
          'Requests in the time that is shown on which the gateway itself failed. Each is a fault to report.',
        unit: 'short',
        bounds: { bad: 1 },
        isInstant: true,
        query: `sum(increase(sallyport_faults_total{${of}}[$__range]))`,
      }),
      stat({
        title: 'Event loop, p99',
        description: 'How late timers are at worst but one in a hundred: what every call waits now and then.',
        unit: 's',
        bounds: { warn: 0.05, bad: 0.2 },
        query: `max(sallyport_event_loop_delay_seconds{${of},quantile="0.99"})`,
      }),
      stat({
        title: 'Up since',
        description: 'Of the node that started last.',
        unit: 's',
        query: `min(time() - process_start_time_seconds{${of}})`,
      }),
    ],
    Process: [
      graph({
        title: 'CPU',
        description: 'Cores used. One process uses little more than one.',
        unit: 'short',
        queries: { '{{instance}}': `rate(process_cpu_seconds_total{${of}}[$__rate_interval])` },
      }),
      graph({
        title: 'Memory',
        description: 'Resident, the part of it that JavaScript uses, and buffers.',
        unit: 'bytes',
        queries: {
          'resident, {{instance}}': `process_resident_memory_bytes{${of}}`,
          'heap, {{instance}}': `nodejs_heap_size_used_bytes{${of}}`,
          'buffers, {{instance}}': `nodejs_external_memory_bytes{${of}}`,
        },
      }),
      graph({
        title: 'Processes',
        description: 'Workers that serve calls, and those that ended unasked within ten minutes.',
        unit: 'short',
        queries: {
          '{{instance}}': `sallyport_workers{${of}}`,
          'lost, {{instance}}': `increase(sallyport_workers_lost_total{${of}}[10m])`,
        },
      }),
      graph({
        title: 'Event loop',
        description: 'How late timers are: median, p99 and the worst since the last scrape.',
        unit: 's',
        queries: { '{{instance}} {{quantile}}': `sallyport_event_loop_delay_seconds{${of}}` },
      }),
      graph({
        title: 'Descriptors',
        span: 24,
        description: 'Open sockets and files, of those that may be.',
        unit: 'percentunit',
        max: 1,
        queries: { '{{instance}}': `process_open_fds{${of}} / process_max_fds{${of}}` },
      }),
    ],
    Connections: [
      graph({
        title: 'To providers',
        description: 'Connections with a call on them, and free ones that wait for the next.',
        unit: 'short',
        queries: { '{{state}}': `sum by (state) (sallyport_upstream_connections{${of}})` },
      }),
      graph({
        title: 'Opened',
        description:
          'New connections to providers, a second. Far fewer than calls, unless their callers come and go.',
        unit: 'ops',
        queries: {
          '{{instance}}': `rate(sallyport_upstream_connections_opened_total{${of}}[$__rate_interval])`,
        },
      }),
      graph({
        title: 'To the database',
        description:
          'Connections of the pool, and transactions that wait for one: more than a few for long means that it is slow.',
        unit: 'short',
        queries: {
          '{{state}}': `sum by (state) (sallyport_database_connections{${of}})`,
          waiting: `sum(sallyport_database_waiting{${of}})`,
        },
      }),
      graph({
        title: 'Database read',
        description: 'Since it was last read what was revoked. Above a second the database does not answer.',
        unit: 's',
        queries: { '{{instance}}': `sallyport_epoch_age_seconds{${of}}` },
      }),
    ],
    Caches: [
      graph({
        title: 'Found in memory',
        description:
          'Of looks for a verified token or an opened key. Each act that changes a right makes tokens be read anew.',
        unit: 'percentunit',
        max: 1,
        queries: { '{{cache}}': hitRatio('') },
      }),
      graph({
        title: 'Entries',
        description: 'Kept in memory: verified tokens, opened keys of workspaces and data keys.',
        unit: 'short',
        queries: { '{{cache}}': `sum by (cache) (sallyport_cache_entries{${of}})` },
      }),
      table({
        title: 'Versions',
        description: 'What runs where.',
        unit: 'none',
        span: 24,
        query: `sallyport_build_info{${of}}`,
      }),
    ],
  },
};
