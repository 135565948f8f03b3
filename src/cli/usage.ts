import { queryOf } from './api.ts';
import type { Command } from './command.ts';
import { exits } from './failure.ts';
import { textTable } from './text-table.ts';

interface Sums {
  readonly calls: number;
  readonly failed: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly costNanoUsd: string | null;
}

interface Report {
  readonly from: string;
  readonly to: string;
  readonly groupBy: string;
  readonly data: readonly (Sums & { readonly group: string })[];
  readonly totals: Sums;
}

export const usageCommand: Command = {
  words: 'usage',
  doc: 'Sum up calls, tokens and cost.',
  options: {
    from: { value: 'TIME', doc: 'RFC 3339 (30 days ago)' },
    to: { value: 'TIME', doc: 'RFC 3339 (now)' },
    tag: { value: 'WORD', doc: 'of tokens with this tag' },
    'group-by': { value: 'WHAT', doc: 'hour, day, month, key, token, user, provider, model or tag' },
  },
  async run(context) {
    const api = await context.api();
    const query = queryOf({
      from: context.text('from'),
      to: context.text('to'),
      groupBy: context.text('group-by'),
      tag: context.text('tag'),
    });
    const report = await api.call<Report>('GET', `/api/usage${query}`);
    const row = (name: string, sums: Sums) => [
      name,
      sums.calls,
      sums.failed,
      sums.inputTokens,
      sums.outputTokens,
      dollars(sums.costNanoUsd),
    ];
    const rows = [...report.data.map((group) => row(group.group, group)), row('total', report.totals)];
    const heads = [report.groupBy.toUpperCase(), 'CALLS', 'FAILED', 'INPUT TOKENS', 'OUTPUT TOKENS', 'COST'];
    context.print(report, `${report.from} to ${report.to}\n\n${textTable(heads, rows)}`);
    return exits.ok;
  },
};

/** Integer nano-dollars, in decimal text of any length, as dollars. */
export function dollars(nano: string | null): string | null {
  if (nano === null || !/^-?\d+$/.test(nano)) return null;
  const sign = nano.startsWith('-') ? '-' : '';
  const digits = nano.replace('-', '').padStart(10, '0');
  const fraction = digits.slice(-9).replace(/0{1,7}$/, '');
  return `${sign}$${digits.slice(0, -9)}.${fraction}`;
}
