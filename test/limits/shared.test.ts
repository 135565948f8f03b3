import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import type { Lease } from '../../src/limits/limits.ts';
import { createPermitDesk } from '../../src/limits/permit-desk.ts';
import { createSharedLimits, type SharedLimits } from '../../src/limits/shared-limits.ts';
import { limitsContract } from './contract.ts';

/** Workers and their primary in one process; what they say to each other takes a turn of the loop and is copied, as over a pipe. */
function crew(count: number, authFailuresPerMinute = 30, hung?: ReadonlySet<number>) {
  let now = 1_800_000_000_000;
  let asked = 0;
  const clock = (): number => now;
  const workers: SharedLimits[] = [];
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const desk = createPermitDesk({
    clock,
    workers: () => count,
    ...(hung === undefined ? {} : { recallWithinMs: 20 }),
    async recall(workerId, tokenId) {
      await turn();
      if (hung?.has(workerId) === true) await new Promise(() => {});
      const report = structuredClone(workers[workerId]?.recall(tokenId) ?? null);
      await turn();
      return report;
    },
  });
  for (let id = 0; id < count; id += 1) {
    workers.push(
      createSharedLimits({
        clock,
        authFailuresPerMinute,
        async ask(ask) {
          asked += 1;
          await turn();
          const answer = await desk.ask(id, structuredClone(ask));
          await turn();
          return answer;
        },
        report: (report) => void turn().then(() => desk.report(id, structuredClone(report))),
      }),
    );
  }
  return {
    desk,
    workers: workers as [SharedLimits, SharedLimits],
    advance: (ms: number) => void (now += ms),
    asked: () => asked,
    turn,
  };
}

const scope = (requestsPerMinute: number | null, concurrentCalls: number | null = null) => ({
  tokenId: 'tok_a',
  requestsPerMinute,
  concurrentCalls,
});

async function admitted(attempts: readonly Promise<unknown>[]): Promise<Lease[]> {
  const results = await Promise.allSettled(attempts);
  for (const result of results)
    if (result.status === 'rejected' && !(result.reason instanceof SallyportError)) throw result.reason;
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value as Lease] : []));
}

/** `count` calls each, by turns. */
const calls = (workers: readonly SharedLimits[], each: number, wanted: ReturnType<typeof scope>) =>
  Array.from({ length: each }, () => workers.map(async (worker) => worker.admit(wanted))).flat();

t.test('one worker with its primary keeps the contract of limits', async (t) => {
  limitsContract(t, (_t, authFailuresPerMinute) => {
    const { workers, advance } = crew(1, authFailuresPerMinute);
    return { limits: workers[0], advance };
  });
});

t.test('of requests at once over two workers exactly as many pass as may', async (t) => {
  for (const limit of [1, 2, 10, 60, 600, 5000]) {
    const { workers } = crew(2);
    t.equal((await admitted(calls(workers, limit, scope(limit)))).length, limit, `${limit} a minute`);
  }
});

t.test('what one worker was given ahead another gets when it needs it', async (t) => {
  const { workers, advance } = crew(2);
  const [one, two] = workers;
  await one.admit(scope(600));
  let passed = 1;
  for (let i = 0; i < 700; i += 1) passed += (await admitted([(async () => two.admit(scope(600)))()])).length;
  t.equal(passed, 600, 'not one was lost');
  advance(60_000);
  passed = (await admitted(calls(workers, 600, scope(600)))).length;
  t.equal(passed, 600);
});

t.test('an hour of hammering at two workers lets no more through than at one process', async (t) => {
  const { workers, advance } = crew(2);
  let passed = 0;
  for (let i = 0; i < 3600; i += 1) {
    passed += (await admitted(calls(workers, 1, scope(10)))).length;
    if (i % 4 === 0) workers.forEach((worker) => worker.flush());
    advance(1000);
  }
  t.ok(passed <= 10 + 599, `${passed}`);
  t.ok(passed >= 600, `${passed}: and hardly less`);
});

