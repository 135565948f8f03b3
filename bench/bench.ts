import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { takesPart, type CandidateName, type Stage } from './candidate.ts';
import type { CaseName } from './cases.ts';
import { makeCertificate } from './certificate.ts';
import { isPinned, messageOf, openFilesLimit, startNode, stop } from './child.ts';
import type { HeldSample } from './held.ts';
import type { Sample } from './measure.ts';
import { freshly, interleaved, type Ending, type Plan } from './rounds.ts';
import type { StandInPorts } from './stand-in.ts';
import type { Measured } from './summary.ts';
import { nginxVersion } from './nginx.ts';
import { judge, type Judged } from './targets.ts';

export interface Wanted extends Plan {
  readonly cases: readonly CaseName[];
  readonly nginx: string;
  readonly profileDir: string | null;
}

export interface Result extends Measured {
  readonly date: string;
  readonly node: string;
  /** As it says itself; null where it is not installed. */
  readonly nginxVersion: string | null;
  readonly cpuModel: string;
  readonly cpus: number;
  /** One minute's load average when the run began: above about 0.5 others were at work. */
  readonly loadBefore: number;
  readonly isPinned: boolean;
  readonly seconds: number;
  readonly rounds: number;
  readonly minutes: number;
  readonly candidates: readonly CandidateName[];
  /** Candidates that are not installed here. */
  readonly absent: readonly CandidateName[];
  readonly cases: readonly CaseName[];
  /** Streams at each step of the case `held`. */
  readonly heldCounts: readonly number[];
  /** Those that `ulimit -n` is too low for. */
  readonly unheldCounts: readonly number[];
  readonly failedCalls: number;
  readonly targets: readonly Judged[];
}

/** A gateway has two connections for each stream, and some more for all else. */
function descriptorsOf(streams: number): number {
  return 2 * streams + 500;
}

/** @param say told of what is being done */
export async function bench(wanted: Wanted, say: (line: string) => void): Promise<Result> {
  const endings: Ending[] = [];
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new Error(`ended by ${signal}`)));
  });
  try {
    return await Promise.race([contest(wanted, say, endings), interrupted]);
  } finally {
    for (const end of endings.toReversed()) await end();
  }
}

async function contest(wanted: Wanted, say: (line: string) => void, endings: Ending[]): Promise<Result> {
  const start = performance.now();
  const date = new Date().toISOString();
  const loadBefore = loadavg()[0] ?? 0;
  const folder = await mkdtemp(path.join(tmpdir(), 'sallyport-bench-'));
  endings.push(() => rm(folder, { recursive: true, force: true }));
  // Run by root, the embedded database is another user, who has to get through here.
  await chmod(folder, 0o711);
  const key = `sk-proj-${randomBytes(24).toString('hex')}`;
  const certificate = wanted.candidates.includes('sallyport-tls') ? makeCertificate(folder) : null;
  const files = certificate === null ? [] : [certificate.certFile, certificate.keyFile];
  const standIn = startNode('beside', 'stand-in.ts', [key, ...files]);
  endings.push(() => stop(standIn));
  const { port: upstreamPort, tlsPort } = await messageOf<StandInPorts>(standIn);
  const load = startNode('beside', 'load.ts');
  endings.push(() => stop(load));
  const tls =
    certificate === null || tlsPort === null ? null : { port: tlsPort, caFile: certificate.certFile };
  const { nginx, profileDir } = wanted;
  const stage: Stage = { upstreamPort, key, tls, folder, nginx, profileDir };

  const scene = { stage, load, say, endings };
  const samples: Sample[] = [];
  const inTurn = wanted.cases.filter((caseName) => caseName !== 'held');
  // Features apart from the rest: nine gateways that wait would be nine that are in the way.
  for (const set of [
    inTurn.filter((caseName) => caseName !== 'features'),
    inTurn.filter((caseName) => caseName === 'features'),
  ]) {
    samples.push(...(await interleaved(set, wanted, scene)));
  }
  const held: HeldSample[] = [];
  const heldCounts = wanted.heldCounts.filter((count) => descriptorsOf(count) <= openFilesLimit());
  if (wanted.cases.includes('held')) {
    held.push(...(await freshly(() => standIn.send('release'), { ...wanted, heldCounts }, scene)));
  }
  const present = new Set([...samples, ...held].map(({ candidate }) => candidate));
  const measured = { samples, held };
  const failed = [...samples, ...held].reduce((sum, sample) => sum + sample.failed, 0);
  return {
    ...measured,
    date,
    node: process.version,
    nginxVersion: nginxVersion(nginx),
    cpuModel: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    loadBefore,
    isPinned,
    seconds: wanted.seconds,
    rounds: wanted.rounds,
    minutes: (performance.now() - start) / 60_000,
    candidates: wanted.candidates.filter((name) => present.has(name)),
    absent: wanted.candidates.filter(
      (name) => !present.has(name) && wanted.cases.some((caseName) => takesPart(name, caseName)),
    ),
    cases: wanted.cases,
    heldCounts,
    unheldCounts: wanted.heldCounts.filter((count) => !heldCounts.includes(count)),
    failedCalls: failed,
    targets: judge(measured),
  };
}
