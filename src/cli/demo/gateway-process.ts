import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const program = join(import.meta.dirname, '..', '..', '..', 'bin', 'sallyport');
const startMs = 60_000;
const stopMs = 20_000;
const keptLines = 20;

/** Nothing of the caller's configuration or keys: only what a program needs to run at all. */
export function bareEnvironment(settings: Readonly<Record<string, string>>): Record<string, string> {
  const names = ['PATH', 'HOME', 'USER', 'TMPDIR', 'LANG', 'LC_ALL', 'TZ'];
  const kept = names
    .map((name) => [name, process.env[name]])
    .filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { ...Object.fromEntries(kept), ...settings };
}

export interface Answer {
  readonly exit: number;
  readonly document: Readonly<Record<string, unknown>>;
}

/** Runs `bin/sallyport … --json` to its end. `input` goes to its standard input. */
export async function runSallyport(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { input = '', signal }: { readonly input?: string; readonly signal: AbortSignal },
): Promise<Answer> {
  const child = spawn(program, [...args, '--json'], { env, signal, stdio: ['pipe', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  const errors: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
  // The command may end before it reads: its exit code says why, not the broken pipe.
  child.stdin.on('error', () => {}).end(input);
  const [exit] = (await once(child, 'close')) as [number | null];
  const text = Buffer.concat(output).toString('utf8');
  if (text === '')
    throw new Error(
      `sallyport ${args.slice(0, 2).join(' ')} ended with ${exit}: ${Buffer.concat(errors).toString('utf8').trim()}`,
    );
  return { exit: exit ?? 1, document: JSON.parse(text) as Answer['document'] };
}

export interface GatewayProcess {
  readonly baseUrl: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** `bin/sallyport serve` until it says that it is ready. */
export async function startGateway(
  env: Readonly<Record<string, string>>,
  port: number,
  signal: AbortSignal,
): Promise<GatewayProcess> {
  const child = spawn(program, ['serve'], {
    env: { ...env, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  let ended: string | null = null;
  const exited = once(child, 'exit').then(([code, name]) => void (ended = String(code ?? name)));
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      lines.push(...chunk.toString('utf8').trim().split('\n'));
      lines.splice(0, lines.length - keptLines);
    });
  }
  const stop = async () => {
    child.kill('SIGTERM');
    const patience = new AbortController();
    const tooLong = pause(stopMs, null, { signal: patience.signal }).then(
      () => child.kill('SIGKILL'),
      () => false,
    );
    await Promise.race([exited, tooLong]);
    await exited;
    patience.abort();
  };
  const baseUrl = `http://127.0.0.1:${port}`;
  try {
    await untilReady(`${baseUrl}/readyz`, signal, () => ended);
  } catch (error) {
    await stop();
    throw new Error(
      `the gateway did not start: ${error instanceof Error ? error.message : 'no reason'}\n${lines.join('\n')}`,
      { cause: error },
    );
  }
  return { baseUrl, pid: child.pid ?? 0, stop };
}

async function untilReady(url: string, signal: AbortSignal, ended: () => string | null): Promise<void> {
  const until = Date.now() + startMs;
  while (Date.now() < until) {
    const exit = ended();
    if (exit !== null) throw new Error(`it ended with ${exit}`);
    const status = await fetch(url, { signal }).then(
      async (response) => (await response.arrayBuffer(), response.status),
      () => 0,
    );
    if (status === 200) return;
    await pause(100, null, { signal });
  }
  throw new Error(`not ready after ${startMs / 1000} s`);
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
