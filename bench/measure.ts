import type { ChildProcess } from 'node:child_process';
import type { Candidate, CandidateName } from './candidate.ts';
import { cases, type CaseName } from './cases.ts';
import { messageOf } from './child.ts';
import { cpuTimeOf, type CpuTime } from './cpu-time.ts';
import type { Job, Report } from './load.ts';

/** One candidate, one case, one round. */
export interface Sample {
  readonly candidate: CandidateName;
  readonly caseName: CaseName;
  readonly round: number;
  readonly calls: number;
  readonly failed: number;
  readonly failure: string | null;
  readonly callsPerSecond: number;
  /**
   * µs of CPU time of the measured process for each of the case's units, what it puts off included; null where there is no process, or
   * no /proc.
   */
  readonly cpuUs: number | null;
  /** The part of it that was spent after the last answer. */
  readonly cpuAfterUs: number | null;
  /** µs of its PostgreSQL server, not in `cpuUs`. */
  readonly postgresUs: number | null;
  /** ms of a whole call on one connection, alone; null where the case has none. */
  readonly p50Ms: number | null;
}

export interface Effort {
  readonly seconds: number;
  /** Calls at most, of each measurement. */
  readonly maxCalls: number;
  /** Unmeasured calls before: at most an eighth of the time. */
  readonly warmUpCalls: number;
  /** Nobody asks for the latency of a call alone. */
  readonly skipsLatency?: boolean;
}

export async function measure(
  load: ChildProcess,
  candidate: Candidate,
  caseName: CaseName,
  round: number,
  { seconds, maxCalls, warmUpCalls, skipsLatency = false }: Effort,
): Promise<Sample> {
  const { port, token, pid } = candidate;
  const ask = async (connections: number, maxSeconds: number, calls: number): Promise<Report> => {
    load.send({ port, token, caseName, connections, maxSeconds, maxCalls: calls } satisfies Job);
    return messageOf<Report>(load);
  };
  const cpu = (): CpuTime | null => (pid === null ? null : cpuTimeOf(pid));
  const { connections, unit, unitsPerCall, hasLatency } = cases[caseName];

  // Paced calls take as long as they take, and wake nothing up that an even pace would not.
  const warm = unit === 'chunk' ? null : await ask(connections, seconds / 8, warmUpCalls);
  await candidate.settle();
  const before = cpu();
  const busy = await ask(connections, seconds, maxCalls);
  const between = cpu();
  await candidate.settle();
  const after = cpu();
  const single = hasLatency && !skipsLatency ? await ask(1, seconds / 2, maxCalls) : null;
  if (single !== null) await candidate.settle();

  const reports = [warm, busy, single].filter((report) => report !== null);
  const units = busy.calls * unitsPerCall;
  const each = (from: CpuTime | null, to: CpuTime | null, of: keyof CpuTime): number | null =>
    from === null || to === null || units === 0 ? null : ((to[of] - from[of]) / units) * 1e6;
  return {
    candidate: candidate.name,
    caseName,
    round,
    calls: reports.reduce((sum, report) => sum + report.calls, 0),
    failed: reports.reduce((sum, report) => sum + report.failed, 0),
    failure: reports.find((report) => report.failure !== null)?.failure ?? null,
    callsPerSecond: busy.calls / busy.seconds,
    cpuUs: each(before, after, 'own'),
    cpuAfterUs: each(between, after, 'own'),
    postgresUs: each(before, after, 'postgres'),
    p50Ms: single?.p50Ms ?? null,
  };
}
