import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { move, start, stop, type Command, type Place } from './child.ts';
import { treeOf } from './process-tree.ts';

const root = path.join(import.meta.dirname, '..');
const program = path.join(root, 'bin', 'sallyport');
const startMs = 60_000;
const settleMs = 60_000;

/** Limits are at work as for every token, and this is the widest there is. */
const requestsPerMinute = 1_000_000;
const concurrentCalls = 10_000;

export interface GatewayProcess {
  readonly port: number;
  readonly token: string;
  readonly pid: number;
  /** All records are in the database: what was put off is done. */
  readonly settled: () => Promise<void>;
  stop(): Promise<void>;
}

/**
 * The product as it is delivered, on a data directory of its own, its log in a file, with the key stored by its own command line.
 *
 * @param name of files in `folder`
 * @param settings besides DATA_DIR and PORT
 * @param profileDir where a CPU profile goes; null: none is made
 */
export async function startGatewayProcess({
  place,
  name,
  folder,
  key,
  settings,
  profileDir = null,
}: {
  readonly place: Place;
  readonly name: string;
  readonly folder: string;
  readonly key: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly profileDir?: string | null;
}): Promise<GatewayProcess> {
  const dataDir = path.join(folder, name);
  const env = { ...settings, DATA_DIR: dataDir, PORT: '0' };
  const logFile = path.join(folder, `${name}.log`);
  const log = await open(logFile, 'w');
  const child = start(place, { ...startLine(profileDir), stdio: ['ignore', 'ignore', log.fd], env });
  await log.close();
  const end = { has: false };
  const exited = once(child, 'exit').then(() => void (end.has = true));
  try {
    const baseUrl = await listening(path.join(dataDir, 'first-start.json'), end);
    await command(env, ['keys', 'add', '--provider', 'openai', '--name', 'bench'], key);
    const limits = ['--requests-per-minute', requestsPerMinute, '--concurrent-calls', concurrentCalls];
    const { token } = await command(env, ['tokens', 'create', '--name', 'bench', ...limits.map(String)]);
    if (place === 'measured') moveDatabase(child.pid as number);
    return {
      token,
      port: Number(new URL(baseUrl).port),
      pid: child.pid as number,
      settled: () => settled(`${baseUrl}/metrics`),
      stop: async () => {
        await stop(child);
        await exited;
      },
    };
  } catch (error) {
    await stop(child);
    const lines = (await readFile(logFile, 'utf8')).trim().split('\n').slice(-5).join('\n');
    throw new Error(`the gateway did not start: ${(error as Error).message}\n${lines}`, { cause: error });
  }
}

/** A database is on another machine, or at least on other processors: the measured one is the gateway's alone. */
export function moveDatabase(pid: number): void {
  for (const member of treeOf(pid)) if (member.isPostgres) move(member.pid, 'beside');
}

function startLine(profileDir: string | null): Pick<Command, 'program' | 'args'> {
  if (profileDir === null) return { program, args: ['serve'] };
  const flags = ['--cpu-prof', `--cpu-prof-dir=${profileDir}`, '--disable-warning=ExperimentalWarning'];
  return { program: process.execPath, args: [...flags, path.join(root, 'src', 'main.ts'), 'serve'] };
}

/** The base URL, from the file that is written when the gateway listens. */
async function listening(file: string, end: { readonly has: boolean }): Promise<string> {
  for (const until = Date.now() + startMs; Date.now() < until; await pause(100)) {
    if (end.has) throw new Error('it ended');
    if (!existsSync(file)) continue;
    const text = await readFile(file, 'utf8');
    if (text.endsWith('}\n')) return (JSON.parse(text) as { baseUrl: string }).baseUrl;
  }
  throw new Error(`not ready after ${startMs / 1000} s`);
}

/** `bin/sallyport … --json`, over the admin socket. */
async function command(
  settings: Readonly<Record<string, string>>,
  args: readonly string[],
  input = '',
): Promise<{ readonly token: string }> {
  // What the gateway's own Node is told is not for this one.
  const { NODE_OPTIONS: _, ...env } = settings;
  const child = start('anywhere', {
    program,
    args: [...args, '--json'],
    stdio: ['pipe', 'pipe', 'inherit'],
    env,
  });
  const output: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
  child.stdin?.on('error', () => {}).end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`sallyport ${args.slice(0, 2).join(' ')} ended with ${code}`);
  return JSON.parse(Buffer.concat(output).toString('utf8')) as { token: string };
}

async function settled(url: string): Promise<void> {
  for (const until = Date.now() + settleMs; Date.now() < until; await pause(200)) {
    const text = await (await fetch(url)).text();
    if (/^sallyport_journal_lag_records 0$/m.test(text)) return;
  }
  throw new Error(`the journal was not in the database after ${settleMs / 1000} s`);
}
