import type { ChildProcess } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import type { Candidate, CandidateName } from './candidate.ts';
import { messageOf, startNode, stop } from './child.ts';
import type { HoldJob, HoldReport } from './hold.ts';
import { measure, type Effort } from './measure.ts';
import { stateOf } from './process-state.ts';

/** A fresh process of one candidate, in one round. */
export interface HeldSample {
  readonly candidate: CandidateName;
  readonly round: number;
  /** Of the process before it held anything, warm. */
  readonly rssBytes: number | null;
  /** What it grew by for each stream, at each of the counts. */
  readonly bytesAStream: readonly (number | null)[];
  /** µs of CPU time of a small call: the mean of before and after, and while all streams are held. */
  readonly aloneUs: number | null;
  readonly besideUs: number | null;
  readonly failed: number;
  readonly failure: string | null;
}

/** The heap has been looked through since the last stream came. */
const calmMs = 1500;

/**
 * @param candidate just started: a process that has held streams once keeps the room for them
 * @param release lets the stand-in end the streams that it holds
 */
export async function measureHeld(
  load: ChildProcess,
  candidate: Candidate,
  round: number,
  effort: Effort,
  { counts, release }: { readonly counts: readonly number[]; readonly release: () => void },
): Promise<HeldSample> {
  const { port, token, pid, name } = candidate;
  const small = () => measure(load, candidate, 'held', round, effort);
  const rss = (): number | null => (pid === null ? null : (stateOf(pid)?.rssBytes ?? null));
  const holder = startNode('beside', 'hold.ts');
  try {
    const before = await small();
    await pause(calmMs);
    const rssBytes = rss();
    const bytesAStream: (number | null)[] = [];
    for (const count of counts) {
      holder.send({ port, token, count } satisfies HoldJob);
      await messageOf<HoldReport>(holder);
      await pause(calmMs);
      const grown = rss();
      bytesAStream.push(grown === null || rssBytes === null ? null : (grown - rssBytes) / count);
    }
    const beside = await small();
    holder.send('end');
    const ending = messageOf<HoldReport>(holder);
    release();
    const ended = await ending;
    await candidate.settle();
    const after = await small();
    const parts = [before, beside, after];
    return {
      candidate: name,
      round,
      rssBytes,
      bytesAStream,
      aloneUs: before.cpuUs === null || after.cpuUs === null ? null : (before.cpuUs + after.cpuUs) / 2,
      besideUs: beside.cpuUs,
      failed: ended.failed + parts.reduce((sum, { failed }) => sum + failed, 0),
      failure: ended.failure ?? parts.find(({ failure }) => failure !== null)?.failure ?? null,
    };
  } finally {
    await stop(holder);
  }
}
