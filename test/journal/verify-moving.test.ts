import t, { type Test } from 'tap';
import type { Store } from '../../src/db/store.ts';
import { createActs } from '../../src/admin/acts.ts';
import { createOutcomes } from '../../src/admin/outcomes.ts';
import { createActLookup } from '../../src/journal/act-lookup.ts';
import { settleCrashed } from '../../src/journal/recovery.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { createPace } from '../../src/journal/verify-pace.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { testDatabase } from '../support/database.ts';
import { begin, end, folder, newCall, openTestJournal, relay, segmentsOf, workspaceId } from './fixture.ts';

// Each of these moved between two steps of one look, and was told as tampering.

/** What happens behind each of the first transactions of a look, by its number. */
function between(store: Pick<Store, 'asSystem'>, number: number, work: () => Promise<unknown>) {
  let asked = 0;
  return {
    async asSystem<T>(inner: Parameters<Store['asSystem']>[0]): Promise<T> {
      const value = (await store.asSystem(inner)) as T;
      asked += 1;
      if (asked === number) await work();
      return value;
    },
  };
}

/** Calls whose begins and ends lie many segments apart, in a stream that lives or in one that has ended. */
async function spread(t: Test, isDead: boolean) {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  let journal = await openTestJournal(t, dir, { segmentBytes: 65536 });
  const calls = Array.from({ length: 100 }, () => newCall());
  const some = (count: number) => Promise.all(Array.from({ length: count }, () => relay(journal)));
  await some(60);
  const begins = await Promise.all(calls.map((call) => journal.append('use.begin', begin(call))));
  await some(100);
  await Promise.all(
    calls.map((call, i) => journal.append('use.end', end(call, begins[i] as (typeof begins)[0]))),
  );
  if (isDead) {
    await journal.close();
    journal = await openTestJournal(t, dir, { segmentBytes: 65536 });
    await settleCrashed({ journal, lookup: async () => false });
  }
  const shipper = createShipper({ store, journal, clock: Date.now });
  t.teardown(() => shipper.stop());
  const before = (await segmentsOf(dir)).length;
  const ship = async (): Promise<void> => {
    await shipper.flush();
    await shipper.flush();
    t.ok((await segmentsOf(dir)).length < before, 'segments were removed meanwhile');
  };
  return { dir, store, ship };
}

for (const isDead of [false, true]) {
  t.test(`segments of a stream that ${isDead ? 'has ended' : 'lives'} are shipped and removed`, async (t) => {
    for (const number of [1, 2, 3]) {
      const { dir, store, ship } = await spread(t, isDead);
      const { ok, problems } = await verifyJournal({ dir, store: between(store, number, ship) });
      t.ok(ok, `behind transaction ${number}`);
      t.strictSame(problems, []);
    }
  });
}

t.test('segments are removed while files are read', async (t) => {
  const { dir, store, ship } = await spread(t, false);
  const pace = createPace();
  let turns = 0;
  const turn = async (): Promise<void> => {
    turns += 1;
    if (turns === 3) await ship();
    await pace.turn();
  };
  t.strictSame((await verifyJournal({ dir, store, pace: { turn } })).problems, []);
});

t.test(
  'an act is committed behind the reading of files; one without an intent is told all the same',
  async (t) => {
    const { store } = await testDatabase(t);
    const dir = await folder(t);
    const journal = await openTestJournal(t, dir);
    await relay(journal);
    const markClient = () => ({ clientIpHash: '', network: '' });
    const outcomes = createOutcomes({ journal, lookup: createActLookup(store) });
    t.teardown(() => outcomes.stop());
    const act = createActs({ store, journal, outcomes, markClient, clock: Date.now });
    const caller = {
      type: 'admin',
      id: 'tok_1',
      userId: 'usr_1',
      workspaceId,
      role: 'owner',
      isOperator: false,
      ip: null,
    } as const;
    const add = () => act(caller, 'token.create', { tokenId: 'tok_2' }, async () => 1);
    for (const number of [2, 3, 4, 5]) {
      const { problems } = await verifyJournal({ dir, store: between(store, number, add) });
      t.strictSame(problems, [], `behind transaction ${number}`);
    }
    await store.asWorkspace(workspaceId, (tx) =>
      tx
        .insertInto('acts')
        .values({ act_id: 'act_forged', workspace_id: workspaceId, digest: Buffer.alloc(32) })
        .execute(),
    );
    const { ok, problems } = await verifyJournal({ dir, store: between(store, 3, add) });
    t.notOk(ok);
    t.match(problems, [{ kind: 'missing', message: /^act_forged was committed without an intent/ }]);
  },
);
