import type { CandidateName } from './candidate.ts';
import type { CaseName } from './cases.ts';
import type { Sample } from './measure.ts';

/** Over the rounds. */
export interface Spread {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

/** What ratios are made of. `addedP50Ms`: over the direct call of the same round. */
export type Measure = 'cpuUs' | 'addedP50Ms';

export interface Row {
  readonly candidate: CandidateName;
  readonly caseName: CaseName;
  readonly callsPerSecond: Spread | null;
  readonly cpuUs: Spread | null;
  readonly cpuAfterUs: Spread | null;
  readonly postgresUs: Spread | null;
  readonly p50Ms: Spread | null;
  readonly addedP50Ms: Spread | null;
}

export function rowOf(samples: readonly Sample[], candidate: CandidateName, caseName: CaseName): Row {
  const own = samples.filter((sample) => sample.candidate === candidate && sample.caseName === caseName);
  const over = (pick: (sample: Sample) => number | null): Spread | null => spreadOf(own.map(pick));
  return {
    candidate,
    caseName,
    callsPerSecond: over((sample) => sample.callsPerSecond),
    cpuUs: over((sample) => sample.cpuUs),
    cpuAfterUs: over((sample) => sample.cpuAfterUs),
    postgresUs: over((sample) => sample.postgresUs),
    p50Ms: over((sample) => sample.p50Ms),
    addedP50Ms: over((sample) => valueOf(samples, sample, 'addedP50Ms')),
  };
}

/**
 * A candidate's cost as a multiple of another's. Each ratio is of one round, in which both ran within seconds of each other: a
 * machine that grows slower between rounds moves both.
 */
export function ratioOf(
  samples: readonly Sample[],
  measure: Measure,
  caseName: CaseName,
  candidate: CandidateName,
  base: CandidateName,
): Spread | null {
  const ratios = samples
    .filter((sample) => sample.candidate === candidate && sample.caseName === caseName)
    .map((sample) => {
      const other = inRoundOf(samples, sample, base);
      const value = valueOf(samples, sample, measure);
      const baseValue = other === undefined ? null : valueOf(samples, other, measure);
      // Too few calls for the clock, or a base that came out faster than nothing: no ratio.
      return value === null || baseValue === null || baseValue <= 0 ? null : value / baseValue;
    });
  return spreadOf(ratios);
}

function valueOf(samples: readonly Sample[], sample: Sample, measure: Measure): number | null {
  if (measure === 'cpuUs') return sample.cpuUs;
  const direct = inRoundOf(samples, sample, 'direct')?.p50Ms ?? null;
  return sample.candidate === 'direct' || direct === null || sample.p50Ms === null
    ? null
    : sample.p50Ms - direct;
}

function inRoundOf(
  samples: readonly Sample[],
  { caseName, round }: Sample,
  candidate: CandidateName,
): Sample | undefined {
  return samples.find(
    (other) => other.candidate === candidate && other.caseName === caseName && other.round === round,
  );
}

function spreadOf(values: readonly (number | null)[]): Spread | null {
  const sorted = values.filter((value) => value !== null).toSorted((a, b) => a - b);
  const [lowest] = sorted;
  const highest = sorted.at(-1);
  if (lowest === undefined || highest === undefined) return null;
  const middle = (sorted.length - 1) / 2;
  const median = ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2;
  return { median, lowest, highest };
}
