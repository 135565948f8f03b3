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
  /** Of the process as it has started. */
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

interface HeldPlan {
  readonly counts: readonly number[];
  /** Lets the stand-in end the streams that it holds. */
  readonly release: () => void;
  /** Before small calls are measured; null: not at all. */
  readonly warmUp: Effort | null;
}

/**
 * Memory first: a process that has answered calls has room in its heap for streams, and one that has held some keeps the room for them. A bare
 * proxy that was warm grew by 3 KB for each of a thousand.
 *
 * @param candidate just started
 */
export async function measureHeld(
  load: ChildProcess,
  candidate: Candidate,
  round: number,
  effort: Effort,
  { counts, release, warmUp }: HeldPlan,
): Promise<HeldSample> {
  const { port, token, pid, name } = candidate;
  const small = () => measure(load, candidate, 'held', round, effort);
  const rss = (): number | null => (pid === null ? null : (stateOf(pid)?.rssBytes ?? null));
  const holder = startNode('beside', 'hold.ts');
  const hold = async (count: number): Promise<void> => {
    holder.send({ port, token, count } satisfies HoldJob);
    await messageOf<HoldReport>(holder);
  };
  const letGo = async (): Promise<HoldReport> => {
    holder.send('end');
    const ending = messageOf<HoldReport>(holder);
    release();
    const ended = await ending;
    await candidate.settle();
    return ended;
  };
  try {
    await pause(calmMs);
    const rssBytes = rss();
    const bytesAStream: (number | null)[] = [];
    for (const count of counts) {
      await hold(count);
      await pause(calmMs);
      const grown = rss();
      bytesAStream.push(grown === null || rssBytes === null ? null : (grown - rssBytes) / count);
    }
    await letGo();
    if (warmUp !== null) await measure(load, candidate, 'held', -1, warmUp);
    const before = await small();
    await hold(counts.at(-1) ?? 0);
    await pause(calmMs);
    const beside = await small();
    // Tells of those before as well.
    const ended = await letGo();
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
