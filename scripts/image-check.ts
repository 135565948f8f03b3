// Runs an image's root folder as a container engine would, without one, and checks what docs/container.md promises of it. As root.
// Usage: node scripts/image-check.ts ROOT IMAGE.json   (docker/build-offline.sh calls it; IMAGE: what `buildah inspect` says)
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../bench/free-port.ts';
import { ask, type Answered } from '../test/support/http-client.ts';
import { scriptUpstream } from '../test/support/upstream.ts';

interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly WorkingDir: string;
  readonly Healthcheck: { readonly Test: readonly string[] };
  readonly Volumes: Readonly<Record<string, unknown>>;
}

/** In a mount and process namespace of its own: the root read-only, but for the volume and /tmp. */
const enter = `
root=$1 data=$2 volume=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$data" "$root$volume"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
`;

const [rootDir = '', configFile = ''] = process.argv.slice(2);
const { Docker: image } = JSON.parse(readFileSync(configFile, 'utf8')) as { Docker: { config: ImageConfig } };
const { config } = image;
const [uid = 0, gid = 0] = config.User.split(':').map(Number);
const [, ...health] = config.Healthcheck.Test;
const [volume = ''] = Object.keys(config.Volumes);
const teardowns: (() => unknown)[] = [];
const work = mkdtempSync(path.join(path.dirname(configFile), 'run-'));
const data = path.join(work, 'data');

try {
  checkContent();
  // As an engine makes a new volume: with the owner and mode of the folder in the image.
  mkdirSync(data, { mode: 0o700 });
  chownSync(data, uid, gid);
  await checkRun();
} finally {
  for (const end of teardowns.toReversed()) await end();
  rmSync(work, { recursive: true, force: true });
}

function checkContent(): void {
  const passwd = readFileSync(path.join(rootDir, 'etc/passwd'), 'utf8');
  expect(uid > 0 && new RegExp(`^\\w+:x:${uid}:${gid}:`, 'm').test(passwd), `uid ${uid} has a passwd entry`);
  const found = statSync(path.join(rootDir, volume));
  expect(found.uid === uid && (found.mode & 0o777) === 0o700, `${volume} belongs to it, mode 0700`);
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  const dev = Object.entries(lock.packages).filter(
    ([place, { dev: isDev }]) => place !== '' && isDev === true,
  );
  const stray = dev.filter(([place]) => existsSync(path.join(rootDir, config.WorkingDir, place)));
  expect(dev.length > 0 && stray.length === 0, 'no development dependency is in it');
  expect(!existsSync(path.join(rootDir, config.WorkingDir, 'test')), 'no tests are in it');
  const program = path.join(rootDir, config.WorkingDir);
  const mine = `( -user ${uid} -o -perm -4000 -o -perm -0002 ! -type l )`.split(' ');
  const writable = spawnSync('find', [program, ...mine, '-print'], { encoding: 'utf8' });
  expect(
    writable.status === 0 && writable.stdout === '',
    `its user can change nothing of the program ${writable.stdout}`,
  );
  const leftovers = [
    'root/.npm',
    'root/.npmrc',
    'usr/local/bin/npm',
    `${config.WorkingDir}/.npmrc`,
    'mnt/_cacache',
  ];
  expect(
    !leftovers.some((name) => existsSync(path.join(rootDir, name))),
    'nothing of its making is left in it',
  );
  const bom = JSON.parse(readFileSync(path.join(program, 'sbom.cdx.json'), 'utf8')) as {
    components: readonly { purl: string }[];
  };
  expect(
    bom.components.some(({ purl }) => purl.startsWith('pkg:npm/undici@')),
    `its bill of materials lists ${bom.components.length} packages`,
  );
  for (const folder of ['opt/sallyport', 'usr', 'data'])
    say(
      `${folder}: ${execFileSync('du', ['-sm', path.join(rootDir, folder)], { encoding: 'utf8' }).split('\t')[0]} MB`,
    );
}

