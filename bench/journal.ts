import { randomBytes } from 'node:crypto';
import type { ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, open, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { isPinned, messageOf, startNode, stop } from './child.ts';
import type { Spent } from './journal-server.ts';
import type { Job, Report } from './load.ts';

/**
 * `node bench/journal.ts [rounds] [seconds]`: what the journal costs a call on its way, strict and relaxed, beside a gateway whose journal
 * forgets. They take turns within each round; the figures are medians of the differences within a round. Missed bars fail nothing.
 */
const rounds = Number(process.argv[2] ?? 7);
const seconds = Number(process.argv[3] ?? 3);
const connections = 64;
const modes = ['off', 'relaxed', 'strict'] as const;
type Mode = (typeof modes)[number];
const [barUs, barMs] = [15, 0.4];

interface Sample {
  readonly cpuUs: number;
  readonly p50Ms: number;
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
  const load = startNode('beside', 'load.ts');
  children.push(standIn, load);
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
  const syncMs: number[] = [];
  const samples: Record<Mode, Sample[]> = { off: [], relaxed: [], strict: [] };
  for (let round = -1; round < rounds; round += 1) {
    syncMs.push(await measureSync(path.join(folder, 'sync')));
    for (let i = 0; i < modes.length; i += 1) {
      // Each round begins with another one.
      const mode = modes[(i + round + 1) % modes.length] as Mode;
      const sample = await measure(load, gateways.get(mode) as Gateway);
      // The first round is the compiler's.
      if (round >= 0) samples[mode].push(sample);
    }
  }
  const sync = median(syncMs);
  for (const mode of modes) {
    const of = (read: (sample: Sample) => number): number => median(samples[mode].map(read));
    say(
      `${mode.padEnd(8)} ${of((one) => one.cpuUs)
        .toFixed(1)
        .padStart(
          7,
        )} µs of CPU a call, p50 ${of((one) => one.p50Ms).toFixed(2)} ms, ${of((one) => one.perSecond).toFixed(0)} calls a second`,
    );
  }
  say(`one fdatasync of a page, alone: p50 ${sync.toFixed(2)} ms`);
  for (const mode of ['relaxed', 'strict'] as const) {
    const differences = (read: (sample: Sample) => number): number[] =>
      samples[mode].map((sample, i) => read(sample) - read(samples.off[i] as Sample));
    const [cpu, p50] = [differences((one) => one.cpuUs), differences((one) => one.p50Ms)];
    const beyond = median(p50) - (mode === 'strict' ? sync : 0);
    say(
      `${mode}: ${spread(cpu, 1)} µs of CPU a call (bar ${barUs}), p50 ${spread(p50, 2)} ms more, ${beyond.toFixed(2)} beyond ${mode === 'strict' ? 'one fdatasync' : 'nothing'} (bar ${barMs})`,
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

async function measure(load: ChildProcess, { child, port, token }: Gateway): Promise<Sample> {
  const spent = async (): Promise<number> => {
    child.send('spent');
    return (await messageOf<Spent>(child)).cpuUs;
  };
  const before = await spent();
  load.send({
    port,
    token,
    caseName: 'small',
    connections,
    maxSeconds: seconds,
    maxCalls: 1_000_000,
  } satisfies Job);
  const report = await messageOf<Report>(load);
  const after = await spent();
  if (report.failed > 0) throw new Error(`${report.failed} calls failed: ${report.failure}`);
  return {
    cpuUs: (after - before) / report.calls,
    p50Ms: report.p50Ms ?? Number.NaN,
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

function spread(values: readonly number[], digits: number): string {
  const sorted = values.toSorted((a, b) => a - b);
  return `${median(values).toFixed(digits)} (${sorted[0]?.toFixed(digits)} to ${sorted.at(-1)?.toFixed(digits)})`;
}
