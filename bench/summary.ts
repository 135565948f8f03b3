import type { CandidateName } from './candidate.ts';
import type { CaseName } from './cases.ts';
import type { HeldSample } from './held.ts';
import type { Sample } from './measure.ts';
import type { Series } from './spread.ts';

/** What was measured. */
export interface Measured {
  readonly samples: readonly Sample[];
  readonly held: readonly HeldSample[];
}

export type Figure = Exclude<keyof Sample, 'candidate' | 'caseName' | 'round' | 'failed' | 'failure'>;

export function figuresOf(
  { samples }: Pick<Measured, 'samples'>,
  figure: Figure,
  caseName: CaseName,
  candidate: CandidateName,
): Series {
  return new Map(
    samples
      .filter((sample) => sample.candidate === candidate && sample.caseName === caseName)
      .map((sample) => [sample.round, sample[figure]]),
  );
}

/** ms that a call alone takes longer than a direct one of the same round. */
export function addedMsOf(
  measured: Pick<Measured, 'samples'>,
  caseName: CaseName,
  name: CandidateName,
): Series {
  const direct = figuresOf(measured, 'p50Ms', caseName, 'direct');
  return new Map(
    [...figuresOf(measured, 'p50Ms', caseName, name)].map(([round, ms]) => {
      const under = direct.get(round) ?? null;
      return [round, name === 'direct' || ms === null || under === null ? null : ms - under];
    }),
  );
}

export function heldFigures(
  { held }: Pick<Measured, 'held'>,
  candidate: CandidateName,
  figure: (sample: HeldSample) => number | null,
): Series {
  return new Map(
    held.filter((sample) => sample.candidate === candidate).map((sample) => [sample.round, figure(sample)]),
  );
}
