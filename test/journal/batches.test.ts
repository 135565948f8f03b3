import t from 'tap';
import { begin, folder, newCall, openTestJournal, watched } from './fixture.ts';

/** A journal that says how many records each write had, on a clock that stands still. */
async function counted(t: Parameters<typeof openTestJournal>[0]) {
  const batches: number[] = [];
  const time = { now: Date.now() };
  let [asked, written] = [0, 0];
  const journal = await openTestJournal(t, await folder(t), {
    clock: () => time.now,
    files: watched({
      write() {
        batches.push(asked - written);
        written = asked;
      },
    }),
  });
  batches.length = 0;
  const call = (): Promise<unknown> => {
    asked += 1;
    return journal.append('use.begin', begin(newCall()));
  };
  return { batches, time, call, calls: (count: number) => Promise.all(Array.from({ length: count }, call)) };
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise(setImmediate);
}

t.test(
  'calls that come a few turns after one another share a write, where there were several before',
  async (t) => {
    const { batches, call, calls } = await counted(t);
    await calls(3);
    const coming = [call()];
    for (let i = 0; i < 3; i += 1) {
      await turns(2);
      coming.push(call());
    }
    await Promise.all(coming);
    t.same(batches, [3, 4]);
  },
);

t.test('a call alone waits for nobody', async (t) => {
  const { batches, call } = await counted(t);
  await call();
  const first = call();
  await turns(2);
  const second = call();
  await Promise.all([first, second]);
  t.same(batches, [1, 1, 1]);
});

t.test('nor do several wait for more than a dozen turns, or when turns take long', async (t) => {
  const { batches, time, call, calls } = await counted(t);
  await calls(3);
  const first = call();
  await turns(20);
  const second = call();
  await Promise.all([first, second]);
  t.same(batches, [3, 1, 1], 'a dozen turns');
  await calls(3);
  const third = call();
  await turns(1);
  time.now += 2;
  await turns(2);
  const fourth = call();
  await Promise.all([third, fourth]);
  t.same(batches.slice(3), [3, 1, 1], 'a long one');
});
