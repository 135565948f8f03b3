import t from 'tap';
import { createEpoch } from '../../src/gateway/epoch.ts';

t.test('a process that was too busy to ask is not taken for a database that is away', async (t) => {
  const state = { now: 0, reads: 0, answer: async (): Promise<bigint> => 7n };
  const epoch = await createEpoch({
    read: () => {
      state.reads += 1;
      return state.answer();
    },
    now: () => state.now,
    tick: () => state.now,
    onRead: () => {},
  });
  state.now = 5000;
  t.ok(epoch.isStale());
  t.notOk(await epoch.staysStale(), 'it asks, and has its answer');
  t.notOk(epoch.isStale());
  t.equal(state.reads, 2);

  state.now = 10_000;
  state.answer = () => Promise.reject(new Error('connection refused'));
  t.ok(await epoch.staysStale());
  t.equal(state.reads, 3);
  t.ok(await epoch.staysStale(), 'while it is known to be away nobody waits for it');
  t.equal(state.reads, 3);

  state.answer = async () => 8n;
  await epoch.poll();
  t.notOk(epoch.isStale());
  t.equal(epoch.value(), 8n);
});

t.test(
  'a clock that is set back makes nothing that was read younger, nor does a machine that slept',
  async (t) => {
    const state = { now: 3_600_000, tick: 0, isDown: false };
    const epoch = await createEpoch({
      read: async () => {
        if (state.isDown) throw new Error('connection refused');
        return 7n;
      },
      now: () => state.now,
      tick: () => state.tick,
      onRead: () => {},
    });
    state.isDown = true;
    state.now = 0;
    state.tick = 301_000;
    await epoch.poll();
    t.equal(epoch.ageMs(), 301_000, 'an hour back, five minutes later');
    t.ok(epoch.isStale());
    state.now = 7_200_000;
    t.equal(epoch.ageMs(), 3_600_000, 'asleep for an hour: the other clock stood still');
    state.isDown = false;
    await epoch.poll();
    t.notOk(epoch.isStale());
  },
);
