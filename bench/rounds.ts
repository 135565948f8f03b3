import type { ChildProcess } from 'node:child_process';
import { chmod, mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import { takesPart, type Candidate, type CandidateName, type Stage } from './candidate.ts';
import { cases, type CaseName } from './cases.ts';
import { startCandidate } from './contestant.ts';
import { measureHeld, type HeldSample } from './held.ts';
import { measure, type Effort, type Sample } from './measure.ts';

export interface Plan extends Effort {
  readonly rounds: number;
  /** Calls before the first round, whose numbers are thrown away. */
  readonly warmsUp: boolean;
  readonly candidates: readonly CandidateName[];
  /** How many streams are held, in steps, each from the one before. */
  readonly heldCounts: readonly number[];
}

/** Called in reverse order when all is over, whatever happens. */
export type Ending = () => Promise<unknown>;

/** What the rounds of a run share. */
export interface Scene {
  readonly stage: Stage;
  readonly load: ChildProcess;
  /** Told of what is being done. */
  readonly say: (line: string) => void;
  readonly endings: Ending[];
}

/** On a busy machine; a quiet one is done with a case's calls within three. */
const warmUpSeconds = 20;

/** Of the case that needs processes just started. */
const heldRounds = 3;

/** By calls, and not by time: those that are slow would come to be measured half compiled. */
function warmUpOf(caseName: CaseName): Effort {
  return {
    seconds: warmUpSeconds,
    maxCalls: cases[caseName].warmUpCalls,
    warmUpCalls: 100,
    skipsLatency: true,
  };
}

/** All candidates run from the first round to the last, and take turns. */
export async function interleaved(
  set: readonly CaseName[],
  plan: Plan,
  { stage, load, say, endings }: Scene,
): Promise<Sample[]> {
  const running: Candidate[] = [];
  const stopAll: Ending = async () => {
    for (const candidate of running.splice(0).toReversed()) await candidate.stop();
  };
  endings.push(stopAll);
  for (const name of plan.candidates) {
    if (!set.some((caseName) => takesPart(name, caseName))) continue;
    const candidate = await startCandidate(name, stage);
    if (candidate !== null) running.push(candidate);
  }
  // Compiled code is what runs for months; the first thousands of calls are the compiler's.
  for (const caseName of plan.warmsUp ? set : []) {
    say(`warming up: ${cases[caseName].title}`);
    for (const candidate of running) {
      if (!takesPart(candidate.name, caseName)) continue;
      await measure(load, candidate, caseName, -1, warmUpOf(caseName));
    }
  }
  const samples: Sample[] = [];
  for (let round = 0; round < plan.rounds; round += 1) {
    say(`round ${round + 1} of ${plan.rounds}: ${set.join(', ')}`);
    for (const caseName of set) {
      const taking = running.filter(({ name }) => takesPart(name, caseName));
      // Each round begins with another one, so that none is always the first after a pause or the last before one.
      for (let i = 0; i < taking.length; i += 1) {
        const candidate = taking[(i + round) % taking.length] as Candidate;
        samples.push(await measure(load, candidate, caseName, round, plan));
      }
    }
  }
  await stopAll();
  return samples;
}

/** Each candidate is started for each round anew. */
export async function freshly(
  release: () => void,
  plan: Plan,
  { stage, load, say, endings }: Scene,
): Promise<HeldSample[]> {
  const samples: HeldSample[] = [];
  const names = plan.candidates.filter((name) => takesPart(name, 'held'));
  const rounds = Math.min(heldRounds, plan.rounds);
  for (let round = 0; round < rounds; round += 1) {
    say(`round ${round + 1} of ${rounds}: held`);
    for (let i = 0; i < names.length; i += 1) {
      const name = names[(i + round) % names.length] as CandidateName;
      const folder = await mkdtemp(path.join(stage.folder, 'held-'));
      await chmod(folder, 0o711);
      const candidate = await startCandidate(name, { ...stage, folder });
      if (candidate === null) continue;
      let hasStopped = false;
      const end: Ending = async () => {
        if (!hasStopped) await candidate.stop();
        hasStopped = true;
      };
      endings.push(end);
      const warmUp = plan.warmsUp ? warmUpOf('held') : null;
      samples.push(
        await measureHeld(load, candidate, round, plan, { counts: plan.heldCounts, release, warmUp }),
      );
      await end();
    }
  }
  return samples;
}