t.test('slots are counted over all workers, and one that falls free serves the other at once', async (t) => {
  const { workers } = crew(2);
  const leases = await admitted(calls(workers, 200, scope(null, 142)));
  t.equal(leases.length, 142);
  for (const lease of leases.slice(0, 40)) lease.release();
  const more = await admitted(calls([workers[1]], 200, scope(null, 142)));
  t.equal(more.length, 40);
  for (const lease of [...leases, ...more]) lease.release();
  t.equal((await admitted(calls([workers[0]], 200, scope(null, 142)))).length, 142);
});

t.test('the one call that may run runs at whichever worker it comes to', async (t) => {
  const { workers, advance, turn } = crew(2);
  for (let i = 0; i < 40; i += 1) {
    const leases = await admitted([(async () => workers[i % 2 === 0 ? 0 : 1].admit(scope(null, 1)))()]);
    t.equal(leases.length, 1, `call ${i}`);
    advance(20);
    leases[0]?.release();
    await turn();
    advance(80);
  }
});

t.test('a worker that dies gives its slots back, and none of its requests', async (t) => {
  const { workers, desk } = crew(3);
  const [one, two] = workers;
  const three = workers.at(2) as SharedLimits;
  t.equal((await admitted(calls([one], 300, scope(600, 10)))).length, 10);
  desk.forget(0);
  t.equal((await admitted(calls([two], 300, scope(600, 10)))).length, 10);
  desk.forget(1);
  const { length } = await admitted(calls([three], 700, scope(600)));
  t.ok(length <= 580 && length >= 440, `${length}: what it held ahead counts as used`);
});

t.test('a worker that dies while it waits for a slot of another one keeps none', async (t) => {
  const { workers, desk, turn } = crew(2);
  const [one, two] = workers;
  const lease = await two.admit(scope(null, 1));
  const late = t.rejects(async () => one.admit(scope(null, 1)), 'nobody waits for it');
  lease.release();
  await turn();
  // The slot is being called back for it.
  desk.forget(0);
  await late;
  t.equal((await admitted(calls([two], 1, scope(null, 1)))).length, 1, 'nor does the slot go with it');
});

t.test('nobody waits for a worker that hangs, and what it holds stays held', async (t) => {
  const hung = new Set<number>();
  const { workers, advance } = crew(2, 30, hung);
  const [one, two] = workers;
  const lease = await one.admit(scope(null, 2));
  await one.admit(scope(null, 2));
  lease.release();
  hung.add(0);
  t.equal((await admitted(calls([two], 3, scope(null, 2)))).length, 0, 'refused, not kept waiting');
  hung.clear();
  advance(5000);
  t.equal((await admitted(calls([two], 3, scope(null, 2)))).length, 1, 'back when it is');
});

t.test('a limit that is lifted while a slot is asked for costs no slot', async (t) => {
  const { workers } = crew(2);
  const [one, two] = workers;
  const asked = one.admit(scope(null, 1));
  await one.admit(scope(5));
  (await asked).release();
  t.equal((await admitted(calls([two], 2, scope(null, 1)))).length, 1);
});

t.test('a limit that is lowered holds at once for what was handed out under the old one', async (t) => {
  const { workers } = crew(2);
  const leases = await admitted(calls(workers, 40, scope(10_000, 100)));
  t.equal(leases.length, 80);
  for (const lease of leases.slice(0, 79)) lease.release();
  t.equal((await admitted(calls(workers, 5, scope(1, 3)))).length, 0, '80 of 1');
  t.equal((await admitted(calls(workers, 5, scope(null, 3)))).length, 2, 'one runs');
});

t.test('nobody is asked for a token without limits, and seldom for one with a high limit', async (t) => {
  const { workers, asked } = crew(2);
  const [one] = workers;
  for (let i = 0; i < 1000; i += 1) await one.admit(scope(null));
  t.equal(asked(), 0);
  for (let i = 0; i < 1000; i += 1) (await one.admit(scope(60_000, 50))).release();
  t.ok(asked() < 30, `${asked()} questions for 1000 calls`);
  const before = asked();
  await admitted(calls([one], 3, scope(1)));
  const refusals = await admitted(Array.from({ length: 1000 }, async () => one.admit(scope(1))));
  t.equal(refusals.length, 0);
  t.ok(asked() - before <= 3, 'who was refused is not asked about again before his time');
});
