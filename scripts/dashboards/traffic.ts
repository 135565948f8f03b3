import type { Board } from './board.ts';
import { graph, stat } from './panel.ts';

const of = 'instance=~"$instance",provider=~"$provider"';
const onGenAi = 'instance=~"$instance",gen_ai_provider_name=~"$provider"';
const calls = `rate(sallyport_calls_total{${of}}[$__rate_interval])`;
const quantile = (q: number, by: string, metric: string, where: string): string =>
  `histogram_quantile(${q}, sum by (${by === '' ? 'le' : `${by}, le`}) (rate(${metric}_bucket{${where}}[$__rate_interval])))`;

export const traffic: Board = {
  name: 'traffic',
  title: 'traffic',
  description: 'How much is called, how well it goes and how long it takes.',
  variables: ['provider'],
  rows: {
    '': [
      stat({
        title: 'Calls',
        description: 'Calls that ended, a second. Those refused before a key was used are not among them.',
        unit: 'reqps',
        query: `sum(${calls})`,
      }),
      stat({
        title: 'Succeeded',
        description:
          'Of the calls that ended, those with an answer of the provider’s that is none of its errors. Clients’ bad requests and clients that left bring it down, too: "Failures" below tells them apart.',
        unit: 'percentunit',
        bounds: { bad: 0.9, warn: 0.98, below: true },
        query: `sum(rate(sallyport_calls_total{${of},outcome="ok"}[$__rate_interval])) / sum(${calls})`,
      }),
      stat({
        title: 'Under way',
        description: 'Calls that have not ended.',
        unit: 'short',
        query: `sum(sallyport_calls_in_flight{${of}})`,
      }),
      stat({
        title: 'Streams held',
        description: 'Answers under way that are streams of events, and sessions over WebSocket.',
        unit: 'short',
        query: 'sum(sallyport_streams_held{instance=~"$instance"})',
      }),
      stat({
        title: 'First byte, p95',
        description: 'From an attempt’s beginning to the head of the provider’s answer: 19 of 20 are faster.',
        unit: 's',
        query: quantile(0.95, '', 'sallyport_upstream_first_byte_seconds', of),
      }),
      stat({
        title: 'Gateway’s own, p99',
        description: 'What the gateway adds before a call goes out: 99 of 100 wait less.',
        unit: 's',
        bounds: { warn: 0.05, bad: 0.25 },
        query: quantile(0.99, '', 'sallyport_gateway_overhead_seconds', 'instance=~"$instance"'),
      }),
    ],
    Calls: [
      graph({
        title: 'Calls by provider',
        description: 'Calls that ended, a second.',
        unit: 'reqps',
        isStacked: true,
        queries: { '{{provider}}': `sum by (provider) (${calls})` },
      }),
      graph({
        title: 'Calls by operation',
        description: 'Calls that ended, a second, by what was asked for.',
        unit: 'reqps',
        isStacked: true,
        queries: { '{{operation}}': `sum by (operation) (${calls})` },
      }),
      graph({
        title: 'Failures',
        description:
          'Calls that ended otherwise than well, a second, by the code of docs/errors.md. UPSTREAM_REJECTED is the client’s own bad request, CLIENT_CLOSED a client that left.',
        unit: 'reqps',
        isStacked: true,
        queries: {
          '{{provider}} {{outcome}}': `sum by (provider, outcome) (rate(sallyport_calls_total{${of},outcome!="ok"}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Refused',
        description:
          'Requests that the gateway refused before a key was used, a second, by the code that it answered with.',
        unit: 'reqps',
        isStacked: true,
        queries: {
          '{{code}}':
            'sum by (code) (rate(sallyport_requests_refused_total{instance=~"$instance"}[$__rate_interval]))',
        },
      }),
      graph({
        title: 'Tried again',
        description: 'Attempts that another one followed, a second, by the provider that failed and why.',
        unit: 'ops',
        isStacked: true,
        queries: {
          '{{provider}} {{reason}}': `sum by (provider, reason) (rate(sallyport_upstream_retries_total{${of}}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Under way',
        description: 'Calls that have not ended by provider, and the streams among all of them.',
        unit: 'short',
        queries: {
          '{{provider}}': `sum by (provider) (sallyport_calls_in_flight{${of}})`,
          'streams: {{kind}}': 'sum by (kind) (sallyport_streams_held{instance=~"$instance"})',
        },
      }),
    ],
    Time: [
      graph({
        title: 'Provider’s first byte',
        description: 'From an attempt’s beginning to the head of its answer, by provider: median and p95.',
        unit: 's',
        queries: {
          '{{provider}} p50': quantile(0.5, 'provider', 'sallyport_upstream_first_byte_seconds', of),
          '{{provider}} p95': quantile(0.95, 'provider', 'sallyport_upstream_first_byte_seconds', of),
        },
      }),
      graph({
        title: 'Provider’s last byte',
        description:
          'From an attempt’s beginning to its end, by provider: median and p95. Long streams are long.',
        unit: 's',
        queries: {
          '{{provider}} p50': quantile(0.5, 'provider', 'sallyport_upstream_seconds', of),
          '{{provider}} p95': quantile(0.95, 'provider', 'sallyport_upstream_seconds', of),
        },
      }),
      graph({
        title: 'Gateway’s own',
        description:
          'What the gateway adds before a call goes out: reading, checking, the record, opening the way.',
        unit: 's',
        queries: {
          p50: quantile(0.5, '', 'sallyport_gateway_overhead_seconds', 'instance=~"$instance"'),
          p95: quantile(0.95, '', 'sallyport_gateway_overhead_seconds', 'instance=~"$instance"'),
          p99: quantile(0.99, '', 'sallyport_gateway_overhead_seconds', 'instance=~"$instance"'),
        },
      }),
      graph({
        title: 'First chunk by model, p95',
        description: 'From the request to the first byte of its answer, as the client sees it.',
        unit: 's',
        queries: {
          '{{gen_ai_request_model}}': quantile(
            0.95,
            'gen_ai_request_model',
            'gen_ai_client_operation_time_to_first_chunk_seconds',
            onGenAi,
          ),
        },
      }),
      graph({
        title: 'Whole call by model, p95',
        description: 'From the request to the last byte of its answer.',
        unit: 's',
        span: 24,
        queries: {
          '{{gen_ai_request_model}}': quantile(
            0.95,
            'gen_ai_request_model',
            'gen_ai_client_operation_duration_seconds',
            onGenAi,
          ),
        },
      }),
    ],
  },
};
