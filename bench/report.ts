import type { Result } from './bench.ts';
import type { CandidateName } from './candidate.ts';
import { cases, type CaseName } from './cases.ts';
import { ratioOf, spreadOf, type Series, spreadText } from './spread.ts';
import { addedMsOf, figuresOf, heldFigures, type Figure } from './summary.ts';
import { markdownOf, textOf, type Table } from './table.ts';

interface Section {
  readonly title: string;
  readonly table: Table;
}

export function reportText(result: Result): string {
  const sections = sectionsOf(result).map(({ title, table }) => `\n${title}\n${textOf(table)}`);
  const flaws = flawsOf(result).map((flaw) => `${flaw}\n`);
  return [`${aboutOf(result)}\n`, ...sections, ...flaws].join('');
}

/** @param command that made it */
export function reportMarkdown(result: Result, command: string): string {
  const sections = sectionsOf(result).map(({ title, table }) => `\n${title}\n\n${markdownOf(table)}`);
  const flaws = flawsOf(result).map((flaw) => `\n${flaw}\n`);
  const { date, cpuModel, minutes } = result;
  const about = `\`${command}\`, ${date.slice(0, 10)}, ${Math.ceil(minutes)} minutes on ${cpuModel}. ${aboutOf(result)}`;
  return [`${about}\n`, ...sections, ...flaws].join('');
}

function aboutOf({
  node,
  nginxVersion,
  cpus,
  isPinned,
  loadBefore,
  rounds,
  seconds,
  absent,
}: Result): string {
  const absentHere = absent.length === 0 ? '' : ` Absent here: ${absent.join(', ')}.`;
  const pinned = isPinned ? 'pinned' : 'not pinned (no taskset, or one processor)';
  return `Node ${node}, ${nginxVersion ?? 'no nginx'}; ${cpus} processors, ${pinned}, load ${loadBefore.toFixed(1)} before; ${rounds} rounds of ${seconds} s, interleaved. Medians; in brackets the lowest and highest.${absentHere}`;
}

function sectionsOf(result: Result): Section[] {
  const tables = result.cases.map((caseName) => ({
    title: cases[caseName].title,
    table: caseName === 'held' ? heldTable(result) : caseTable(result, caseName),
  }));
  return [
    ...tables,
    { title: 'Targets, by the median of ratios within a round', table: targetTable(result) },
  ];
}

function caseTable(result: Result, caseName: CaseName): Table {
  const { unit, hasLatency } = cases[caseName];
  const bases: readonly CandidateName[] = basesOf(caseName);
  const head = [
    '',
    'calls/s',
    `CPU µs a ${unit}`,
    'of it later',
    'PostgreSQL µs',
    ...(hasLatency ? ['p50 ms', 'added ms'] : []),
    ...bases.map((base) => `CPU × ${base}`),
  ];
  const names = result.candidates.filter((name) => figuresOf(result, 'calls', caseName, name).size > 0);
  const rows = names.map((name) => {
    const middle = (figure: Figure, digits: number): string =>
      median(figuresOf(result, figure, caseName, name), digits);
    const cpu = figuresOf(result, 'cpuUs', caseName, name);
    return [
      name,
      middle('callsPerSecond', 0),
      middle('cpuUs', 1),
      middle('cpuAfterUs', 1),
      middle('postgresUs', 1),
      ...(hasLatency ? [middle('p50Ms', 3), median(addedMsOf(result, caseName, name), 3)] : []),
      ...bases.map((base) => spreadText(ratioOf(cpu, figuresOf(result, 'cpuUs', caseName, base)))),
    ];
  });
  return [head, ...rows];
}

function basesOf(caseName: CaseName): readonly CandidateName[] {
  if (caseName === 'features') return ['all-on', 'all-off'];
  return caseName === 'tls' ? ['sallyport'] : ['bare', 'nginx'];
}

function heldTable(result: Result): Table {
  const { heldCounts, candidates } = result;
  const most = heldCounts.at(-1) ?? 0;
  const head = [
    '',
    'RSS MB before',
    ...heldCounts.map((count) => `KB a stream of ${count}`),
    'CPU µs a call alone',
    `beside ${most}`,
    'beside / alone',
    `KB a stream of ${most}, × bare`,
    '× nginx',
  ];
  const rows = candidates
    .filter((name) => result.held.some(({ candidate }) => candidate === name))
    .map((name) => {
      const of = (figure: Parameters<typeof heldFigures>[2], candidate = name): Series =>
        heldFigures(result, candidate, figure);
      const scaled = (value: number | null | undefined, by: number): number | null =>
        value === null || value === undefined ? null : value / by;
      const [alone, beside] = [of(({ aloneUs }) => aloneUs), of(({ besideUs }) => besideUs)];
      const last = (candidate: CandidateName): Series =>
        of(({ bytesAStream }) => bytesAStream.at(-1) ?? null, candidate);
      return [
        name,
        median(
          of(({ rssBytes }) => scaled(rssBytes, 1e6)),
          1,
        ),
        ...heldCounts.map((_, i) =>
          spreadText(spreadOf([...of(({ bytesAStream }) => scaled(bytesAStream[i], 1000)).values()]), 1),
        ),
        median(alone, 1),
        median(beside, 1),
        spreadText(ratioOf(beside, alone)),
        spreadText(ratioOf(last(name), last('bare'))),
        spreadText(ratioOf(last(name), last('nginx'))),
      ];
    });
  return [head, ...rows];
}

function targetTable({ targets }: Result): Table {
  const head = ['Sallyport', 'must', 'excellent', 'seen', ''];
  const rows = targets.map(({ title, must, excellent, seen, verdict }) => [
    title,
    must.toFixed(2),
    excellent.toFixed(2),
    spreadText(seen),
    verdict,
  ]);
  return [head, ...rows];
}

function flawsOf({ samples, held, cases: measured, unheldCounts }: Result): string[] {
  const failures = [
    ...samples.map((sample) => ({ ...sample, where: sample.caseName })),
    ...held.map((sample) => ({ ...sample, where: 'held' })),
  ]
    .filter(({ failed }) => failed > 0)
    .map(
      ({ candidate, where, round, failed, failure }) =>
        `FAILED: ${failed} calls of ${candidate}, ${where}, round ${round + 1}: ${failure}`,
    );
  const unheld = unheldCounts.map((count) => `Not measured: ${count} streams held. ulimit -n is too low.`);
  return [...failures, ...(measured.includes('held') ? unheld : [])];
}

function median(figures: Series, digits: number): string {
  return spreadOf([...figures.values()])?.median.toFixed(digits) ?? '–';
}
