import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { createAnswerReader, type Answer } from '../../bench/answer-reader.ts';
import { cpuTimeOf } from '../../bench/cpu-time.ts';
import { parseStat } from '../../bench/process-tree.ts';
import type { Sample } from '../../bench/measure.ts';
import { ratioOf, spreadOf } from '../../bench/spread.ts';
import { addedMsOf, figuresOf } from '../../bench/summary.ts';

t.setTimeout(90_000);

const program = path.join(import.meta.dirname, '..', '..', 'bench', 'run.ts');

async function bench(...args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  return { code: code as number | null, out, err };
}

t.test(
  'the bench calls the delivered gateway in every case, and every answer is right to the last byte',
  async (t) => {
    const few = ['--candidates', 'direct,bare,sallyport', '--case', 'small,large,sse'];
    const { code, out, err } = await bench('--smoke', '--json', ...few);
    t.equal(code, 0, err);
    const result = JSON.parse(out);
    t.equal(result.failedCalls, 0);
    for (const candidate of ['direct', 'bare', 'sallyport']) {
      for (const caseName of ['small', 'large', 'sse']) {
        const sample = result.samples.find(
          (sample: Sample) => sample.candidate === candidate && sample.caseName === caseName,
        );
        const isSmall = caseName === 'small';
        t.equal(sample?.calls, isSmall ? 105 : 55, `${candidate} ${caseName}`);
        t.equal(sample?.p50Ms > 0, isSmall);
        if (process.platform === 'linux' && candidate !== 'direct') t.type(sample?.cpuUs, 'number');
      }
    }
    t.equal(result.targets.length, 15);
  },
);

t.test('what the bench does not know it says, and measures nothing', async (t) => {
  for (const args of [['--case', 'huge'], ['--rounds', '0'], ['--seconds', ''], ['--fast']]) {
    const { code, err } = await bench(...args);
    t.equal(code, 64, args.join(' '));
    t.match(err, /npm run bench/);
  }
});

t.test('answers are read the same however they are cut', async (t) => {
  const wire = Buffer.from(
    [
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
      'HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n',
      'HTTP/1.1 429 Too Many\r\ncontent-length: 2\r\n\r\nno',
    ].join(''),
  );
  const hello = { bytes: 5, crc: crc32('hello') };
  const wanted = [
    { status: 200, ...hello },
    { status: 204, bytes: 0, crc: 0 },
    { status: 200, ...hello },
    { status: 429, bytes: 2, crc: crc32('no') },
  ];
  for (let size = 1; size <= wire.length; size += 1) {
    const seen: Answer[] = [];
    const reader = createAnswerReader((answer) => seen.push(answer));
    for (let at = 0; at < wire.length; at += size) reader.push(wire.subarray(at, at + size));
    t.strictSame(seen, wanted, `${size} bytes at a time`);
  }
  for (const wrong of ['HTTP/1.1 200 OK\r\n\r\n', 'hello\r\n\r\n', 'x'.repeat(20_000)]) {
    t.throws(() => createAnswerReader(() => {}).push(Buffer.from(wrong)));
  }
});

t.test('ratios are made within a round, and of nothing that was not measured', async (t) => {
  const sample = (
    round: number,
    candidate: Sample['candidate'],
    cpuUs: number | null,
    p50Ms: number,
  ): Sample => ({
    candidate,
    caseName: 'small',
    round,
    calls: 1,
    failed: 0,
    failure: null,
    callsPerSecond: 1,
    cpuUs,
    cpuAfterUs: 0,
    postgresUs: 0,
    p50Ms,
  });
  // The machine is ten times slower in the second round, and the clock too coarse in the third.
  const samples = [
    sample(0, 'direct', null, 1),
    sample(0, 'bare', 100, 2),
    sample(0, 'sallyport', 50, 3),
    sample(1, 'direct', null, 10),
    sample(1, 'bare', 1000, 20),
    sample(1, 'sallyport', 500, 30),
    sample(2, 'direct', null, 1),
    sample(2, 'bare', 0, 1),
    sample(2, 'sallyport', 0, 3),
  ];
  const same = (value: number) => ({ median: value, lowest: value, highest: value });
  const measured = { samples };
  const cpu = (name: Sample['candidate'], caseName: Sample['caseName'] = 'small') =>
    figuresOf(measured, 'cpuUs', caseName, name);
  const added = (name: Sample['candidate']) => addedMsOf(measured, 'small', name);
  t.strictSame(ratioOf(cpu('sallyport'), cpu('bare')), same(0.5));
  t.strictSame(ratioOf(added('sallyport'), added('bare')), same(2));
  t.equal(ratioOf(cpu('sallyport'), cpu('nginx')), null);
  t.equal(ratioOf(cpu('sallyport', 'large'), cpu('bare', 'large')), null);
  t.strictSame(spreadOf([...cpu('sallyport').values()]), { median: 50, lowest: 0, highest: 500 });
});

t.test('a process may be called anything', async (t) => {
  const fields = 'S 7 1 1 0 -1 4194304 1 1 0 0 150 50 9 9 20 0 11 0 1 1 1';
  t.strictSame(parseStat(`42 (a) S 1 (b)) ${fields}`), {
    name: 'a) S 1 (b)',
    parent: 7,
    seconds: 2,
    endedSeconds: 0.18,
  });
});

t.test('what a backend of PostgreSQL took does not go with it', async (t) => {
  const server = path.join(t.testdir(), 'postgres');
  copyFileSync('/bin/sh', server);
  chmodSync(server, 0o755);
  const child = spawn(server, [
    '-c',
    '(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done); echo ended; read _',
  ]);
  t.teardown(() => child.stdin.end());
  await once(child.stdout, 'data');
  t.ok((cpuTimeOf(process.pid)?.postgres ?? 0) >= 0.05);
});
