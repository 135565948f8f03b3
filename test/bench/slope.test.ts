import t from 'tap';
import { stateOf } from '../../bench/process-state.ts';
import { slopeOf } from '../../bench/slope.ts';

const samples = (count: number, valueAt: (at: number) => number): [number, number][] =>
  Array.from({ length: count }, (_, at) => [at, valueAt(at)]);

t.test('a straight line has its slope and no error', async (t) => {
  const { rise, error } =
    slopeOf(
      samples(100, (at) => 7 + 3 * at),
      10,
    ) ?? {};
  t.ok(Math.abs((rise ?? 0) - 3) < 1e-9);
  t.ok((error ?? 1) < 1e-9);
});

t.test('the error is about as large as slopes of noise differ, though neighbours are alike', async (t) => {
  // A wave each of whose values is nearly its neighbour's, and no growth at all.
  const wave = samples(3000, (at) => Math.sin(at / 40) * 5 + Math.sin(at * 1.7));
  const { rise, error } = slopeOf(wave, 25) ?? { rise: 1, error: 0 };
  t.ok(Math.abs(rise) < 3 * error, `${rise} ± ${error}`);
  t.ok(error > 1e-4, 'more than that of 3000 samples that know nothing of each other would be');
});

t.test('growth stands out of noise, and few samples say nothing', async (t) => {
  const growing = samples(3000, (at) => at / 100 + Math.sin(at / 7));
  const { rise, error } = slopeOf(growing, 25) ?? { rise: 0, error: 1 };
  t.ok(rise - 2 * error > 0.009, `${rise} ± ${error}`);
  t.equal(slopeOf([], 25), null);
  t.equal(
    slopeOf(
      samples(2, (at) => at),
      25,
    ),
    null,
  );
});

t.test(
  'the state of a process is that of the whole of it',
  { skip: process.platform !== 'linux' && 'no /proc' },
  async (t) => {
    const seen = stateOf(process.pid);
    t.ok(seen !== null && seen.rssBytes > seen.anonymousBytes && seen.anonymousBytes > 1e6);
    t.ok(seen !== null && seen.handles > 3);
    t.equal(stateOf(2 ** 22 + 1), null);
  },
);
