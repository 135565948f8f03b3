import type { Command, Context } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { exits, usageError } from './failure.ts';
import { idOf } from './named-id.ts';
import { textTable } from './text-table.ts';

interface Price {
  readonly id: string;
  readonly provider: string;
  readonly model: string;
  readonly prices: Readonly<Record<string, string>>;
  readonly effectiveFrom: string;
}

const set: Command = {
  words: 'prices set',
  doc: 'Set a price of the workspace’s own, in dollars: for a million tokens or characters, an hour of audio, a thousand searches, one image.',
  options: {
    provider: { value: 'NAME', doc: 'openai, anthropic … or the name of a custom key', isRequired: true },
    model: { value: 'MODEL', doc: 'its name, or a pattern with *', isRequired: true },
    prices: {
      value: 'UNIT=DOLLARS,…',
      doc: 'such as input=2.5,cachedInput=0.25,output=10; free for what costs nothing',
      isRequired: true,
      isRepeatable: true,
    },
    from: { value: 'TIME', doc: 'for calls from then on (default: now)' },
  },
  async run(context) {
    const from = context.text('from');
    const api = await context.api();
    const made = await api.call<Price>('POST', '/api/prices', {
      provider: context.text('provider'),
      model: context.text('model'),
      prices: pricesOf(context),
      ...(from === null ? {} : { effectiveFrom: from }),
    });
    const { id, provider, model, effectiveFrom } = made;
    context.print(
      { id, provider, model, prices: made.prices, effectiveFrom },
      `${provider} ${model}: ${told(made.prices)}, from ${effectiveFrom} on.\nIts id is ${id}, and costs name it.\n`,
    );
    return exits.ok;
  },
};

const list: Command = {
  words: 'prices list',
  doc: 'List the workspace’s own prices.',
  options: {},
  async run(context) {
    const api = await context.api();
    const data = await api.list<Price>('/api/prices');
    const rows = data.map((price) => [
      price.id,
      price.provider,
      price.model,
      told(price.prices),
      price.effectiveFrom,
    ]);
    const none =
      'No prices of your own: costs go by the price table.\nSet one: bin/sallyport prices set --provider openai --model gpt-4o --prices input=2,output=8\n';
    context.print(
      { data },
      rows.length === 0 ? none : textTable(['ID', 'PROVIDER', 'MODEL', 'PRICES', 'FROM'], rows),
    );
    return exits.ok;
  },
};

const rm: Command = {
  words: 'prices rm',
  doc: 'Take a price away; costs that were reckoned by it stay.',
  argument: 'ID',
  options: confirmOption,
  async run(context) {
    const id = idOf('price', context.argument);
    const api = await context.api();
    await confirm(context, async () => {
      const found = (await api.list<Price>('/api/prices')).find((one) => one.id === id);
      if (found === undefined) return null;
      return `This takes the price of ${found.provider} ${found.model} (${told(found.prices)}) away: calls from now on are reckoned without it.`;
    });
    const gone = await api.call<{ receipt: string }>('DELETE', `/api/prices/${id}`);
    context.print(gone, `Deleted. Receipt: ${gone.receipt}\n`);
    return exits.ok;
  },
};

function pricesOf(context: Context): Record<string, string> {
  const given = context.texts('prices');
  if (given.length === 1 && given[0] === 'free') return {};
  return Object.fromEntries(
    given.map((text) => {
      const [unit = '', dollars = '', ...more] = text.split('=');
      if (unit === '' || dollars === '' || more.length > 0)
        throw usageError(
          '--prices takes pairs of a unit and dollars.',
          'Write --prices input=2.5,output=10.',
        );
      return [unit, dollars];
    }),
  );
}

function told(prices: Price['prices']): string {
  const pairs = Object.entries(prices).map(([unit, dollars]) => `${unit}=${dollars}`);
  return pairs.length === 0 ? 'free' : pairs.join(' ');
}

export const priceCommands: readonly Command[] = [set, list, rm];
