import { parseArgs } from 'node:util';
import { randomInt } from 'node:crypto';
import { crashPoints, crashRounds } from '../test/faults/crash-rounds.ts';

// The long form of test/faults/crash.test.ts (JOURNAL.md's bar: 50 rounds). Exits 1 when anything was lost or doubled.
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '50' },
    calls: { type: 'string', default: '1000' },
    clients: { type: 'string', default: '32' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
  },
});
const options = {
  seed: Number(values.seed),
  rounds: Number(values.rounds),
  callsPerRound: Number(values.calls),
  clients: Number(values.clients),
  points: crashPoints,
  verifyEvery: 1,
};
process.stdout.write(`seed ${options.seed}\n`);
const ends: (() => unknown)[] = [];
let wrong = 0;
try {
  for await (const found of crashRounds({ teardown: (end) => void ends.push(end) }, options)) {
    const { round, point, readyMs, answers, upstream, begins, crashed, wrongs } = found;
    const counts = `${answers} answers, ${upstream} upstream, ${begins} begins, ${crashed} crashed`;
    process.stdout.write(`round ${round}, ${point}: ready in ${Math.round(readyMs)} ms; ${counts}\n`);
    for (const sentence of wrongs) process.stdout.write(`  WRONG: ${sentence}\n`);
    wrong += wrongs.length + (readyMs < 5000 ? 0 : 1);
  }
} finally {
  for (const end of ends.toReversed()) await end();
}
process.exitCode = wrong === 0 ? 0 : 1;
