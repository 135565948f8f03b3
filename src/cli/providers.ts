import type { ProviderView } from '../admin/providers.ts';
import type { Command } from './command.ts';
import { exits } from './failure.ts';
import { textTable } from './text-table.ts';

const list: Command = {
  words: 'providers list',
  doc: 'List the providers: under which path an SDK reaches them here, where they are, and where keys are made.',
  options: {},
  async run(context) {
    const api = await context.api();
    const found = await api.call<{ data: readonly ProviderView[] }>('GET', '/api/providers');
    const rows = found.data.map(({ name, baseUrl, origin, keyShape, keyPage }) => [
      name,
      baseUrl,
      origin,
      keyShape,
      keyPage,
    ]);
    context.print(found, textTable(['NAME', 'PATH HERE', 'GOES TO', 'ITS KEYS', 'MADE AT'], rows));
    return exits.ok;
  },
};

export const providerCommands: readonly Command[] = [list];
