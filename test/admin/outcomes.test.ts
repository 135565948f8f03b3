import t, { type Test } from 'tap';
import { createActs } from '../../src/admin/acts.ts';
import type { Caller } from '../../src/admin/caller.ts';
import { createOutcomes } from '../../src/admin/outcomes.ts';
import type { Store } from '../../src/db/store.ts';
import { type ActLookup, createActLookup } from '../../src/journal/act-lookup.ts';
import type { Fields } from '../../src/journal/journal.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { allEnded } from '../support/all-ended.ts';
import { testDatabase } from '../support/database.ts';
import {
  begin,
  end,
  folder,
  linesOf,
  newCall,
  openTestJournal,
  relay,
  segmentsOf,
  workspaceId,
} from '../journal/fixture.ts';

const caller = { type: 'token', id: 'tok_1', workspaceId, ip: null } as unknown as Caller;
const kib = 1024;

/** A small journal on disk, shipped into a real database; `store` is what the acts have of it. */
async function setUp(
  t: Test,
  wrap: (store: Store) => Pick<Store, 'asWorkspace'>,
  look?: (real: ActLookup) => ActLookup,
) {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  const journal = await openTestJournal(t, dir, {
    sync: 'relaxed',
    maxBytes: 512 * kib,
    segmentBytes: 64 * kib,
  });
  const shipper = createShipper({ store, journal, clock: Date.now });
  t.teardown(() => shipper.stop());
  const real = createActLookup(store);
  const outcomes = createOutcomes({ journal, lookup: look?.(real) ?? real, retryMs: 10 });
  t.teardown(() => outcomes.stop());
  const act = createActs({
    store: wrap(store),
    journal,
    outcomes,
    markClient: () => ({ clientIpHash: '', network: '' }),
    clock: Date.now,
  });
  return { act, dir, journal, shipper };
}

async function eventsOf(dir: string): Promise<string[]> {
  const events = (await linesOf(dir)).map((line) => (JSON.parse(line) as { event: string }).event);
  return events.filter((event) => event.startsWith('token.'));
}

t.test(
  'a COMMIT whose answer was lost keeps no segment: the journal takes calls beyond its bound',
  async (t) => {
    let looks = 0;
    const { act, dir, journal, shipper } = await setUp(
      t,
      (store) => ({
        async asWorkspace(id, work) {
          await store.asWorkspace(id, work);
          throw new Error('Connection terminated unexpectedly');
        },
      }),
      (real) => async (actId, id) => {
        looks += 1;
        if (looks < 3) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
        return real(actId, id);
      },
    );
    await t.rejects(
      act(caller, 'token.create', { tokenId: 'tok_2' }, async () => 1),
      { code: 'INTERNAL' },
    );
    await allEnded(journal);
    t.equal(looks, 3, 'tried again while the database was away');
    t.same(await eventsOf(dir), ['token.create.intent', 'token.create.done']);
    for (let round = 0; round < 4; round += 1) {
      await Promise.all(Array.from({ length: 100 }, () => relay(journal)));
      await shipper.flush();
    }
    await shipper.flush();
    t.ok(journal.isOpen());
    t.equal((await segmentsOf(dir)).length, 1, 'what is shipped is gone');
  },
);

t.test('an outcome that a full journal refuses is written when there is room', async (t) => {
  const { act, dir, journal, shipper } = await setUp(t, (store) => store);
  await Promise.all(Array.from({ length: 200 }, () => relay(journal)));
  const begun = await journal.append('use.begin', begin(newCall()));
  const { receipt } = await act(caller, 'token.create', {}, async () => {
    // Ends may use the last tenth; the short ones leave no room for the act's.
    const fill = (event: string, fields: Fields): Promise<boolean> =>
      journal.append(event, fields).then(
        () => true,
        () => false,
      );
    while (await fill('use.end', end(newCall(), begun)));
    while (await fill('test.fill.done', { actId: 'x' }));
  });
  t.same(await eventsOf(dir), ['token.create.intent']);
  t.match(receipt, /^node_a:/, 'the intent’s, for what is done is done');
  t.notOk(journal.isOpen());
  while (journal.oldestOpen(journal.stream) !== null) await shipper.flush();
  t.equal((await eventsOf(dir)).at(-1), 'token.create.done');
  await shipper.flush();
  t.ok(journal.isOpen());
});
