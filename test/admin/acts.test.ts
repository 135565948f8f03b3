import t from 'tap';
import { type ActsDeps, createActs } from '../../src/admin/acts.ts';
import type { Store } from '../../src/db/store.ts';
import { SallyportError } from '../../src/errors.ts';
import { allEnded } from '../support/all-ended.ts';
import { newKey, startWorld } from '../api/world.ts';

const world = await startWorld(t);
const caller = await world.callerOf(world.first.adminToken);
const { act, clock, journal, outcomes, vault } = world;
const markClient: ActsDeps['markClient'] = (ip, owner) => vault.markClient(ip, owner);

interface Line {
  event: string;
  actId?: string;
  hash: string;
  code?: string;
  ip?: string | null;
}

function linesOf(event: string): Line[] {
  return world
    .journalText()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
    .filter((line) => line.event.startsWith(`${event}.`));
}

async function digestOf(actId: string | undefined): Promise<string | null> {
  const row = await world.store.asSystem((tx) =>
    tx
      .selectFrom('acts')
      .select('digest')
      .where('act_id', '=', actId ?? '')
      .executeTakeFirst(),
  );
  return row?.digest.toString('hex') ?? null;
}

async function epoch(): Promise<bigint> {
  const row = await world.store.asSystem((tx) =>
    tx.selectFrom('epoch').select('value').executeTakeFirstOrThrow(),
  );
  return row.value;
}

t.test('an act leaves its intent, its row and its outcome, and moves the epoch', async (t) => {
  const before = await epoch();
  const { value, receipt } = await act(
    { ...caller, ip: '192.0.2.7' },
    'test.fine',
    { keyId: 'key_x' },
    async (tx) => {
      // The intent is durable before the transaction begins.
      t.match(linesOf('test.fine'), [{ event: 'test.fine.intent' }]);
      await tx.selectFrom('workspaces').select('id').execute();
      return 7;
    },
  );
  t.equal(value, 7);
  const [intent, done] = linesOf('test.fine');
  t.match(intent, {
    event: 'test.fine.intent',
    keyId: 'key_x',
    ip: /^[0-9a-f]{32}$/,
    network: /^[0-9a-f]{32}$/,
  });
  t.match(done, { event: 'test.fine.done', keyId: 'key_x', actId: intent?.actId });
  t.equal(receipt.split('.').at(-1), done?.hash.slice(0, 16));
  t.equal(await digestOf(intent?.actId), intent?.hash, 'the row is tied to the record');
  t.equal(await epoch(), before + 1n);
  t.notMatch(world.journalText(), '192.0.2.7');
});

t.test('an act that fails leaves nothing but its records', async (t) => {
  const before = await epoch();
  await t.rejects(
    act(caller, 'test.refused', {}, async (tx) => {
      await tx.updateTable('workspaces').set({ name: 'changed' }).execute();
      throw new SallyportError('CONFLICT', 'no');
    }),
    { code: 'CONFLICT' },
  );
  const [intent, failed] = linesOf('test.refused');
  t.match(failed, { event: 'test.refused.failed', code: 'CONFLICT', actId: intent?.actId });
  t.equal(await digestOf(intent?.actId), null);
  t.equal(await epoch(), before);
  const current = await world.services.workspaces.current(caller);
  t.equal(current.name, 'default');
});

for (const code of ['ECONNRESET', 'EPIPE', '57P01']) {
  for (const [isCommitted, event] of [
    [true, 'done'],
    [false, 'failed'],
  ] as const) {
    t.test(`${code} in place of COMMIT’s answer: the act is looked up, and is ${event}`, async (t) => {
      const name = `test.lost-${code.toLowerCase()}-${event}`;
      const lost = Object.assign(new Error('Connection terminated unexpectedly'), { code });
      const lossy: Pick<Store, 'asWorkspace'> = {
        async asWorkspace(workspaceId, work) {
          await world.store.asWorkspace(workspaceId, async (tx) => {
            await work(tx);
            if (!isCommitted) throw lost;
          });
          throw lost;
        },
      };
      const lossyAct = createActs({ store: lossy, journal, outcomes, markClient, clock });
      await t.rejects(
        lossyAct(caller, name, { keyId: 'key_x' }, () => Promise.resolve()),
        { code: 'INTERNAL' },
      );
      await allEnded(journal);
      const [intent, outcome, ...more] = linesOf(name);
      t.match(outcome, { event: `${name}.${event}`, actId: intent?.actId, keyId: 'key_x' });
      t.same(more, []);
      t.equal(outcome?.code, isCommitted ? undefined : 'INTERNAL');
      t.equal(await digestOf(intent?.actId), isCommitted ? intent?.hash : null);
    });
  }
}

t.test('a refusal at COMMIT is a failure like any other', async (t) => {
  const refusing: Pick<Store, 'asWorkspace'> = {
    asWorkspace: (workspaceId, work) =>
      world.store.asWorkspace(workspaceId, async (tx) => {
        await work(tx);
        throw Object.assign(new Error('could not serialize'), { code: '40001' });
      }),
  };
  const refusedAct = createActs({ store: refusing, journal, outcomes, markClient, clock });
  await t.rejects(
    refusedAct(caller, 'test.serial', {}, () => Promise.resolve()),
    { code: '40001' },
  );
  t.same(
    linesOf('test.serial').map((line) => line.event),
    ['test.serial.intent', 'test.serial.failed'],
  );
});

t.test('with the journal closed nothing is done', async (t) => {
  const other = await startWorld(t);
  await other.journal.close();
  const answer = await other.call(other.first.adminToken, 'POST', '/api/api-keys', {
    name: 'k',
    provider: 'openai',
    value: newKey(),
  });
  t.equal(answer.status, 503);
  t.equal(answer.json.code, 'JOURNAL_UNAVAILABLE');
  const keys = await other.store.asSystem((tx) => tx.selectFrom('provider_keys').select('id').execute());
  t.same(keys, []);
});
