import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import type { Candidate, CandidateName, Stage } from './candidate.ts';
import { isPinned, messageOf, startNode, stop } from './child.ts';
import { measure, type Sample } from './measure.ts';
import { startNginx } from './nginx.ts';
import { readOptions, usage, type Options } from './options.ts';
import { reportText, type Result } from './report.ts';
import { startSallyport } from './sallyport.ts';
import { judge } from './targets.ts';

/** Ended in reverse order, whatever happens. */
type Ending = () => Promise<unknown>;

async function bench(options: Options, endings: Ending[]): Promise<Result> {
  const loadBefore = loadavg()[0] ?? 0;
  const folder = await mkdtemp(path.join(tmpdir(), 'sallyport-bench-'));
  endings.push(() => rm(folder, { recursive: true, force: true }));
  // Run by root, the embedded database is another user, who has to get through here.
  await chmod(folder, 0o711);
  const key = `sk-proj-${randomBytes(24).toString('hex')}`;
  const standIn = startNode('beside', 'stand-in.ts', [key]);
  endings.push(() => stop(standIn));
  const { port: upstreamPort } = await messageOf<{ port: number }>(standIn);
  const load = startNode('beside', 'load.ts');
  endings.push(() => stop(load));

  const stage: Stage = { upstreamPort, key, folder, nginx: options.nginx, profileDir: options.profileDir };
  const present: Candidate[] = [];
  for (const name of options.candidates) {
    const candidate = await startCandidate(name, stage);
    if (candidate === null) continue;
    endings.push(() => candidate.stop());
    present.push(candidate);
  }

  // Compiled code is what runs for months; the first thousands of calls are the compiler's.
  for (const caseName of options.warmsUp ? options.cases : []) {
    for (const candidate of present) await measure(load, candidate, caseName, -1, options);
  }
  const samples: Sample[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    for (const caseName of options.cases) {
      // Each round begins with another one, so that none is always the first after a pause or the last before one.
      for (let i = 0; i < present.length; i += 1) {
        const candidate = present[(i + round) % present.length] as Candidate;
        samples.push(await measure(load, candidate, caseName, round, options));
      }
    }
    if (process.stderr.isTTY) process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
  }
  const names = present.map(({ name }) => name);
  return {
    node: process.version,
    cpus: availableParallelism(),
    loadBefore,
    isPinned,
    seconds: options.seconds,
    rounds: options.rounds,
    candidates: names,
    absent: options.candidates.filter((name) => !names.includes(name)),
    cases: options.cases,
    failedCalls: samples.reduce((sum, { failed }) => sum + failed, 0),
    targets: judge(samples),
    samples,
  };
}

/** Null where it is not installed. */
async function startCandidate(name: CandidateName, stage: Stage): Promise<Candidate | null> {
  if (name === 'nginx') return startNginx(stage);
  if (name === 'sallyport' || name === 'sallyport-relaxed') return startSallyport(name, stage);
  const nothing = { name, settle: async () => {} };
  if (name === 'direct') {
    return { ...nothing, port: stage.upstreamPort, token: stage.key, pid: null, stop: async () => {} };
  }
  const child = startNode('measured', 'bare.ts', [`http://127.0.0.1:${stage.upstreamPort}`, stage.key]);
  const { port } = await messageOf<{ port: number }>(child);
  return { ...nothing, port, token: 'any', pid: child.pid ?? null, stop: () => stop(child) };
}

/** @returns the exit code: 0, 1 if calls failed, 64 for options that are none. Noise and missed targets fail nothing. */
async function main(args: readonly string[]): Promise<number> {
  let options: Options;
  try {
    options = readOptions(args);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${usage}`);
    return 64;
  }
  const endings: Ending[] = [];
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new Error(`ended by ${signal}`)));
  });
  try {
    const result = await Promise.race([bench(options, endings), interrupted]);
    process.stdout.write(options.isJson ? `${JSON.stringify(result, null, 2)}\n` : reportText(result));
    return result.failedCalls > 0 ? 1 : 0;
  } finally {
    for (const end of endings.toReversed()) await end();
  }
}

process.exitCode = await main(process.argv.slice(2));
