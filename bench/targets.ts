import type { CandidateName } from './candidate.ts';
import type { CaseName } from './cases.ts';
import type { HeldSample } from './held.ts';
import { ratioOf, type Series, type Spread } from './spread.ts';
import { addedMsOf, figuresOf, heldFigures, type Measured } from './summary.ts';

/** A promise of the product about its hot path: a multiple of something else in the same round. */
interface Target {
  readonly title: string;
  readonly must: number;
  readonly excellent: number;
  readonly seen: (measured: Measured) => Spread | null;
}

/** Bars as `[must, excellent]`. */
type Bars = readonly [number, number];

/** A figure of Sallyport beside nginx's and beside the bare proxy's. */
function besideBoth(
  title: string,
  nginx: Bars,
  bare: Bars,
  figure: (measured: Measured, candidate: CandidateName) => Series,
): Target[] {
  return (
    [
      ['nginx', nginx],
      ['bare', bare],
    ] as const
  ).map(([base, [must, excellent]]) => ({
    title: `${title}, × ${base}`,
    must,
    excellent,
    seen: (measured) => ratioOf(figure(measured, 'sallyport'), figure(measured, base)),
  }));
}

const cpu =
  (caseName: CaseName) =>
  (measured: Measured, candidate: CandidateName): Series =>
    figuresOf(measured, 'cpuUs', caseName, candidate);

const held = (measured: Measured, candidate: CandidateName, figure: (one: HeldSample) => number | null) =>
  heldFigures(measured, candidate, figure);

export const targets: readonly Target[] = [
  ...besideBoth('small JSON, CPU a call', [4.5, 3.0], [0.6, 0.4], cpu('small')),
  ...besideBoth('100 KB JSON, CPU a call', [7, 4.5], [1.4, 1.0], cpu('large')),
  ...besideBoth('SSE as fast as it goes, CPU a call', [1.2, 1.0], [1.1, 0.85], cpu('sse')),
  ...besideBoth('SSE paced, CPU a chunk', [2.6, 2.1], [1.1, 0.9], cpu('paced')),
  ...besideBoth('added p50 on one connection, small JSON', [2.8, 1.8], [0.8, 0.55], (measured, candidate) =>
    addedMsOf(measured, 'small', candidate),
  ),
  ...besideBoth('memory a stream, most streams held', [2.3, 1.6], [0.85, 0.6], (measured, candidate) =>
    held(measured, candidate, ({ bytesAStream }) => bytesAStream.at(-1) ?? null),
  ),
  {
    title: 'small JSON, CPU a call, × without the streams that are held',
    must: 1.5,
    excellent: 1.15,
    seen: (measured) =>
      ratioOf(
        held(measured, 'sallyport', ({ besideUs }) => besideUs),
        held(measured, 'sallyport', ({ aloneUs }) => aloneUs),
      ),
  },
  {
    title: 'small JSON, CPU a call, all features on × all off',
    must: 1.3,
    excellent: 1.12,
    seen: (measured) => ratioOf(cpu('features')(measured, 'all-on'), cpu('features')(measured, 'all-off')),
  },
  {
    title: 'small JSON, CPU a call, provider by TLS × in clear',
    must: 1.6,
    excellent: 1.25,
    seen: (measured) => ratioOf(cpu('tls')(measured, 'sallyport-tls'), cpu('tls')(measured, 'sallyport')),
  },
];

export type Verdict = 'excellent' | 'met' | 'missed' | 'not measured';

export interface Judged extends Omit<Target, 'seen'> {
  readonly seen: Spread | null;
  readonly verdict: Verdict;
}

/** By the median. */
export function judge(measured: Measured): Judged[] {
  return targets.map((target) => {
    const seen = target.seen(measured);
    return { ...target, seen, verdict: verdictOf(target, seen) };
  });
}

function verdictOf({ must, excellent }: Target, seen: Spread | null): Verdict {
  if (seen === null) return 'not measured';
  if (seen.median <= excellent) return 'excellent';
  return seen.median <= must ? 'met' : 'missed';
}
