import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { freePort } from '../../bench/free-port.ts';
import { ask } from './http-client.ts';
import { testCa } from './upstream.ts';

const checkout = fileURLToPath(new URL('../../', import.meta.url));

export interface ProductOptions {
  /** Settings beside DATA_DIR, HOST, PORT, LOG_LEVEL and IMPORT_ENV_KEYS. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Another tree with a bin/sallyport of its own. */
  readonly root?: string;
}

/** An installation of the real program in a temporary directory, worked by bin/sallyport and signals only. */
export interface Product {
  readonly dataDir: string;
  /** Everything that any of its processes said on standard output or error. */
  readonly said: readonly Buffer[];
  /** `bin/sallyport … --json` to its end, with further settings for this once. @throws when it exits otherwise than by 0. */
  // Shapes are what the tests are about: each asserts those that it reads.
  // eslint-disable-next-line typescript/no-explicit-any
  run(
    args: readonly string[],
    input?: string | Buffer,
    settings?: Readonly<Record<string, string>>,
  ): Promise<any>;
  /** `bin/sallyport serve`, until it is ready. */
  serve(): Promise<Serving>;
}

export interface Serving {
  readonly origin: string;
  readonly pid: number;
  /** From the start of the process to its readiness. */
  readonly readyMs: number;
  signal(name: NodeJS.Signals): void;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

const readyWithinMs = 60_000;

export async function installProduct(
  t: Pick<Test, 'teardown'>,
  options: ProductOptions = {},
): Promise<Product> {
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-product-'));
  // Run by root, the embedded database is another user, who has to get through here.
  chmodSync(folder, 0o711);
  const dataDir = path.join(folder, 'data');
  const program = path.join(options.root ?? checkout, 'bin', 'sallyport');
  const port = await freePort();
  const origin = `${options.settings?.['TLS_CERT_FILE'] === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  // Nothing of the caller's configuration, keys or loaders; compiled modules are kept, because a suite starts this program 200 times.
  const kept = ['PATH', 'HOME', 'USER', 'TMPDIR', 'LANG', 'TZ', 'NODE_COMPILE_CACHE'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const env: Record<string, string> = {
    ...Object.fromEntries(kept),
    DATA_DIR: dataDir,
    HOST: '127.0.0.1',
    PORT: String(port),
    LOG_LEVEL: 'warn',
    IMPORT_ENV_KEYS: 'off',
    ...options.settings,
  };
  const said: Buffer[] = [];
  const running = new Set<{ child: ChildProcess; ended: Promise<unknown> }>();

  function start(
    args: readonly string[],
    stdin: 'pipe' | 'ignore',
    more: Readonly<Record<string, string>> = {},
  ) {
    const child = spawn(program, args, { env: { ...env, ...more }, stdio: [stdin, 'pipe', 'pipe'] });
    const output: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => void (output.push(chunk), said.push(chunk)));
    child.stderr?.on('data', (chunk: Buffer) => void said.push(chunk));
    const ended = once(child, 'close').then(([code, name]) => (code ?? name) as number | NodeJS.Signals);
    const entry = { child, ended };
    running.add(entry);
    void ended.then(() => running.delete(entry));
    return { child, output, ended };
  }

  t.teardown(async () => {
    for (const { child, ended } of running) {
      child.kill('SIGTERM');
      // Another one, which is not taken for the same come twice: at once, please.
      child.kill('SIGHUP');
      await ended;
    }
    // A gateway that was killed leaves its database to the next one: this one only takes it over to end it.
    if (existsSync(path.join(dataDir, 'postgres', 'postmaster.pid'))) {
      const last = start(['serve'], 'ignore');
      await untilReady(`${origin}/readyz`, last.ended).catch(() => {});
      last.child.kill('SIGTERM');
      await last.ended;
    }
    rmSync(folder, { recursive: true, force: true });
  });

  return Object.freeze<Product>({
    dataDir,
    said,
    async run(args, input = '', settings = {}) {
      const { child, output, ended } = start([...args, '--json'], 'pipe', settings);
      child.stdin?.on('error', () => {}).end(input);
      const code = await ended;
      const text = Buffer.concat(output).toString('utf8');
      if (code !== 0) throw new Error(`sallyport ${args.join(' ')} ended with ${code}: ${tail(said)}`);
      return JSON.parse(text);
    },
    async serve() {
      const startedAt = performance.now();
      const { child, ended } = start(['serve'], 'ignore');
      await untilReady(`${origin}/readyz`, ended).catch((error: Error) => {
        child.kill('SIGTERM');
        throw new Error(`${error.message}: ${tail(said)}`, { cause: error });
      });
      return Object.freeze<Serving>({
        origin,
        pid: child.pid ?? 0,
        readyMs: performance.now() - startedAt,
        signal: (name) => void child.kill(name),
        ended,
      });
    },
  });
}

function tail(said: readonly Buffer[]): string {
  return Buffer.concat(said.slice(-5)).toString('utf8').trim();
}

/** There is no event for another process's readiness: it is asked for. */
async function untilReady(url: string, ended: Serving['ended']): Promise<void> {
  const exit: (number | string)[] = [];
  void ended.then((code) => exit.push(code));
  const until = performance.now() + readyWithinMs;
  while (performance.now() < until) {
    if (exit.length > 0) throw new Error(`the gateway ended with ${exit[0]}`);
    const status = await ask(url, { tls: { ca: testCa } }).then(
      (answer) => answer.status,
      () => 0,
    );
    if (status === 200) return;
    await pause(25);
  }
  throw new Error(`the gateway was not ready after ${readyWithinMs / 1000} s`);
}
