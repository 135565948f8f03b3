import cluster from 'node:cluster';
import process from 'node:process';
import { createLog } from '../../src/telemetry/log.ts';
import { createChannel } from '../../src/workers/channel.ts';
import { createPool, type Pool, type PoolDeps } from '../../src/workers/pool.ts';
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
  const poolOf = (deps: Pick<PoolDeps, 'hungMs' | 'silentMs'>, onEnd: PoolDeps['onEnd']) =>
    createPool({
      count: 2,
      log: createLog({ level: 'silent', write() {} }),
      handlersOf: () => ({}) as ReturnType<PoolDeps['handlersOf']>,
      onServing() {},
      onEnd,
      now: () => performance.now(),
      ...deps,
    });
  const pidsOf = (pool: Pool) => new Set(pool.members().map(({ pid }) => pid));

  t.test('a stop ends with a worker that hangs', async (t) => {
    const asked = new Set<number>();
    const pool = poolOf({ hungMs: 50 }, ({ pid }, wasAsked) => void (wasAsked && asked.add(pid)));
    t.equal(await pool.start(), 1);
    const all = pidsOf(pool);
    await pool.stop(50);
    t.same(asked, all);
    t.same(pool.members(), []);
  });

  t.test('a worker that says nothing for long is killed', async (t) => {
    const ended = Promise.withResolvers<number>();
    const pool = poolOf({ hungMs: 0, silentMs: 120 }, ({ pid }, wasAsked) => {
      if (!wasAsked) ended.resolve(pid);
    });
    await pool.start();
    const all = pidsOf(pool);
    t.ok(all.has(await ended.promise));
    await pool.stop(0);
  });

  t.test('a worker that the system has no room for counts as one that has ended', async (t) => {
    const { execPath } = process;
    const ended: number[] = [];
    const pool = poolOf({}, ({ pid }) => void ended.push(pid));
    process.execPath = '/nonexistent';
    try {
      await t.rejects(pool.start(), { code: 'INTERNAL' });
    } finally {
      process.execPath = execPath;
    }
    await pool.stop(0);
    t.same(ended, [0, 0]);
  });
}
