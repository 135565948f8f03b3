import type { CaseName } from './cases.ts';
import { featureNames } from './features.ts';

/** What calls are sent to: a child process between the load and the stand-in, or the stand-in itself. */
export interface Candidate {
  readonly name: CandidateName;
  readonly port: number;
  /** What a client sends as its bearer. */
  readonly token: string;
  /** Root of the measured process tree; null where nothing is in between. */
  readonly pid: number | null;
  /** Resolves when what the calls left to do is done: it is counted too, and must not be done at another candidate's cost. */
  settle(): Promise<void>;
  stop(): Promise<void>;
}

export const candidateNames = [
  'direct',
  'bare',
  'nginx',
  'sallyport',
  'sallyport-relaxed',
  'sallyport-tls',
  ...featureNames,
] as const;
export type CandidateName = (typeof candidateNames)[number];

/** Who is measured in a case: those beside whom the numbers say something. */
export function takesPart(name: CandidateName, caseName: CaseName): boolean {
  const isFeature = featureNames.some((feature) => feature === name);
  if (caseName === 'features') return isFeature;
  if (caseName === 'tls') return name === 'sallyport' || name === 'sallyport-tls';
  if (isFeature || name === 'sallyport-tls') return false;
  return name !== 'direct' || (caseName !== 'paced' && caseName !== 'held');
}

/** What all candidates share. */
export interface Stage {
  /** The stand-in's. */
  readonly upstreamPort: number;
  readonly key: string;
  /** Where it speaks TLS, and the file of its authority; null: it does not. */
  readonly tls: { readonly port: number; readonly caFile: string } | null;
  /** A folder of the run's own, gone after it. */
  readonly folder: string;
  readonly nginx: string;
  /** Where a CPU profile of the gateway goes; null: none is made. */
  readonly profileDir: string | null;
}
