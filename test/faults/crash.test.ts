import { randomInt } from 'node:crypto';
import t from 'tap';
import { compare, crashPoints, crashRounds } from './crash-rounds.ts';

t.setTimeout(300_000);

/** Set it to the seed of a failure to run that again; the machine's own timing stays its own. */
const seed = randomInt(2 ** 31);
/** The short form; `node scripts/soak-crash.ts --rounds 50` is the long one. */
const [rounds, callsPerRound, clients] = [5, 200, 32];

t.test(
  `a gateway that is killed ${rounds} times under ${clients} clients loses and doubles nothing (seed ${seed})`,
  async (t) => {
    const options = { seed, rounds, callsPerRound, clients, points: crashPoints, verifyEvery: rounds };
    for await (const found of crashRounds(t, options)) {
      const { round, point, readyMs, answers, upstream, begins, crashed } = found;
      t.same(
        found.wrongs,
        [],
        `round ${round}, ${point}: ${answers} answers in clients' hands, ${upstream} requests upstream, ${begins} begins, ${crashed} settled as crashed`,
      );
      // Another test shares the two cores; alone on them a start has 5 s (`scripts/newcomer.ts`).
      t.ok(readyMs < 15_000, `ready again in ${Math.round(readyMs)} ms`);
      t.ok(answers >= round * callsPerRound);
    }
  },
);

t.test('books that lack or double one record are found wrong (positive control)', async (t) => {
  const begin = { event: 'use.begin', callId: 'call_1', attempt: 1, model: 'm' };
  const end = { ...begin, event: 'use.end', final: true, outcome: 'ok', receipt: 's.1.h' };
  const held = [{ model: 'm', status: 200, code: '', id: 'call_1', receipt: 's.1.h', isWhole: true }];
  const upstream = { heads: 1, models: ['m'] };
  const books = { begins: [begin], ends: [end], rows: ['call_1 1 ok'] };
  t.same(compare(held, upstream, books), []);
  const wrong = {
    'a request without a begin': compare(held, { heads: 2, models: ['m'] }, books),
    'a request of a call that never began': compare(held, { heads: 1, models: ['n'] }, books),
    'an open call': compare([], upstream, { ...books, ends: [], rows: [] }),
    'an end twice': compare(held, upstream, { ...books, ends: [end, end] }),
    'a row too few': compare(held, upstream, { ...books, rows: [] }),
    'a row twice': compare(held, upstream, { ...books, rows: ['call_1 1 ok', 'call_1 1 ok'] }),
    'another outcome': compare(held, upstream, { ...books, rows: ['call_1 1 crash'] }),
    'an answer on no record': compare([{ ...held[0]!, id: 'call_2' }], upstream, books),
    'a false receipt': compare([{ ...held[0]!, receipt: 's.2.h' }], upstream, books),
    'an answer whose end is not the last': compare(held, upstream, {
      ...books,
      ends: [{ ...end, final: false }],
    }),
  };
  for (const [what, wrongs] of Object.entries(wrong)) t.ok(wrongs.length > 0, what);
});
