import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { spreadOf, spreadText } from './spread.ts';

/**
 * `node bench/durable-write.ts [bytes] [rounds] [writes]`: what this disk takes for one durable write behind the end of a file, with nothing
 * of the product around it: the floor under each batch of a strict journal. By the thread pool as the journal writes; with a sync as an
 * errand of its own; into a file that has its length before; and on the main thread, where nothing else could go on meanwhile.
 */
const [bytes, rounds, writes] = [1500, 7, 500].map((value, i) => Number(process.argv[i + 2] ?? value)) as [
  number,
  number,
  number,
];
const { O_CREAT, O_DSYNC, O_TRUNC, O_WRONLY } = constants;
const line = Buffer.alloc(bytes, 'x');
type Write = (at: number) => Promise<unknown> | number;
type Prepare = (
  file: string,
) => Promise<{ readonly write: Write; readonly close: () => Promise<void> | void }>;

const pooled = async (
  file: string,
  flags: number,
  write: (handle: FileHandle, at: number) => Promise<unknown>,
) => {
  const handle = await open(file, flags, 0o600);
  return { write: (at: number) => write(handle, at), close: () => handle.close() };
};
const put = (handle: FileHandle, at: number) => handle.write(line, 0, bytes, at);
const kinds: Readonly<Record<string, Prepare>> = {
  O_DSYNC: (file) => pooled(file, O_WRONLY | O_CREAT | O_TRUNC | O_DSYNC, put),
  'write, fdatasync': (file) =>
    pooled(file, O_WRONLY | O_CREAT | O_TRUNC, async (handle, at) => {
      await put(handle, at);
      await handle.datasync();
    }),
  'O_DSYNC, of known length': async (file) => {
    const blank = await open(file, 'w', 0o600);
    await blank.writeFile(Buffer.alloc(bytes * writes));
    await blank.datasync();
    await blank.close();
    return pooled(file, O_WRONLY | O_DSYNC, put);
  },
  'O_DSYNC, on the main thread': async (file) => {
    const descriptor = openSync(file, O_WRONLY | O_CREAT | O_TRUNC | O_DSYNC, 0o600);
    return { write: (at) => writeSync(descriptor, line, 0, bytes, at), close: () => closeSync(descriptor) };
  },
};

/** Of one write, in µs. */
async function measure(
  prepare: Prepare,
  file: string,
): Promise<{ readonly cpu: number; readonly wall: number }> {
  const { close, write } = await prepare(file);
  const before = process.cpuUsage();
  const start = performance.now();
  for (let i = 0; i < writes; i += 1) await write(i * bytes);
  const wall = ((performance.now() - start) * 1000) / writes;
  const { system, user } = process.cpuUsage(before);
  await close();
  return { cpu: (system + user) / writes, wall };
}

const folder = await mkdtemp(path.join(tmpdir(), 'sallyport-bench-'));
try {
  const found = Object.keys(kinds).map(() => ({ cpu: [] as number[], wall: [] as number[] }));
  for (let round = -1; round < rounds; round += 1) {
    for (const [i, prepare] of Object.values(kinds).entries()) {
      const { cpu, wall } = await measure(prepare, path.join(folder, 'file'));
      // The first ones are the compiler's.
      if (round < 0) continue;
      found[i]?.cpu.push(cpu);
      found[i]?.wall.push(wall);
    }
  }
  for (const [i, name] of Object.keys(kinds).entries()) {
    const one = found[i];
    if (one !== undefined)
      process.stdout.write(
        `${name.padEnd(28)} ${spreadText(spreadOf(one.cpu), 0)} µs of CPU, ${spreadText(spreadOf(one.wall), 0)} µs of the clock\n`,
      );
  }
  process.stdout.write(`${bytes} bytes, ${rounds} rounds of ${writes}, load ${loadavg()[0]?.toFixed(1)}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
