import { queryOf } from './api.ts';
import type { Command } from './command.ts';
import { exits } from './failure.ts';
import { dollars } from './dollars.ts';
import { callFilterOf, callFilters } from './usage-calls.ts';
import { textTable } from './text-table.ts';

interface Sums {
  readonly calls: number;
  readonly failed: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly unknownUsageCalls: number;
  readonly costNanoUsd: string | null;
  readonly unknownCostCalls: number;
}

interface Report {
  readonly from: string;
  readonly to: string;
  readonly groupBy: string;
  readonly data: readonly (Sums & { readonly group: string | null; readonly bucket?: string | null })[];
  readonly totals: Sums;
  readonly isCut: boolean;
}

export const usageCommand: Command = {
  words: 'usage',
  doc: 'Sum up calls, tokens and cost.',
  options: {
    from: { value: 'TIME', doc: 'RFC 3339 (30 days ago)' },
    to: { value: 'TIME', doc: 'RFC 3339 (now)' },
    ...callFilters,
    bucket: { value: 'WHAT', doc: 'part each group by hour, day or month' },
    prices: { value: 'WHICH', doc: 'recorded, or latest: those of the newest reckoning (usage recost)' },
    'group-by': { value: 'WHAT', doc: 'hour, day, month, key, token, user, provider, model or tag' },
  },
  async run(context) {
    const api = await context.api();
    const query = queryOf({
      from: context.text('from'),
      to: context.text('to'),
      groupBy: context.text('group-by'),
      ...(await callFilterOf(context, api)),
      bucket: context.text('bucket'),
      prices: context.text('prices'),
    });
    const report = await api.call<Report>('GET', `/api/usage${query}`);
    const row = (name: string | null, sums: Sums) => [
      name,
      sums.calls,
      sums.failed,
      sums.inputTokens,
      sums.outputTokens,
      costOf(sums),
    ];
    const rows = [
      ...report.data.map((group) =>
        row([group.bucket ?? null, group.group].filter((part) => part !== null).join(' '), group),
      ),
      row('total', report.totals),
    ];
    const heads = [report.groupBy.toUpperCase(), 'CALLS', 'FAILED', 'INPUT TOKENS', 'OUTPUT TOKENS', 'COST'];
    context.print(report, `${report.from} to ${report.to}\n\n${textTable(heads, rows)}${remarks(report)}`);
    return exits.ok;
  },
};

/** Unknown is not 0: who reads a sum as what he has to pay has to see what is not in it. */
function costOf({ costNanoUsd, unknownCostCalls }: Sums): string | null {
  const known = dollars(costNanoUsd);
  return known === null || unknownCostCalls === 0
    ? known
    : `${known} and ${callsOf(unknownCostCalls)} unknown`;
}

function remarks({ totals, isCut }: Report): string {
  const lines = [
    ...(isCut ? ['There are more groups than are shown; the total is of all.'] : []),
    ...(totals.unknownUsageCalls === 0
      ? []
      : [
          `The tokens of ${callsOf(totals.unknownUsageCalls)} are not known, and not in the sums (docs/usage.md).`,
        ]),
  ];
  return lines.length === 0 ? '' : `\n${lines.join('\n')}\n`;
}

function callsOf(count: number): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? 'call' : 'calls'}`;
}

interface Recosted {
  readonly cursor: string | null;
  readonly looked: number;
  readonly priced: number;
  readonly newlyPriced: number;
  readonly recordedNanoUsd: string;
  readonly computedNanoUsd: string;
  readonly versions: readonly string[];
}

export const recostCommand: Command = {
  words: 'usage recost',
  doc: 'Reckon what calls cost by the prices of today, beside what was recorded.',
  options: {
    from: { value: 'TIME', doc: 'calls since then (RFC 3339)', isRequired: true },
    to: { value: 'TIME', doc: 'and before then (now)' },
    'dry-run': { value: null, doc: 'only say what it would come to' },
  },
  async run(context) {
    const api = await context.api();
    const to = context.text('to');
    const period = { from: context.text('from'), ...(to === null ? {} : { to }) };
    const sum = { looked: 0, priced: 0, newlyPriced: 0, recorded: 0n, computed: 0n };
    const versions = new Set<string>();
    let cursor: string | null = null;
    do {
      const body = { ...period, dryRun: context.has('dry-run'), ...(cursor === null ? {} : { cursor }) };
      const page: Recosted = await api.call('POST', '/api/usage/recost', body);
      for (const name of ['looked', 'priced', 'newlyPriced'] as const) sum[name] += page[name];
      sum.recorded += BigInt(page.recordedNanoUsd);
      sum.computed += BigInt(page.computedNanoUsd);
      for (const version of page.versions) versions.add(version);
      cursor = page.cursor;
    } while (cursor !== null);
    const { looked, priced, newlyPriced } = sum;
    const [recordedNanoUsd, computedNanoUsd] = [String(sum.recorded), String(sum.computed)];
    const differenceNanoUsd = String(sum.computed - sum.recorded);
    const told = { looked, priced, newlyPriced, recordedNanoUsd, computedNanoUsd, differenceNanoUsd };
    context.print(
      { ...told, versions: [...versions] },
      `Of ${looked.toLocaleString('en-US')} attempts ${priced.toLocaleString('en-US')} have a cost by ${[...versions].join(', ') || 'present prices'}, ${newlyPriced.toLocaleString('en-US')} of them had none. The others: ${dollars(recordedNanoUsd)} recorded, ${dollars(computedNanoUsd)} now, ${dollars(differenceNanoUsd)} more.\n`,
    );
    return exits.ok;
  },
};
