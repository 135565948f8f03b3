/**
 * A client that holds streams, a child process. Takes the gateway and how many streams there are to be in all, tells when each has its
 * first event; takes `end` once they have been let go, and tells how they ended. Ends with the channel.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { createAnswerReader } from './answer-reader.ts';
import { heldStream } from './cases.ts';
import { requestBytes } from './request-bytes.ts';

export interface HoldJob {
  readonly port: number;
  readonly token: string;
  /** Of streams, those held already among them. */
  readonly count: number;
}

export interface HoldReport {
  readonly held: number;
  readonly failed: number;
  readonly failure: string | null;
}

/** Connections being made at once: fewer than any queue of a listener. */
const atOnce = 100;
const patienceMs = 60_000;
const streams: Promise<string | null>[] = [];
let failure: string | null = null;
let failed = 0;

/** Resolves when the first event is there. `ended`: null, or what was wrong with it. */
async function open(job: HoldJob): Promise<void> {
  const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true });
  const ended = Promise.withResolvers<string | null>();
  const reader = createAnswerReader(({ status, bytes, crc }) => {
    const isRight = status === 200 && bytes === heldStream.answerBytes && crc === heldStream.answerCrc;
    ended.resolve(isRight ? null : `status ${status}, ${bytes} bytes`);
    socket.destroy();
  });
  socket.on('error', (error) => ended.resolve(error.message));
  socket.on('close', () => ended.resolve('the connection was closed'));
  socket.write(requestBytes(job, heldStream.body));
  socket.on('data', (chunk: Buffer) => {
    try {
      reader.push(chunk);
    } catch (error) {
      ended.resolve((error as Error).message);
      socket.destroy();
    }
  });
  streams.push(ended.promise);
  await Promise.race([once(socket, 'data').catch(() => {}), ended.promise]);
}

async function hold(job: HoldJob): Promise<HoldReport> {
  let missing = job.count - streams.length;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (missing > 0) {
        missing -= 1;
        await open(job);
      }
    }),
  );
  return { held: streams.length, failed, failure };
}

async function end(): Promise<HoldReport> {
  const held = streams.length;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve('it did not end'), patienceMs);
  });
  for (const why of await Promise.all(streams.splice(0).map((stream) => Promise.race([stream, late])))) {
    if (why === null) continue;
    failed += 1;
    failure ??= why;
  }
  clearTimeout(timer);
  return { held, failed, failure };
}

process.on('message', (message: HoldJob | 'end') => {
  void (message === 'end' ? end() : hold(message)).then((report) => process.send?.(report));
});
process.on('disconnect', () => process.exit(0));
