import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';

const file = pathToFileURL(
  path.join(import.meta.dirname, '..', '..', 'src', 'telemetry', 'log-sink.ts'),
).href;

/** As src/main.ts has it: whoever touches a standard stream makes its pipe one that never waits. */
const opening = `
  process.stdout.on('error', () => {});
  const { openLogSink } = await import(${JSON.stringify(file)});
  const sink = openLogSink(1);`;
const args = (script: string): string[] => ['--input-type=module', '-e', opening + script];

/** More than a pipe holds. */
const many = 5000;
const writeMany = `for (let i = 0; i < ${many}; i += 1) sink.write('line ' + i + ' ' + 'x'.repeat(100) + '\\n');`;

t.test('lines that were gathered are not lost, however the process ends', async (t) => {
  const ends = { nothing: '', exit: 'process.exit(3)', fault: 'throw new Error("a fault")' };
  for (const [end, code] of Object.entries(ends)) {
    const script = `
      const { openLogSink } = await import(${JSON.stringify(file)});
      const sink = openLogSink(1);
      for (let i = 0; i < 400; i += 1) sink.write('line ' + i + ' ' + 'x'.repeat(100) + '\\n');
      await new Promise((resolve) => setImmediate(resolve));
      sink.write('the last\\n');
      ${code}`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    // A write that is under way at the exit may come after what is written at it.
    const words = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.replace(/ x+$/, ''));
    const wanted = ['the last', ...Array.from({ length: 400 }, (_, i) => `line ${i}`)];
    t.strictSame(words.toSorted(), wanted.toSorted(), end);
  }
});

t.test('a full disk under the log keeps nobody from ending', { skip: process.platform !== 'linux' }, (t) => {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  for (const code of ['process.exit(3)', 'throw new Error("a fault")']) {
    const { status, signal } = spawnSync(process.execPath, args(`sink.write('a line\\n'); ${code}`), {
      stdio: ['ignore', full, 'ignore'],
      timeout: 20_000,
      killSignal: 'SIGKILL',
    });
    t.equal(signal, null, code);
    t.not(status, 0, code);
  }
  t.end();
});

t.test('a reader that hangs keeps nobody from ending', { timeout: 30_000 }, async (t) => {
  const child = spawn(process.execPath, args(`${writeMany} process.exit(3);`), {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [code] = (await once(child, 'exit')) as [number | null];
  t.equal(code, 3);
});

t.test('a reader that was slow gets every line, whole and in order', { timeout: 30_000 }, async (t) => {
  const child = spawn(
    process.execPath,
    args(`${writeMany} console.error('written'); process.stdin.resume();`),
    {
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  );
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stderr, 'data');
  let seen = '';
  for await (const piece of child.stdout.setEncoding('utf8')) {
    seen += piece;
    if (seen.includes(`line ${many - 1} `) && seen.endsWith('\n')) break;
  }
  child.stdin.end();
  const numbers = seen
    .trimEnd()
    .split('\n')
    .map((line) => /^line (\d+) x{100}$/.exec(line)?.[1]);
  t.strictSame(
    numbers,
    Array.from({ length: many }, (_, i) => String(i)),
  );
});
