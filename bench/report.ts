import type { CandidateName } from './candidate.ts';
import { cases, type CaseName } from './cases.ts';
import type { Sample } from './measure.ts';
import { ratioOf, rowOf, type Spread } from './summary.ts';
import type { Judged } from './targets.ts';

export interface Result {
  readonly node: string;
  readonly cpus: number;
  /** One minute's load average when the run began: above about 0.5 others were at work. */
  readonly loadBefore: number;
  readonly isPinned: boolean;
  readonly seconds: number;
  readonly rounds: number;
  readonly candidates: readonly CandidateName[];
  readonly absent: readonly CandidateName[];
  readonly cases: readonly CaseName[];
  readonly failedCalls: number;
  readonly targets: readonly Judged[];
  readonly samples: readonly Sample[];
}

export function reportText(result: Result): string {
  const { samples, rounds, seconds, absent } = result;
  const lines = [
    `Node ${result.node}, ${result.cpus} processors, ${result.isPinned ? 'pinned' : 'not pinned (no taskset, or one processor)'}, load ${result.loadBefore.toFixed(1)} before; ${rounds} rounds of ${seconds} s, interleaved`,
  ];
  if (absent.length > 0) lines.push(`absent here: ${absent.join(', ')}`);
  for (const caseName of result.cases) {
    lines.push('', cases[caseName].title, ...caseTable(result, caseName));
  }
  lines.push('', 'Targets: sallyport as a multiple, within one round', ...targetTable(result));
  const failures = samples.filter((sample) => sample.failed > 0);
  for (const { candidate, caseName, round, failed, failure } of failures) {
    lines.push(`FAILED: ${failed} calls of ${candidate}, ${caseName}, round ${round + 1}: ${failure}`);
  }
  return `${lines.join('\n')}\n`;
}

function caseTable({ samples, candidates }: Result, caseName: CaseName): string[] {
  const head = [
    '',
    'calls/s',
    'CPU µs',
    'of it later',
    'PostgreSQL µs',
    'p50 ms',
    'added ms',
    'CPU × bare',
    'CPU × nginx',
  ];
  const rows = candidates.map((candidate) => {
    const row = rowOf(samples, candidate, caseName);
    return [
      candidate,
      median(row.callsPerSecond, 0),
      median(row.cpuUs, 0),
      median(row.cpuAfterUs, 0),
      median(row.postgresUs, 0),
      median(row.p50Ms, 3),
      median(row.addedP50Ms, 3),
      range(ratioOf(samples, 'cpuUs', caseName, candidate, 'bare')),
      range(ratioOf(samples, 'cpuUs', caseName, candidate, 'nginx')),
    ];
  });
  return table([head, ...rows]);
}

function targetTable({ targets, cases: measured }: Result): string[] {
  const head = ['', 'must', 'excellent', 'seen', ''];
  const rows = targets
    .filter(({ caseName }) => measured.includes(caseName))
    .map(({ title, base, must, excellent, seen, verdict }) => [
      `${title}, × ${base}`,
      must.toFixed(2),
      excellent.toFixed(2),
      range(seen),
      verdict,
    ]);
  return table([head, ...rows]);
}

function median(spread: Spread | null, digits: number): string {
  return spread === null ? '–' : spread.median.toFixed(digits);
}

function range(spread: Spread | null): string {
  if (spread === null) return '–';
  return `${spread.median.toFixed(2)} (${spread.lowest.toFixed(2)}–${spread.highest.toFixed(2)})`;
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')}`.trimEnd(),
  );
}
