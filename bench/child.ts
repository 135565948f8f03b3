import { spawn, spawnSync, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

/** Which processor a child may use: the measured process has 0 for itself. */
export type Place = 'measured' | 'beside' | 'anywhere';

const cpuOf = { measured: '0', beside: '1' } as const;

/** Of util-linux: runs a program on given processors only. */
const pinning = 'taskset';

/** Whether taskset is there and may use both processors. */
export const isPinned = Object.values(cpuOf).every(
  (cpu) => spawnSync(pinning, ['-c', cpu, 'true'], { stdio: 'ignore' }).status === 0,
);

/** Files and sockets that a child may have open; what `ulimit -n` says in one. */
export function openFilesLimit(): number {
  const { stdout } = spawnSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' });
  return stdout.trim() === 'unlimited' ? Infinity : Number(stdout);
}

/** A process that runs already, and those that it starts from now on, go to the place. */
export function move(pid: number, to: 'measured' | 'beside'): void {
  if (isPinned) spawnSync(pinning, ['-a', '-c', '-p', cpuOf[to], String(pid)], { stdio: 'ignore' });
}

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly stdio: StdioOptions;
  readonly env?: Readonly<Record<string, string>>;
}

export function start(place: Place, { program, args, stdio, env }: Command): ChildProcess {
  const pins = isPinned && place !== 'anywhere' ? [pinning, '-c', cpuOf[place]] : [];
  const line = [...pins, program, ...args];
  // Nothing of this process's own settings reaches a child: NODE_OPTIONS of a test runner would be measured too.
  const all = { PATH: process.env['PATH'] ?? '', ...env };
  return spawn(line[0] as string, line.slice(1), { stdio, env: all });
}

/** A file of this folder as a Node process with a channel to this one, whose end is its own. `errors`: a file's descriptor. */
export function startNode(
  place: Place,
  file: string,
  args: readonly string[] = [],
  errors: number | 'inherit' = 'inherit',
): ChildProcess {
  return start(place, {
    program: process.execPath,
    args: [path.join(import.meta.dirname, file), ...args],
    stdio: ['ignore', 'inherit', errors, 'ipc'],
  });
}

/** The next message of a child. @throws {Error} if it ends first */
export async function messageOf<T>(child: ChildProcess): Promise<T> {
  const ended = new AbortController();
  try {
    return await Promise.race([
      once(child, 'message', { signal: ended.signal }).then(([message]) => message as T),
      once(child, 'exit', { signal: ended.signal }).then(([code, signal]) => {
        throw new Error(`a child process ended with ${code ?? signal}`);
      }),
    ]);
  } finally {
    ended.abort();
  }
}

const stopMs = 20_000;

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
  await exited;
  clearTimeout(timer);
}
