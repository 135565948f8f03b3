import t from 'tap';
import { stateOf } from '../../bench/process-state.ts';
import { floorSlopeOf } from '../../bench/slope.ts';

const samples = (count: number, valueAt: (at: number) => number): [number, number][] =>
  Array.from({ length: count }, (_, at) => [at, valueAt(at)]);

t.test('a straight line has its slope and no error', async (t) => {
  const { rise, error } =
    floorSlopeOf(
      samples(100, (at) => 7 + 3 * at),
      10,
    ) ?? {};
  t.ok(Math.abs((rise ?? 0) - 3) < 1e-9);
  t.ok((error ?? 1) < 1e-9);
});

t.test('what grows and is collected again has no slope, within its error', async (t) => {
  const sawtooth = samples(3000, (at) => 300 + (at % 37) + ((at * 7919) % 11) / 5);
  const { rise, error } = floorSlopeOf(sawtooth, 25) ?? { rise: 1, error: 0 };
  t.ok(Math.abs(rise) <= 3 * error, `${rise} ± ${error}`);
  t.ok(Math.abs(rise) < 1e-3, 'and it is no more than the noise of what is left');
});

t.test('growth stands out of noise, and few samples say nothing', async (t) => {
  const growing = samples(3000, (at) => at / 100 + Math.sin(at / 7));
  const { rise, error } = floorSlopeOf(growing, 25) ?? { rise: 0, error: 1 };
  t.ok(rise - 2 * error > 0.009, `${rise} ± ${error}`);
  t.equal(floorSlopeOf([], 25), null);
  t.equal(
    floorSlopeOf(
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
