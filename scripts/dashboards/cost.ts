import type { Board } from './board.ts';
import { graph, stat, table } from './panel.ts';

const byProvider = 'instance=~"$instance",provider=~"$provider"';
const of = `${byProvider},model=~"$model"`;
const usd = (over: string, by: string): string =>
  `sum by (${by}) (${over}(sallyport_cost_nano_usd_total{${of}}[$__rate_interval])) * 3600 / 1e9`;
const tokens = (type: string, span: string): string =>
  `sum(increase(sallyport_tokens_total{${of},type="${type}"}[${span}]))`;

export const cost: Board = {
  name: 'cost',
  title: 'cost',
  description:
    'What calls cost and which tokens they used, as Prometheus has seen it grow. To the nano-dollar, by user, token and tag, it is in `/api/usage`.',
  variables: ['provider', 'model'],
  rows: {
    '': [
      stat({
        title: 'Spent',
        description: 'In the time that is shown, of calls whose cost is known.',
        unit: 'currencyUSD',
        decimals: 2,
        isInstant: true,
        query: `sum(increase(sallyport_cost_nano_usd_total{${of}}[$__range])) / 1e9`,
      }),
      stat({
        title: 'An hour',
        description: 'What an hour costs at the pace of now.',
        unit: 'currencyUSD',
        decimals: 2,
        query: `sum(rate(sallyport_cost_nano_usd_total{${of}}[$__rate_interval])) * 3600 / 1e9`,
      }),
      stat({
        title: 'Input',
        description: 'Tokens in the time that is shown, cached ones included.',
        unit: 'short',
        isInstant: true,
        query: tokens('input', '$__range'),
      }),
      stat({
        title: 'Output',
        description: 'Tokens in the time that is shown, reasoning included.',
        unit: 'short',
        isInstant: true,
        query: tokens('output', '$__range'),
      }),
      stat({
        title: 'From caches',
        description: 'Of the input, what providers took from their caches, and charge less for.',
        unit: 'percentunit',
        query: `${tokens('cached_input', '$__rate_interval')} / ${tokens('input', '$__rate_interval')}`,
      }),
      stat({
        title: 'Cost unknown',
        description:
          'Calls in the time that is shown that used tokens at no known price: they are in none of the sums here.',
        unit: 'short',
        bounds: { bad: 1 },
        isInstant: true,
        nothing: '0',
        query: `sum(increase(sallyport_cost_unknown_total{${byProvider}}[$__range]))`,
      }),
    ],
    Cost: [
      graph({
        title: 'Cost by model',
        description: 'US dollars an hour.',
        unit: 'currencyUSD',
        isStacked: true,
        queries: { '{{model}}': usd('rate', 'model') },
      }),
      graph({
        title: 'Cost by provider',
        description: 'US dollars an hour.',
        unit: 'currencyUSD',
        isStacked: true,
        queries: { '{{provider}}': usd('rate', 'provider') },
      }),
      table({
        title: 'Dearest models',
        description: 'US dollars in the time that is shown.',
        unit: 'currencyUSD',
        query: `sort_desc(topk(20, sum by (provider, model) (increase(sallyport_cost_nano_usd_total{${of}}[$__range])) / 1e9))`,
      }),
      graph({
        title: 'A call’s cost',
        description:
          'US dollars that a call cost on the average, by provider; calls of unknown cost count as free.',
        unit: 'currencyUSD',
        queries: {
          '{{provider}}': `sum by (provider) (rate(sallyport_cost_nano_usd_total{${of}}[$__rate_interval])) / 1e9 / sum by (provider) (rate(sallyport_calls_total{${byProvider},outcome="ok"}[$__rate_interval]))`,
        },
      }),
    ],
    Tokens: [
      graph({
        title: 'Tokens by kind',
        description:
          'A second. Cached and cache-written ones are parts of the input, reasoning of the output.',
        unit: 'ops',
        queries: {
          '{{type}}': `sum by (type) (rate(sallyport_tokens_total{${of}}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Tokens by model',
        description: 'Input and output together, a second.',
        unit: 'ops',
        isStacked: true,
        queries: {
          '{{model}}': `sum by (model) (rate(sallyport_tokens_total{${of},type=~"input|output"}[$__rate_interval]))`,
        },
      }),
      graph({
        title: 'Tokens of a call, p95',
        description: 'Of 20 calls 19 use fewer, by input and output.',
        unit: 'short',
        queries: {
          '{{gen_ai_token_type}}':
            'histogram_quantile(0.95, sum by (gen_ai_token_type, le) (rate(gen_ai_client_token_usage_bucket{instance=~"$instance",gen_ai_provider_name=~"$provider",gen_ai_request_model=~"$model"}[$__rate_interval])))',
        },
      }),
      graph({
        title: 'Not known',
        description:
          'Calls a second whose usage the provider did not tell, and such that used tokens at no known price.',
        unit: 'reqps',
        queries: {
          'usage, {{provider}}': `sum by (provider) (rate(sallyport_usage_unknown_total{${byProvider}}[$__rate_interval]))`,
          'cost, {{provider}}': `sum by (provider) (rate(sallyport_cost_unknown_total{${byProvider}}[$__rate_interval]))`,
        },
      }),
    ],
  },
};
