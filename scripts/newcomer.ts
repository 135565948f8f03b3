// A newcomer's way, timed: `npm start` on an empty checkout, again when warm, again after kill -9, Ctrl-C; then nothing may be left.
// Usage: node scripts/newcomer.ts CHECKOUT   (npm ci has run there; PATH leads to the system's own Node and npm)
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../bench/free-port.ts';

let npm: ChildProcess | undefined;
const checkout = path.resolve(process.argv[2] ?? '.');
const port = await freePort();
const base = `http://127.0.0.1:${port}`;

process.on('uncaughtException', (error) => fail(error.stack ?? error.message));
await timed('cold start', 15_000, () => started());
const first = JSON.parse(readFileSync(path.join(checkout, 'data', 'first-start.json'), 'utf8')) as Record<
  string,
  string
>;
for (const name of ['workspaceId', 'adminToken', 'token', 'baseUrl'])
  if (!first[name]) fail(`first-start.json lacks ${name}`);
const answer = await fetch(`${base}/v1/chat/completions`, {
  method: 'POST',
  headers: { authorization: `Bearer ${first['token']}`, 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'gpt-4o', messages: [] }),
});
if (answer.status !== 409) fail(`a call without a key was answered ${answer.status}, not 409`);
await interrupted();
await timed('warm start', 3_000, () => started());
const gateway = gatewayPid();
process.kill(gateway, 'SIGKILL');
await gone(() => !existsSync(`/proc/${gateway}`), 'the killed gateway');
await timed('start after kill -9', 5_000, () => started());
await interrupted();
const left = processesOf(checkout);
if (left.length > 0) fail(`processes are left: ${left.join(', ')}`);
process.stdout.write('nothing is left behind\n');

async function started(): Promise<void> {
  // A group of its own, as a terminal gives it, so that Ctrl-C reaches everyone in it.
  npm = spawn('npm', ['start'], {
    cwd: checkout,
    env: { ...process.env, PORT: String(port) },
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
  });
  for (;;) {
    if (await isServing()) return;
    if (npm.exitCode !== null) fail(`npm start ended with ${npm.exitCode}`);
    await delay(25);
  }
}

async function isServing(): Promise<boolean> {
  try {
    return (await fetch(`${base}/readyz`)).status === 200;
  } catch {
    return false;
  }
}

async function interrupted(): Promise<void> {
  process.kill(-(npm?.pid as number), 'SIGINT');
  await gone(() => processesOf(checkout).length === 0, 'Ctrl-C');
}

async function gone(isDone: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!isDone()) {
    if (Date.now() > deadline) fail(`${what}: still running: ${processesOf(checkout).join(', ')}`);
    await delay(25);
  }
}

async function timed(what: string, boundMs: number, work: () => Promise<void>): Promise<void> {
  const startedAt = Date.now();
  await work();
  const ms = Date.now() - startedAt;
  process.stdout.write(`${what}: ${ms} ms (bound ${boundMs})\n`);
  if (ms > boundMs) fail(`${what} took ${ms} ms`);
}

/** Whatever runs with this checkout as its folder or its program. */
function processesOf(folder: string): string[] {
  const found: string[] = [];
  const ours = ancestors();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name) && !ours.has(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      const isMine = [readlinkSync(`/proc/${pid}/exe`), readlinkSync(`/proc/${pid}/cwd`)].some((at) =>
        at.startsWith(folder),
      );
      if (isMine && !command.includes('newcomer.ts')) found.push(`${pid} ${command}`);
    } catch {
      // Gone meanwhile, or not ours to look at.
    }
  }
  return found;
}

/** This process and those that started it: a shell that stands in the checkout is no leftover. */
function ancestors(): Set<string> {
  const found = new Set<string>();
  for (let pid = String(process.pid); pid !== '0' && !found.has(pid);) {
    found.add(pid);
    pid = /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
  }
  return found;
}

function gatewayPid(): number {
  const line = processesOf(checkout).find((text) => text.includes('src/main.ts'));
  return Number.parseInt(line ?? fail('no gateway process was found'), 10);
}

function fail(message: string): never {
  process.stderr.write(`newcomer: ${message}\n`);
  if (npm?.pid !== undefined) {
    try {
      process.kill(-npm.pid, 'SIGKILL');
    } catch {
      // It is gone already.
    }
  }
  process.exit(1);
}
