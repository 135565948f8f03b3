/**
 * The client of a bench, a child process: keeps a number of calls under way (closed loop), for a time or a count, and checks every
 * answer to the last byte. Takes a `Job` over the parent's channel, answers with a `Report`, and ends with the channel.
 */
import { connect, type Socket } from 'node:net';
import { createAnswerReader } from './answer-reader.ts';
import { cases, type Case, type CaseName } from './cases.ts';
import { requestBytes } from './request-bytes.ts';

export interface Job {
  readonly port: number;
  readonly token: string;
  readonly caseName: CaseName;
  readonly connections: number;
  readonly maxSeconds: number;
  readonly maxCalls: number;
}

export interface Report {
  readonly calls: number;
  /** Of the calls: another status, other bytes, or a broken connection. */
  readonly failed: number;
  readonly seconds: number;
  /** ms from the first byte sent to the last byte read; null without calls. */
  readonly p50Ms: number | null;
  /** Of the first call that failed. */
  readonly failure: string | null;
}

/** A gateway that does not answer ends the job, not the patience of whoever waits. */
const answerMs = 30_000;

async function run(job: Job): Promise<Report> {
  const call = cases[job.caseName];
  const bytes = requestBytes(job, call.body);
  const tally = { begun: 0, failed: 0, latencies: [] as number[], failure: null as string | null };
  const start = performance.now();
  const until = start + job.maxSeconds * 1000;
  /** Whether another call may begin; counts it. */
  const takes = (): boolean => {
    if (tally.begun >= job.maxCalls || performance.now() >= until) return false;
    tally.begun += 1;
    return true;
  };
  const fail = (why: string): void => {
    tally.failed += 1;
    tally.failure ??= why;
  };
  await Promise.all(
    Array.from({ length: job.connections }, () => serve(job.port, bytes, call, { takes, fail, tally })),
  );
  const seconds = (performance.now() - start) / 1000;
  const sorted = Float64Array.from(tally.latencies).toSorted();
  return {
    calls: tally.begun,
    failed: tally.failed,
    seconds,
    p50Ms: sorted[Math.floor(sorted.length / 2)] ?? null,
    failure: tally.failure,
  };
}

interface Counts {
  readonly takes: () => boolean;
  readonly fail: (why: string) => void;
  readonly tally: { readonly latencies: number[] };
}

/** One connection, call after call; a failed call ends it. */
function serve(port: number, bytes: Buffer, call: Case, { takes, fail, tally }: Counts): Promise<void> {
  return new Promise((resolve) => {
    let startedAt: number | null = null;
    const end = (why: string | null): void => {
      if (why !== null && startedAt !== null) fail(why);
      startedAt = null;
      socket.destroy();
      resolve();
    };
    const next = (): void => {
      if (!takes()) return end(null);
      startedAt = performance.now();
      socket.write(bytes);
    };
    const reader = createAnswerReader((answer) => {
      if (startedAt === null) return end(null);
      if (answer.status !== 200) return end(`status ${answer.status}`);
      if (answer.bytes !== call.answerBytes || answer.crc !== call.answerCrc) return end('other bytes');
      tally.latencies.push(performance.now() - startedAt);
      startedAt = null;
      next();
    });
    const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true }, next);
    socket.setTimeout(answerMs, () => end(`no answer within ${answerMs / 1000} s`));
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        end((error as Error).message);
      }
    });
    socket.on('error', (error) => {
      // Not even connected: a call that could not be made has failed too.
      if (startedAt === null && takes()) startedAt = performance.now();
      end(error.message);
    });
    socket.on('close', () => end('the connection was closed'));
  });
}

process.on('message', (job: Job) => {
  void run(job).then((report) => process.send?.(report));
});
process.on('disconnect', () => process.exit(0));
