import { randomBytes } from 'node:crypto';
import type { ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, open, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { isPinned, messageOf, startNode, stop } from './child.ts';
import type { PacedJob, PacedReport } from './journal-load.ts';
import type { Spent } from './journal-server.ts';
import type { Job, Report } from './load.ts';

/**
 * `node bench/journal.ts [rounds] [seconds]`: what the journal costs a call on its way, strict and relaxed, beside a gateway whose journal
 * forgets. In each round all three have a turn at 64 connections that are never idle, for CPU time, and one at half of what the strict one
 * bears, for p50. The figures are medians of the differences within a round, with the bounds that hold the true one 19 times in 20; many
 * short rounds make them narrower than few long ones. Missed bars fail nothing.
 */
const rounds = Number(process.argv[2] ?? 30);
const seconds = Number(process.argv[3] ?? 1);
const connections = 64;
const modes = ['off', 'relaxed', 'strict'] as const;
type Mode = (typeof modes)[number];
const [barUs, barMs] = [15, 0.4];

interface Sample {
  readonly cpuUs: number;
  readonly p50Ms: number;
  /** CPU time a call at that pace: batches are small then, and the processor has time. */
  readonly pacedCpuUs: number;
  readonly perSecond: number;
}

interface Gateway {
  readonly child: ChildProcess;
  readonly port: number;
  readonly token: string;
}

const folder = await mkdtemp(path.join(tmpdir(), 'sallyport-bench-'));
// Run by root, the embedded database is another user, who has to get through here.
await chmod(folder, 0o711);
const key = `sk-proj-${randomBytes(24).toString('hex')}`;
const children: ChildProcess[] = [];
const say = (line: string): void => void process.stdout.write(`${line}\n`);
try {
  const standIn = startNode('beside', 'stand-in.ts', [key]);
  const loads: Loads = {
    closed: startNode('beside', 'load.ts'),
    paced: startNode('beside', 'journal-load.ts'),
  };
  children.push(standIn, ...Object.values(loads));
  const { port: upstreamPort } = await messageOf<{ port: number }>(standIn);
  const gateways = new Map<Mode, Gateway>();
  for (const mode of modes) {
    const child = startNode('measured', 'journal-server.ts', [mode, String(upstreamPort), folder, key]);
    children.push(child);
    gateways.set(mode, { child, ...(await messageOf<{ port: number; token: string }>(child)) });
  }
  say(
    `load ${loadavg()[0]?.toFixed(1)} before; ${isPinned ? 'gateways pinned to processor 0' : 'not pinned'}; ${connections} connections, ${rounds} rounds of ${seconds} s`,
  );
  // The first ones are the compiler's.
  for (const mode of modes) await measure(loads, gateways.get(mode) as Gateway, 500);
  const { perSecond } = await measure(loads, gateways.get('strict') as Gateway, 500);
  const pace = Math.round(perSecond / 2);
  const syncMs: number[] = [];
  const samples: Record<Mode, Sample[]> = { off: [], relaxed: [], strict: [] };
  for (let round = 0; round < rounds; round += 1) {
    syncMs.push(await measureSync(path.join(folder, 'sync')));
    for (let i = 0; i < modes.length; i += 1) {
      // Each round begins with another one.
      const mode = modes[(i + round) % modes.length] as Mode;
      samples[mode].push(await measure(loads, gateways.get(mode) as Gateway, pace));
    }
  }
  const sync = median(syncMs);
  for (const mode of modes) {
    const of = (read: (sample: Sample) => number, digits: number): string =>
      median(samples[mode].map(read)).toFixed(digits);
    say(
      `${mode.padEnd(8)} ${of((one) => one.cpuUs, 1)} µs of CPU a call at ${of((one) => one.perSecond, 0)} calls a second; at ${pace} ${of((one) => one.pacedCpuUs, 1)} µs, p50 ${of((one) => one.p50Ms, 2)} ms`,
    );
  }
  say(`one fdatasync of a page, alone: p50 ${sync.toFixed(2)} ms`);
  for (const mode of ['relaxed', 'strict'] as const) {
    const more = (read: (sample: Sample) => number): number[] =>
      samples[mode].map((sample, i) => read(sample) - read(samples.off[i] as Sample));
    const beyond = mode === 'strict' ? sync : 0;
    const cpu = more((one) => one.cpuUs);
    const p50 = more((one) => one.p50Ms - beyond);
    say(
      `${mode}: ${between(cpu, 1)} µs of CPU a call more (bar ${barUs}: ${verdict(cpu, barUs)}); p50 at ${pace} calls a second ${between(p50, 2)} ms more${beyond > 0 ? ' beyond one fdatasync' : ''} (bar ${barMs}: ${verdict(p50, barMs)})`,
    );
  }
  say(`load ${loadavg()[0]?.toFixed(1)} after`);
} finally {
  for (const child of children) {
    // Its end is the channel's.
    if (child.connected) child.disconnect();
    await stop(child);
  }
  await rm(folder, { recursive: true, force: true });
}

interface Loads {
  readonly closed: ChildProcess;
  readonly paced: ChildProcess;
}

async function measure(loads: Loads, { child, port, token }: Gateway, perSecond: number): Promise<Sample> {
  const spent = async (): Promise<number> => {
    child.send('spent');
    return (await messageOf<Spent>(child)).cpuUs;
  };
  const start = await spent();
  const busy = { port, token, caseName: 'small', connections, maxSeconds: seconds, maxCalls: 1e6 } as const;
  loads.closed.send(busy satisfies Job);
  const report = await messageOf<Report>(loads.closed);
  if (report.failed > 0) throw new Error(`${report.failed} calls failed: ${report.failure}`);
  const middle = await spent();
  loads.paced.send({ port, token, connections, seconds, perSecond } satisfies PacedJob);
  const paced = await messageOf<PacedReport>(loads.paced);
  const end = await spent();
  return {
    cpuUs: (middle - start) / report.calls,
    p50Ms: paced.p50Ms,
    pacedCpuUs: (end - middle) / paced.calls,
    perSecond: report.calls / report.seconds,
  };
}

/** ms of writing a page behind the end of a file and syncing it, median of 100. */
async function measureSync(name: string): Promise<number> {
  const file = await open(name, 'w');
  const page = Buffer.alloc(4096, 'x');
  const times: number[] = [];
  for (let i = 0; i < 100; i += 1) {
    await file.write(page, 0, page.length, i * page.length);
    const start = performance.now();
    await file.datasync();
    times.push(performance.now() - start);
  }
  await file.close();
  return median(times);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/**
 * The bounds of a median that hold the true one in at least 95 of 100 cases, whatever the distribution: as many values lie outside on
 * each side as so many throws of a coin show heads in 2.5 of 100 cases. Of fewer than six values, the lowest and the highest.
 */
function bounds(values: readonly number[]): readonly [number, number] {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  let outside = 0;
  let chance = 0.5 ** n;
  for (let sum = chance; sum <= 0.025; sum += chance) {
    outside += 1;
    chance *= (n - outside + 1) / outside;
  }
  const rank = Math.max(0, outside - 1);
  return [sorted[rank] ?? Number.NaN, sorted[n - 1 - rank] ?? Number.NaN];
}

function between(values: readonly number[], digits: number): string {
  const [low, high] = bounds(values);
  return `${median(values).toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}

function verdict(values: readonly number[], bar: number): string {
  const [low, high] = bounds(values);
  return high <= bar ? 'met' : low > bar ? 'MISSED' : 'not told apart';
}
