import { writeFile } from 'node:fs/promises';
import t from 'tap';
import { settleCrashed } from '../../src/journal/recovery.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { testDatabase } from '../support/database.ts';
import { begin, folder, newCall, openTestJournal, relay, segmentsOf } from './fixture.ts';

const damaged = {
  empty: '',
  cut: '{"seq":2,"ha',
  'of no record': '{"seq":-1,"hash":""}',
  'without a hash': '{"seq":2}',
  'no object': 'null',
};

for (const [what, text] of Object.entries(damaged)) {
  t.test(`a stream whose mark is damaged is kept aside and the rest goes on: ${what}`, async (t) => {
    const { store } = await testDatabase(t);
    const dir = await folder(t);
    const dead = await openTestJournal(t, dir);
    const { seq, hash } = await relay(dead);
    await dead.append('use.begin', begin(newCall()));
    await dead.close();
    const mark = ((await segmentsOf(dir))[0] as string).replace(/\.\d+\.jsonl$/, '.condemned');
    await writeFile(mark, text);
    const fault = { stream: dead.stream, seq: 0, kind: 'missing' };

    const journal = await openTestJournal(t, dir);
    await relay(journal);
    const lookup = (): Promise<boolean> => Promise.reject(new Error('not asked for'));
    t.match(await settleCrashed({ journal, lookup }), { calls: 0, torn: 0, faults: [fault] });
    t.match((await verifyJournal({ dir, store: null })).problems, [fault]);
    const alarms: unknown[] = [];
    const shipper = createShipper({
      store,
      journal,
      clock: Date.now,
      onAlarm: (alarm) => void alarms.push(alarm),
    });
    t.teardown(() => shipper.stop());
    const shipped = (): Promise<unknown> =>
      store.asSystem((tx) =>
        tx.selectFrom('journal_streams').select(['stream', 'next_seq']).orderBy('updated_at').execute(),
      );
    await shipper.flush();
    await shipper.flush();
    t.match(alarms, [fault]);
    t.equal(alarms.length, 1, 'told once');
    t.same(await shipped(), [{ stream: journal.stream, next_seq: 3n }]);

    await writeFile(mark, JSON.stringify({ seq, hash }));
    t.match(await settleCrashed({ journal, lookup }), { calls: 0, faults: [] });
    await shipper.flush();
    t.same(
      await shipped(),
      [
        { stream: journal.stream, next_seq: 3n },
        { stream: dead.stream, next_seq: 3n },
      ],
      'mended, it is shipped as far as acknowledged',
    );
    t.match(await verifyJournal({ dir, store }), { ok: true });
  });
}
