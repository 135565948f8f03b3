/**
 * The client of bench/journal.ts where p50 is asked for, a child process: begins so many calls a second, whether those before have ended or
 * not. In a closed loop a connection waits for its turn on a processor that is never idle: p50 is then the CPU time of as many calls as there
 * are connections, and says nothing about the disk. Takes a `PacedJob` over the parent's channel, answers with a `PacedReport`, and ends
 * with the channel.
 */
import { connect, type Socket } from 'node:net';
import { createAnswerReader } from './answer-reader.ts';
import { cases } from './cases.ts';
import { requestBytes } from './request-bytes.ts';

export interface PacedJob {
  readonly port: number;
  readonly token: string;
  readonly connections: number;
  readonly seconds: number;
  readonly perSecond: number;
}

export interface PacedReport {
  readonly calls: number;
  /** ms from when the call was due, within the millisecond, to the last byte read. */
  readonly p50Ms: number;
}

const tickMs = 1;
const call = cases.small;

/** Those of a tick begin together. @throws {Error} for an answer that is not as it should be, or a connection that breaks */
async function run(job: PacedJob): Promise<PacedReport> {
  const bytes = requestBytes(job, call.body);
  const free: ((dueAt: number) => void)[] = [];
  const waiting: number[] = [];
  const latencies: number[] = [];
  const sockets: Socket[] = [];
  const { promise, reject, resolve } = Promise.withResolvers<void>();

  async function open(): Promise<void> {
    let startedAt = 0;
    const begin = (dueAt: number): void => {
      startedAt = dueAt;
      socket.write(bytes);
    };
    const reader = createAnswerReader((answer) => {
      if (answer.status !== 200) return reject(new Error(`status ${answer.status}`));
      if (answer.bytes !== call.answerBytes || answer.crc !== call.answerCrc)
        return reject(new Error('other bytes'));
      latencies.push(performance.now() - startedAt);
      const next = waiting.shift();
      if (next === undefined) free.push(begin);
      else begin(next);
    });
    const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true });
    sockets.push(socket);
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
    socket.on('error', reject);
    await new Promise<void>((connected) => socket.once('connect', connected));
    free.push(begin);
  }

  await Promise.race([promise, Promise.all(Array.from({ length: job.connections }, open))]);
  const start = performance.now();
  let begun = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    const isOver = now - start >= job.seconds * 1000;
    if (isOver && waiting.length === 0 && free.length === sockets.length) return resolve();
    const due = isOver ? 0 : ((now - start) / 1000) * job.perSecond;
    for (; begun < due; begun += 1) {
      const begin = free.shift();
      if (begin === undefined) waiting.push(now);
      else begin(now);
    }
  }, tickMs);
  try {
    await promise;
  } finally {
    clearInterval(timer);
    for (const socket of sockets) socket.destroy();
  }
  const sorted = latencies.toSorted((a, b) => a - b);
  return { calls: sorted.length, p50Ms: sorted[Math.floor(sorted.length / 2)] ?? Number.NaN };
}

process.on('message', (job: PacedJob) => {
  void run(job).then((report) => process.send?.(report));
});
process.on('disconnect', () => process.exit(0));
