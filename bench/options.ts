import { parseArgs } from 'node:util';
import type { Wanted } from './bench.ts';
import { candidateNames } from './candidate.ts';
import { caseNames } from './cases.ts';

export interface Options extends Wanted {
  /** Whose section is written; null: none. */
  readonly document: string | null;
  readonly isJson: boolean;
}

const usual = candidateNames.filter((name) => name !== 'sallyport-relaxed');

export const usage = `npm run bench -- [options]
  --seconds N        of each measurement, 0.1 to 60 (2)
  --rounds N         1 to 100 (5)
  --case NAMES       ${caseNames.join(', ')}, separated by commas (all)
  --candidates NAMES ${candidateNames.join(', ')} (all but sallyport-relaxed)
  --write FILE       also writes the section "The hot path" of this document
  --nginx FILE       the nginx program (/usr/sbin/nginx)
  --profile DIR      also leaves a CPU profile of the gateway there: its numbers are the profiler's too then
  --smoke            1 round of 50 calls: does it work at all?
  --json             everything that was measured, as JSON
`;

/** @throws {Error} with a sentence for whoever typed it */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '5' },
      case: { type: 'string', default: caseNames.join(',') },
      candidates: { type: 'string', default: usual.join(',') },
      nginx: { type: 'string', default: '/usr/sbin/nginx' },
      profile: { type: 'string' },
      write: { type: 'string' },
      smoke: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const seconds = number('--seconds', values.seconds, 0.1, 60);
  const effort = values.smoke
    ? { seconds: 20, maxCalls: 50, warmUpCalls: 5, heldCounts: [20, 50] }
    : { seconds, maxCalls: 1_000_000, warmUpCalls: 2000, heldCounts: [1000, 5000] };
  return {
    ...effort,
    warmsUp: !values.smoke,
    rounds: values.smoke ? 1 : Math.floor(number('--rounds', values.rounds, 1, 100)),
    cases: names('--case', values.case, caseNames),
    candidates: names('--candidates', values.candidates, candidateNames),
    nginx: values.nginx,
    profileDir: values.profile ?? null,
    document: values.write ?? null,
    isJson: values.json,
  };
}

function number(option: string, text: string, from: number, to: number): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= from && value <= to))
    throw new Error(`${option} takes a number from ${from} to ${to}`);
  return value;
}

/** In the order of `known`, each once. */
function names<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  const wanted = text.split(',').map((name) => name.trim());
  for (const name of wanted) {
    if (!known.some((other) => other === name)) throw new Error(`${option} takes ${known.join(', ')}`);
  }
  return known.filter((name) => wanted.includes(name));
}
