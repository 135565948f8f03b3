import type { Board } from './board.ts';
import { graph, stat } from './panel.ts';

const here = 'instance=~"$instance"';
const of = `${here},provider=~"$provider"`;

export const keys: Board = {
  name: 'keys',
  title: 'keys',
  description:
    'Stored keys and what happens to them. Every node counts all of them, so numbers of keys are the largest that one says.',
  variables: ['provider'],
  rows: {
    '': [
      stat({
        title: 'Active',
        description: 'Stored keys that calls can use.',
        unit: 'short',
        query: `max(sallyport_keys{${here},status="active"})`,
      }),
      stat({
        title: 'Do not open',
        description:
          'Looked for at the start and once a day. Any is a case for a person: docs/operations.md.',
        unit: 'short',
        bounds: { bad: 1 },
        query: `max(sallyport_keys_undecryptable{${here}})`,
      }),
      stat({
        title: 'Refused',
        description:
          'Keys that their provider refuses, in a test of the gateway’s own too: no call uses them.',
        unit: 'short',
        bounds: { bad: 1 },
        query: `max(sallyport_keys{${here},status="auth_failed"})`,
      }),
      stat({
        title: 'Expire soon',
        description: 'Active keys that expire within 14 days.',
        unit: 'short',
        bounds: { warn: 1, bad: 10 },
        query: `max(sallyport_keys_expiring{${here}})`,
      }),
      stat({
        title: 'Failed openings',
        description:
          'In the time that is shown: keys that did not open, or were to be sent where they may not go.',
        unit: 'short',
        bounds: { bad: 1 },
        isInstant: true,
        query: `sum(increase(sallyport_key_opens_total{${of},result="failed"}[$__range]))`,
      }),
      stat({
        title: 'Sent back',
        description:
          'In the time that is shown: answers that held the key that was sent for them. It was replaced.',
        unit: 'short',
        bounds: { bad: 1 },
        isInstant: true,
        query: `sum(increase(sallyport_keys_echoed_total{${of}}[$__range]))`,
      }),
    ],
    Use: [
      graph({
        title: 'Openings',
        description:
          'Keys opened into a socket, a second: one for each attempt of a call, and for the gateway’s own requests.',
        unit: 'ops',
        isStacked: true,
        queries: {
          '{{provider}}': `sum by (provider) (rate(sallyport_key_opens_total{${of},result="ok"}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Openings that failed, keys sent back',
        description: 'A second. Both are for a person to look at.',
        unit: 'ops',
        queries: {
          'failed, {{provider}}': `sum by (provider) (rate(sallyport_key_opens_total{${of},result="failed"}[$__rate_interval]))`,
          'sent back, {{provider}}': `sum by (provider) (rate(sallyport_keys_echoed_total{${of}}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Left alone',
        description:
          'Keys at origins that failed a moment ago and are passed over for a while where another can do.',
        unit: 'short',
        queries: { '{{instance}}': `sallyport_targets_cooling{${here}}` },
      }),
      graph({
        title: 'Calls failed for their key',
        description: 'A second, where the provider refused it.',
        unit: 'reqps',
        queries: {
          '{{provider}}': `sum by (provider) (rate(sallyport_calls_total{${of},outcome="UPSTREAM_AUTH"}[$__rate_interval]))`,
        },
      }),
    ],
    Store: [
      graph({
        title: 'Stored keys',
        description: 'By what they are good for.',
        unit: 'short',
        queries: { '{{status}}': `max by (status) (sallyport_keys{${here}})` },
      }),
      graph({
        title: 'Opened before',
        description:
          'Of looks for a data key or a workspace’s key, those that found it opened in memory, for five minutes at most.',
        unit: 'percentunit',
        max: 1,
        queries: {
          '{{cache}}': `sum by (cache) (rate(sallyport_cache_lookups_total{${here},cache=~"data_keys|workspace_keys",result="hit"}[$__rate_interval])) / sum by (cache) (rate(sallyport_cache_lookups_total{${here},cache=~"data_keys|workspace_keys"}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Key services',
        description:
          'Uses of root keys in a key service, a second, by how they ended. Nothing where the root keys are a local file.',
        unit: 'ops',
        queries: {
          '{{scheme}} {{result}}': `sum by (scheme, result) (rate(sallyport_root_key_uses_total{${here}}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Rotation of the root key',
        description: 'Records not yet under the active root key, as a running `keyring rewrap` counts them.',
        unit: 'short',
        queries: { '{{instance}}': `sallyport_rewrap_remaining{${here}}` },
      }),
    ],
  },
};
