import type { Board } from './board.ts';
import { graph, stat } from './panel.ts';

const of = 'instance=~"$instance"';

export const journal: Board = {
  name: 'journal',
  title: 'journal',
  description:
    'The record of every use: whether it is written, on its way, covered and whole; and whom the gateway has told.',
  variables: [],
  rows: {
    '': [
      stat({
        title: 'Gate closed',
        description: '1 while the journal cannot be written: no key is opened, every call gets 503.',
        unit: 'none',
        bounds: { bad: 1 },
        query: `max(sallyport_journal_gate_closed{${of}})`,
      }),
      stat({
        title: 'Behind by',
        description: 'Age of the oldest record that is not in the database yet. Usage and audit are as late.',
        unit: 's',
        bounds: { warn: 10, bad: 60 },
        query: `max(sallyport_journal_lag_seconds{${of}})`,
      }),
      stat({
        title: 'Disk used',
        description: 'What waits for the database, of JOURNAL_MAX_BYTES. At 90 % the gate closes.',
        unit: 'percentunit',
        bounds: { warn: 0.25, bad: 0.5 },
        query: `max(sallyport_journal_lag_bytes{${of}} / sallyport_journal_limit_bytes{${of}})`,
      }),
      stat({
        title: 'Problems found',
        description: 'By the last verification, which runs once a day.',
        unit: 'short',
        bounds: { bad: 1 },
        query: `max(sallyport_journal_verify_problems{${of}})`,
      }),
      stat({
        title: 'Last checkpoint',
        description: 'How long ago, while records wait for one; 0 while none does.',
        unit: 's',
        bounds: { warn: 120, bad: 300 },
        query: `max(sallyport_checkpoint_age_seconds{${of}})`,
      }),
      stat({
        title: 'Presumed ended',
        description:
          'Uses of lost processes, in the time that is shown. What they cost is known when their node starts again.',
        unit: 'short',
        bounds: { bad: 1 },
        isInstant: true,
        query: `sum(increase(sallyport_uses_presumed_total{${of}}[$__range]))`,
      }),
    ],
    Records: [
      graph({
        title: 'Records by event',
        description: 'Written, a second: two for each attempt, one for each act.',
        unit: 'wps',
        isStacked: true,
        queries: {
          '{{event}}': `sum by (event) (rate(sallyport_journal_records_total{${of}}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Until durable',
        description:
          'From a record’s being handed over to its being on disk: every call waits for its first one.',
        unit: 's',
        queries: Object.fromEntries(
          [0.5, 0.95, 0.99].map((q) => [
            `p${q * 100}`,
            `histogram_quantile(${q}, sum by (le) (rate(sallyport_journal_append_seconds_bucket{${of}}[$__rate_interval])))`,
          ]),
        ),
      }),
      graph({
        title: 'Waiting for the database',
        description: 'Records on disk that are not in the database yet.',
        unit: 'short',
        queries: { '{{instance}}': `sallyport_journal_lag_records{${of}}` },
      }),
      graph({
        title: 'Disk',
        description: 'Bytes that wait for the database, and how many may.',
        unit: 'bytes',
        queries: {
          '{{instance}}': `sallyport_journal_lag_bytes{${of}}`,
          'limit, {{instance}}': `sallyport_journal_limit_bytes{${of}}`,
        },
      }),
      graph({
        title: 'Checkpoints',
        description: 'A minute: written, failed to be; sent to an outlet, or not.',
        unit: 'opm',
        span: 24,
        queries: {
          '{{result}}': `sum by (result) (rate(sallyport_checkpoints_total{${of}}[$__rate_interval])) * 60`,
        },
      }),
    ],
    'Alerts and breaches': [
      graph({
        title: 'Alerts raised',
        description:
          'By the gateway’s own rules, an hour: a new network, an unusual rate, a first use after long, many refusals.',
        unit: 'short',
        queries: { '{{rule}}': `sum by (rule) (increase(sallyport_alerts_total{${of}}[1h]))` },
      }),
      graph({
        title: 'Messages to webhooks',
        description: 'Attempts a minute by how they ended; those that failed are tried again for a day.',
        unit: 'opm',
        queries: {
          '{{outcome}}': `sum by (outcome) (rate(sallyport_webhook_deliveries_total{${of}}[$__rate_interval])) * 60`,
        },
      }),
      graph({
        title: 'Not delivered',
        description: 'Messages that wait, and webhooks whose last message was given up.',
        unit: 'short',
        queries: {
          waiting: `max(sallyport_webhook_messages_waiting{${of}})`,
          'dead webhooks': `max(sallyport_webhooks_dead{${of}})`,
        },
      }),
      graph({
        title: 'Breaches',
        description:
          'Hours until the first notice is due, while breaches wait for theirs; 0 while none does.',
        unit: 'h',
        queries: {
          'hours left': `max(sallyport_breach_notice_deadline_seconds{${of}}) / 3600`,
        },
      }),
    ],
  },
};
