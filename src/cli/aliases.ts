import type { Command } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { exits } from './failure.ts';
import { idOf } from './named-id.ts';
import { textTable } from './text-table.ts';

interface Alias {
  readonly id: string;
  readonly alias: string;
  readonly target: string;
  readonly createdAt: string;
}

const create: Command = {
  words: 'aliases create',
  doc: 'Give a model a name of the workspace’s own on /v1; one * stands for the one in the target.',
  options: {
    alias: { value: 'NAME', doc: 'what calls say, such as fast or team/*', isRequired: true },
    target: { value: 'MODEL', doc: 'what it stands for, such as openai/gpt-4o-mini', isRequired: true },
  },
  async run(context) {
    const api = await context.api();
    const made = await api.call<Alias>('POST', '/api/aliases', {
      alias: context.text('alias'),
      target: context.text('target'),
    });
    const { id, alias, target } = made;
    context.print({ id, alias, target }, `${alias} is ${target} on /v1.\nIts id is ${id}.\n`);
    return exits.ok;
  },
};

const list: Command = {
  words: 'aliases list',
  doc: 'List the workspace’s own names for models.',
  options: {},
  async run(context) {
    const api = await context.api();
    const data = await api.list<Alias>('/api/aliases');
    const rows = data.map((alias) => [alias.id, alias.alias, alias.target, alias.createdAt]);
    const none =
      'No aliases. Make one: bin/sallyport aliases create --alias fast --target openai/gpt-4o-mini\n';
    context.print(
      { data },
      rows.length === 0 ? none : textTable(['ID', 'ALIAS', 'STANDS FOR', 'CREATED'], rows),
    );
    return exits.ok;
  },
};

const rm: Command = {
  words: 'aliases rm',
  doc: 'Take a name away; calls that say it are refused from then on.',
  argument: 'ID',
  options: confirmOption,
  async run(context) {
    const id = idOf('alias', context.argument);
    const api = await context.api();
    await confirm(context, async () => {
      const found = (await api.list<Alias>('/api/aliases')).find((one) => one.id === id);
      if (found === undefined) return null;
      return `This takes the name “${found.alias}” (${found.target}) away: calls that say it are refused from now on.`;
    });
    const gone = await api.call<{ receipt: string }>('DELETE', `/api/aliases/${id}`);
    context.print(gone, `Deleted. Receipt: ${gone.receipt}\n`);
    return exits.ok;
  },
};

export const aliasCommands: readonly Command[] = [create, list, rm];
