import cluster from 'node:cluster';
import process from 'node:process';
import { createLog } from '../../src/telemetry/log.ts';
import { createChannel } from '../../src/workers/channel.ts';
import { createPool } from '../../src/workers/pool.ts';
import type { OfPrimary } from '../../src/workers/protocol.ts';

/* This file is the worker, too: one that takes calls and hears of no stop. */
if (cluster.isWorker) {
  const pipe = {
    send: (message: unknown): void => void process.send?.(message),
    onMessage: (listener: (message: unknown) => void): void => void process.on('message', listener),
  };
  createChannel<OfPrimary>(pipe, {}).tell('serving', { port: 1 });
} else {
  const { default: t } = await import('tap');
  t.test('a stop ends with a worker that hangs', async (t) => {
    const pids: number[] = [];
    const pool = createPool({
      count: 2,
      log: createLog({ level: 'silent', write() {} }),
      handlersOf: () => ({}) as Omit<OfPrimary, 'serving'>,
      onServing() {},
      onEnd: ({ pid }, wasAsked) => void (wasAsked && pids.push(pid)),
      now: () => performance.now(),
      hungMs: 50,
    });
    t.equal(await pool.start(), 1);
    const all = pool.members().map(({ pid }) => pid);
    await pool.stop(50);
    t.same(new Set(pids), new Set(all));
    t.same(pool.members(), []);
  });
}
