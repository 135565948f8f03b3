import t from 'tap';
import { runBill } from './bill.ts';

t.test(
  'mixed calls with random ends: the books equal the providers’ bill wherever it was told, and say so elsewhere',
  async (t) => {
    const seed = Date.now() % 1_000_000;
    const report = await runBill(t, 600, seed);
    t.same(report.wrongs, [], `seed ${seed}`);
    t.ok(
      report.counted > 200 && report.estimated > 30 && report.unknown > 60,
      JSON.stringify({ ...report, nanoUsd: '' }),
    );
  },
);