async function checkRun(): Promise<void> {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const key = 'sk-image-check-0123456789';
  const upstream = await scriptUpstream(
    { teardown: (work) => void teardowns.push(work as () => unknown) },
    { key, script: () => ({ body: { id: 'c_1', object: 'chat.completion', choices: [] } }) },
  );
  const env = [
    ...config.Env,
    // The network is this machine's: only the port differs, and the provider that is called.
    `PORT=${port}`,
    `SALLYPORT_OPENAI_ORIGIN=${upstream.origin}`,
  ];

  const first = await run(env, origin, 'cold start');
  say(`health check: ${await healthy(first.pid, env)} ms`);
  const { token, adminToken } = JSON.parse(
    readFileSync(path.join(data, 'first-start.json'), 'utf8'),
  ) as Record<string, string>;
  expect(
    (statSync(path.join(data, 'first-start.json')).mode & 0o777) === 0o600,
    'tokens are in first-start.json, mode 0600',
  );
  const stored = await ask(`${origin}/api/api-keys`, {
    headers: { authorization: `Bearer ${adminToken}` },
    body: { name: 'main', provider: 'openai', value: key },
  });
  expect(stored.status === 201, 'a key is stored');
  // A disk that is busy for two seconds closes the journal's gate, and calls get 503 until it has room again.
  const call = async (): Promise<Answered> => {
    const until = performance.now() + 30_000;
    for (;;) {
      const answer = await ask(`${origin}/v1/chat/completions`, {
        headers: { authorization: `Bearer ${token}` },
        body: { model: 'gpt-4o', messages: [] },
      });
      if (answer.status !== 503 || performance.now() > until) return answer;
      await delay(200);
    }
  };
  expect((await call()).status === 200 && upstream.requests.length === 1, 'a call goes through');
  const status = readFileSync(`/proc/${first.pid}/status`, 'utf8');
  expect(new RegExp(`^Uid:\\t${uid}\\t${uid}\\t`, 'm').test(status), `it runs as ${uid}`);
  expect(/^CapEff:\t0+$/m.test(status) && /^NoNewPrivs:\t1$/m.test(status), 'without a capability');
  expect(/^NSpid:.*\t1$/m.test(status), 'as process 1 of its container');
  const touched = inside(first.pid, env, [
    '/bin/sh',
    '-c',
    `: >${config.WorkingDir}/x || : >/etc/x || : >/x`,
  ]);
  expect(touched.status !== 0, 'the root is read-only');
  await stopped(first);
  const control = Buffer.alloc(20);
  const file = openSync(path.join(data, 'postgres', 'global', 'pg_control'), 'r');
  readSync(file, control, 0, 20, 0);
  closeSync(file);
  // ControlFileData.state of PostgreSQL's catalog/pg_control.h: after two 32-bit versions behind the 64-bit system identifier.
  expect(control.readUInt32LE(16) === 1, 'the database was shut down, not broken off');

  const second = await run([...env, 'WORKERS=2'], origin, 'warm start with two workers');
  const again = await call();
  expect(
    again.status === 200,
    `the key outlives a restart: ${again.status} ${again.body.toString('utf8').slice(0, 200)}`,
  );
  await stopped(second);
}

interface Running {
  readonly child: ChildProcess;
  /** Of the container's process 1, in this machine's count. */
  readonly pid: number;
  readonly ended: Promise<unknown[]>;
}

async function run(env: readonly string[], origin: string, what: string): Promise<Running> {
  const startedAt = performance.now();
  const child = spawn(
    'unshare',
    [
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '/bin/sh',
      '-euc',
      enter,
      'sh',
      rootDir,
      data,
      volume,
      ...confined(env),
      ...config.Entrypoint,
      ...config.Cmd,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const said: Buffer[] = [];
  child.stderr?.on('data', (chunk: Buffer) => said.push(chunk));
  const ended = once(child, 'close');
  teardowns.push(() => child.kill('SIGKILL'));
  const until = startedAt + 60_000;
  for (;;) {
    if (child.exitCode !== null || performance.now() > until)
      fail(`${what} failed with ${child.exitCode}: ${Buffer.concat(said).toString()}`);
    const ready = await ask(`${origin}/readyz`).catch(() => null);
    if (ready?.status === 200) break;
    await delay(50);
  }
  say(`${what}: /readyz is 200 after ${Math.round(performance.now() - startedAt)} ms`);
  return {
    child,
    pid: Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()),
    ended,
  };
}

/** What is to be done as the image's user, without a way to more rights, with the image's environment and no other. */
function confined(env: readonly string[]): readonly string[] {
  const rights = ['--no-new-privs', '--bounding-set=-all', '--inh-caps=-all', '--clear-groups'];
  return [
    'setpriv',
    `--reuid=${uid}`,
    `--regid=${gid}`,
    ...rights,
    '--',
    '/usr/bin/env',
    `--chdir=${config.WorkingDir}`,
    '-i',
    ...env,
  ];
}

function inside(pid: number, env: readonly string[], command: readonly string[]) {
  return spawnSync(
    'nsenter',
    [`--target=${pid}`, '--mount', '--pid', '--root', ...confined(env), ...command],
    { encoding: 'utf8' },
  );
}

/** @returns milliseconds */
async function healthy(pid: number, env: readonly string[]): Promise<number> {
  const startedAt = performance.now();
  const { status, stdout, stderr } = inside(pid, env, health);
  expect(status === 0 && stdout === 'ready\n', `HEALTHCHECK answers ${stdout.trim()}${stderr}`);
  const elsewhere = inside(pid, [...env, 'PORT=1'], health);
  expect(elsewhere.status !== 0, 'and fails where nothing answers');
  return Math.round(performance.now() - startedAt);
}

async function stopped({ child, pid, ended }: Running): Promise<void> {
  const startedAt = performance.now();
  process.kill(pid, 'SIGTERM');
  await ended;
  expect(
    child.exitCode === 0,
    `SIGTERM ends it with ${child.exitCode} after ${Math.round(performance.now() - startedAt)} ms`,
  );
  expect(!existsSync(path.join(data, 'postgres', 'postmaster.pid')), 'and the database with it');
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function expect(isSo: boolean, what: string): void {
  if (!isSo) fail(`not so: ${what}`);
  say(`ok: ${what}`);
}

function fail(message: string): never {
  throw new Error(message);
}
