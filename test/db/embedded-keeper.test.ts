import t, { type Test } from 'tap';
import { keepServer, pauseBefore } from '../../src/db/embedded-keeper.ts';

/** A keeper of a server that comes up as told, under a clock that moves by the keeper's pauses alone. */
function keep(t: Test, revive: (attempt: number) => Promise<number>) {
  const said: string[] = [];
  const pauses: number[] = [];
  let session = Promise.withResolvers<void>();
  let clock = 0;
  let attempts = 0;
  const keeper = keepServer({
    watch: {
      onLost: () => said.push('lost'),
      onBack: ({ pid }) => said.push(`back ${pid}`),
      onFailed: (error, count) => said.push(`failed ${count}: ${(error as Error).message}`),
    },
    ended: async () => session.promise,
    async revive() {
      attempts += 1;
      const pid = await revive(attempts);
      session = Promise.withResolvers<void>();
      return pid;
    },
    async pause(ms, signal) {
      pauses.push(ms);
      clock += ms;
      signal.throwIfAborted();
    },
    now: () => clock,
  });
  t.teardown(() => keeper.stop());
  return {
    keeper,
    said,
    pauses,
    attempts: () => attempts,
    /** Resolves when the keeper has brought it back, or is at rest. */
    crash: async (afterMs: number): Promise<void> => {
      clock += afterMs;
      session.resolve();
      for (let turns = 0; turns < 100; turns += 1) await new Promise(setImmediate);
    },
  };
}

t.test('a server that ends now and then is started again at once, each time', async (t) => {
  const { crash, said, pauses } = keep(t, async (attempt) => attempt);
  for (let n = 0; n < 3; n += 1) await crash(61_000);
  t.same(said, ['lost', 'back 1', 'lost', 'back 2', 'lost', 'back 3']);
  t.same(pauses, [0, 0, 0]);
});

t.test(
  'one that crashes as soon as it is up is started less and less often, and called failed',
  async (t) => {
    const { crash, said, pauses } = keep(t, async (attempt) => attempt);
    for (let n = 0; n < 10; n += 1) await crash(10);
    t.same(pauses, [0, 200, 400, 800, 1600, 3200, 6400, 12_800, 60_000, 60_000]);
    t.equal(said.filter((word) => /^failed \d+: It ends soon/.test(word)).length, 2);
    t.equal(said.at(-1), 'back 10');
    await crash(60_000);
    t.equal(pauses.at(-1), 0, 'it stayed: all is forgiven');
  },
);

t.test('one that does not come up is called failed once, and tried once a minute', async (t) => {
  const isMended = Promise.withResolvers<void>();
  const { crash, said, pauses, attempts } = keep(t, async (attempt) => {
    if (attempt === 12) await isMended.promise;
    if (attempt < 12) throw new Error('no disk');
    return 7;
  });
  await crash(0);
  t.same(said, ['lost', 'failed 8: no disk']);
  t.equal(attempts(), 12);
  t.same(pauses.slice(7), [12_800, 60_000, 60_000, 60_000, 60_000]);
  isMended.resolve();
  await crash(0);
  t.match(said.slice(2, 3), ['back 7']);
});

t.test('a stop ends it wherever it is', async (t) => {
  const resting = keep(t, async () => 1);
  await resting.keeper.stop();
  await resting.crash(0);
  t.same(resting.said, [], 'what ends after it is nobody’s affair');

  const seen = Promise.withResolvers<AbortSignal>();
  const keeper = keepServer({
    watch: { onLost: () => {}, onBack: () => {}, onFailed: () => {} },
    ended: async () => {},
    pause: async () => {},
    revive: (signal) => {
      seen.resolve(signal);
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    },
  });
  const signal = await seen.promise;
  await keeper.stop();
  t.ok(signal.aborted);
  t.equal(pauseBefore(100), 60_000);
});
