import type { CandidateName } from './candidate.ts';
import type { CaseName } from './cases.ts';
import type { Sample } from './measure.ts';
import { ratioOf, type Measure, type Spread } from './summary.ts';

/** The product's promises about its hot path that this bench can look at, as multiples of a base in the same run. */
interface Target {
  readonly title: string;
  readonly measure: Measure;
  readonly caseName: CaseName;
  readonly base: Extract<CandidateName, 'nginx' | 'bare'>;
  readonly must: number;
  readonly excellent: number;
}

const rows: readonly (readonly [
  string,
  Measure,
  CaseName,
  readonly [number, number],
  readonly [number, number],
])[] = [
  ['small JSON, CPU a call', 'cpuUs', 'small', [4.5, 3.0], [0.6, 0.4]],
  ['100 KB JSON, CPU a call', 'cpuUs', 'large', [7, 4.5], [1.4, 1.0]],
  ['SSE as fast as it goes, CPU a call', 'cpuUs', 'sse', [1.2, 1.0], [1.1, 0.85]],
  ['added p50 on one connection, small JSON', 'addedP50Ms', 'small', [2.8, 1.8], [0.8, 0.55]],
];

export const targets: readonly Target[] = rows.flatMap(([title, measure, caseName, nginx, bare]) => [
  { title, measure, caseName, base: 'nginx', must: nginx[0], excellent: nginx[1] },
  { title, measure, caseName, base: 'bare', must: bare[0], excellent: bare[1] },
]);

export type Verdict = 'excellent' | 'met' | 'missed' | 'not measured';

export interface Judged extends Target {
  readonly seen: Spread | null;
  readonly verdict: Verdict;
}

/** By the median. */
export function judge(samples: readonly Sample[]): Judged[] {
  return targets.map((target) => {
    const seen = ratioOf(samples, target.measure, target.caseName, 'sallyport', target.base);
    return { ...target, seen, verdict: verdictOf(target, seen) };
  });
}

function verdictOf({ must, excellent }: Target, seen: Spread | null): Verdict {
  if (seen === null) return 'not measured';
  if (seen.median <= excellent) return 'excellent';
  return seen.median <= must ? 'met' : 'missed';
}
