import type { AlertView } from '../admin/alerts.ts';
import type { Command } from './command.ts';
import { exits } from './failure.ts';
import { idOf } from './named-id.ts';
import { textTable } from './text-table.ts';

const list: Command = {
  words: 'alerts list',
  doc: 'List what looked unusual and nobody has acknowledged.',
  options: {
    all: { value: null, doc: 'acknowledged ones too' },
    rule: { value: 'RULE', doc: 'new-network, rate, silence or refusals' },
    from: { value: 'TIME', doc: 'seen since then (RFC 3339)' },
  },
  async run(context) {
    const api = await context.api();
    const data = await api.list<AlertView>('/api/alerts', {
      acknowledged: context.has('all') ? null : 'false',
      rule: context.text('rule'),
      from: context.text('from'),
    });
    const rows = data.map((alert) => [
      alert.id,
      alert.rule,
      alert.lastAt,
      alert.acknowledgedBy,
      alert.explanation,
    ]);
    const text = rows.length === 0 ? 'No alerts.\n' : textTable(['ID', 'RULE', 'LAST', 'BY', 'WHAT'], rows);
    context.print({ data }, text);
    return exits.ok;
  },
};

const ack: Command = {
  words: 'alerts ack',
  doc: 'Acknowledge an alert: somebody has looked at it.',
  argument: 'ID',
  options: {},
  async run(context) {
    const id = idOf('alert', context.argument);
    const api = await context.api();
    const alert = await api.call<AlertView>('POST', `/api/alerts/${id}/acknowledge`, {});
    context.print(alert, `Acknowledged at ${alert.acknowledgedAt ?? ''} by ${alert.acknowledgedBy ?? ''}.\n`);
    return exits.ok;
  },
};

export const alertCommands: readonly Command[] = [list, ack];
