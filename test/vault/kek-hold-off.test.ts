import t from 'tap';
import { createHoldOff } from '../../src/vault/kek-hold-off.ts';
import { KekError } from '../../src/vault/kek-provider.ts';

function setUp(random = 0) {
  const time = { now: 1_000_000 };
  let attempts = 0;
  let isDown = true;
  const holdOff = createHoldOff({ clock: () => time.now, random: () => random });
  const attempt = () =>
    holdOff.run(async () => {
      attempts += 1;
      if (isDown) throw new KekError('unavailable', 'It does not answer.');
      return 'ok';
    });
  return { time, holdOff, attempt, attempts: () => attempts, up: () => void (isDown = false) };
}

t.test('a service that is down is asked once in a pause that doubles from 1 s to 30 s', async (t) => {
  const { time, attempt, attempts } = setUp();
  const pauses: number[] = [];
  await t.rejects(attempt(), { code: 'unavailable' });
  for (const count of [1, 2, 3, 4, 5, 6, 7]) {
    const from = time.now;
    for (; attempts() === count; time.now += 500) await attempt().catch(() => {});
    time.now -= 500;
    pauses.push(time.now - from);
  }
  t.strictSame(pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

t.test('chance shortens the pause by up to a half, so that nodes do not come back together', async (t) => {
  const { time, attempt, attempts } = setUp(0.999);
  await t.rejects(attempt());
  time.now += 499;
  await t.rejects(attempt(), { code: 'unavailable', retryAfterMs: 1000 });
  t.equal(attempts(), 1);
  time.now += 2;
  await t.rejects(attempt());
  t.equal(attempts(), 2);
});

t.test('after the pause one caller asks and the others are told at once', async (t) => {
  const { time, holdOff, attempt } = setUp();
  await t.rejects(attempt());
  time.now += 1000;
  const { promise, resolve } = Promise.withResolvers<string>();
  const first = holdOff.run(() => promise);
  await t.rejects(attempt(), { code: 'unavailable' });
  resolve('up');
  t.equal(await first, 'up');
});

t.test('calls that fail together count as one failure', async (t) => {
  const { time, attempt, attempts } = setUp();
  await Promise.allSettled(Array.from({ length: 50 }, attempt));
  t.equal(attempts(), 50, 'all were under way before the first failed');
  time.now += 1000;
  await t.rejects(attempt());
  t.equal(attempts(), 51);
});

t.test('a success ends it, and what concerns one record only begins none', async (t) => {
  const { time, holdOff, attempt, up } = setUp();
  await t.rejects(attempt());
  up();
  time.now += 1000;
  t.equal(await attempt(), 'ok');
  await t.rejects(
    holdOff.run(() => Promise.reject(new KekError('denied', 'Not this one.'))),
    { code: 'denied' },
  );
  t.equal(await attempt(), 'ok');
});

t.test('a clock that is set back does not prolong the pause', async (t) => {
  const { time, attempt, attempts } = setUp();
  await t.rejects(attempt());
  time.now -= 3_600_000;
  await t.rejects(attempt());
  t.equal(attempts(), 2);
});
