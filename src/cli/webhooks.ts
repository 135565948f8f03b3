import type { WebhookView } from '../admin/webhooks.ts';
import type { WebhookResult } from '../admin/webhook-sender.ts';
import type { Command } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { exits } from './failure.ts';
import { idOf } from './named-id.ts';
import { textTable } from './text-table.ts';

const create: Command = {
  words: 'webhooks create',
  doc: 'Have alerts and notices of a breach sent to an https address, signed.',
  options: {
    to: {
      value: 'URL',
      doc: 'https, on a public address or one of SALLYPORT_ALLOW_ORIGINS',
      isRequired: true,
    },
    events: { value: 'A,B', doc: 'alert.raised, breach.notice; all when left out', isRepeatable: true },
  },
  async run(context) {
    const api = await context.api();
    const events = context.texts('events');
    const made = await api.call<WebhookView & { secret: string }>('POST', '/api/webhooks', {
      url: context.text('to'),
      ...(events.length === 0 ? {} : { events }),
    });
    context.print(
      made,
      `Its id is ${made.id}.\nIts secret, shown this once, is what its receiver checks the signature with:\n${made.secret}\nTry it: bin/sallyport webhooks test ${made.id}\n`,
    );
    return exits.ok;
  },
};

const list: Command = {
  words: 'webhooks list',
  doc: 'List the workspace’s webhooks.',
  options: {},
  async run(context) {
    const api = await context.api();
    const data = await api.list<WebhookView>('/api/webhooks');
    const rows = data.map((hook) => [hook.id, hook.url, hook.events.join(' '), hook.waiting, hook.givenUp]);
    const text =
      rows.length === 0 ? 'No webhooks.\n' : textTable(['ID', 'URL', 'EVENTS', 'WAITING', 'GIVEN UP'], rows);
    context.print({ data }, text);
    return exits.ok;
  },
};

const test: Command = {
  words: 'webhooks test',
  doc: 'Send one signed message now.',
  argument: 'ID',
  options: {},
  async run(context) {
    const api = await context.api();
    const result = await api.call<WebhookResult>(
      'POST',
      `/api/webhooks/${idOf('hook', context.argument)}/test`,
      {},
    );
    context.print(result, result.ok ? `It answered with ${result.status}.\n` : `${result.message}\n`);
    return result.ok ? exits.ok : exits.refused;
  },
};

const rm: Command = {
  words: 'webhooks rm',
  doc: 'Take a webhook away, and what waits for it.',
  argument: 'ID',
  options: confirmOption,
  async run(context) {
    const id = idOf('hook', context.argument);
    const api = await context.api();
    await confirm(context, async () => {
      const found = (await api.list<WebhookView>('/api/webhooks')).find((one) => one.id === id);
      if (found === undefined) return null;
      return `This takes the webhook ${found.url} away for good, with its secret and ${found.waiting} messages that wait for it.`;
    });
    const gone = await api.call<{ receipt: string }>('DELETE', `/api/webhooks/${id}`);
    context.print(gone, `Deleted. Receipt: ${gone.receipt}\n`);
    return exits.ok;
  },
};

export const webhookCommands: readonly Command[] = [create, list, test, rm];
