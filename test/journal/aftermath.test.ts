import path from 'node:path';
import t, { type Test } from 'tap';
import { createAftermath } from '../../src/aftermath.ts';
import { readConfig } from '../../src/config.ts';
import type { Store, Tx } from '../../src/db/store.ts';
import { newId } from '../../src/ids.ts';
import { openInstallation } from '../../src/installation.ts';
import { createActLookup } from '../../src/journal/act-lookup.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { testDatabase } from '../support/database.ts';
import { transactionWait } from '../support/lock-waits.ts';
import { folder, linesOf, openTestJournal, workspaceId } from './fixture.ts';

const log = createLog({ level: 'silent', write: () => {} });
const metrics = createMetrics({ version: 'test', node: process.version });

interface Underway {
  readonly actId: string;
  readonly digest: Buffer;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** The transaction of an act as a server still has it whose client is gone: its row is inserted, and nobody sees it. */
async function beginAct(t: Test, store: Store, dir: string): Promise<Underway> {
  const actId = newId('act');
  const dead = await openTestJournal(t, dir);
  const intent = await dead.append('token.create.intent', {
    actId,
    workspaceId,
    actor: { type: 'token', id: 'tok_1' },
  });
  await dead.close();
  const digest = Buffer.from(intent.hash, 'hex');
  const inserted = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  const work = async (tx: Tx): Promise<void> => {
    await tx.insertInto('acts').values({ act_id: actId, workspace_id: workspaceId, digest }).execute();
    inserted.resolve();
    await end.promise;
  };
  const ended = store.asWorkspace(workspaceId, work).catch(() => {});
  await inserted.promise;
  return {
    actId,
    digest,
    commit: () => (end.resolve(), ended),
    rollback: () => (end.reject(new Error('rolled back')), ended),
  };
}

async function outcomesOf(dir: string, actId: string): Promise<unknown[]> {
  return (await linesOf(dir))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((record) => record['actId'] === actId && !String(record['event']).endsWith('.intent'))
    .map((record) => record['event']);
}

/** Resolves when a record of the act's outcome is durable. */
async function outcomeOf(journal: Journal, actId: string): Promise<unknown[]> {
  for (;;) {
    const more = Promise.withResolvers<void>();
    const stop = journal.onAcknowledged(() => more.resolve());
    const found = await outcomesOf(journal.dir, actId);
    if (found.length === 0) await more.promise;
    stop();
    if (found.length > 0) return found;
  }
}

t.test('an act whose COMMIT outlives its process is waited for, and is done', async (t) => {
  const { connection, store } = await testDatabase(t);
  const dataDir = path.dirname(await folder(t));
  const dir = path.join(dataDir, 'journal');
  const act = await beginAct(t, store, dir);
  const config = readConfig({ DATA_DIR: dataDir, PORT: '0' });
  const opening = openInstallation(config, { log, metrics, database: { connection, stop: async () => {} } });
  await Promise.race([opening, transactionWait(store)]);
  await act.commit();
  const installation = await opening;
  t.teardown(() => installation.close());
  t.same(await outcomesOf(dir, act.actId), ['token.create.done']);
});

t.test('one that does not end in time is looked at again, without holding up a start', async (t) => {
  const { store } = await testDatabase(t);
  const dir = await folder(t);
  for (const [how, event] of [
    ['commit', 'token.create.done'],
    ['rollback', 'token.create.failed'],
  ] as const) {
    const act = await beginAct(t, store, dir);
    const journal = await openTestJournal(t, dir);
    const lookup = createActLookup(store, { waitMs: 10 });
    const aftermath = createAftermath({ journal, lookup, log, lookMs: 10 });
    await aftermath.start();
    t.same(await outcomesOf(dir, act.actId), []);
    await act[how]();
    t.same(await outcomeOf(journal, act.actId), [event]);
    await aftermath.stop();
    await journal.close();
  }
});

t.test('a look leaves nothing, and sees its workspace', async (t) => {
  const { store } = await testDatabase(t);
  const lookup = createActLookup(store);
  const act = await beginAct(t, store, await folder(t));
  await t.rejects(createActLookup(store, { waitMs: 10 })(act.actId, workspaceId), { code: '55P03' });
  await act.commit();
  t.equal(await lookup(act.actId, workspaceId), true);
  t.equal(await lookup(newId('act'), workspaceId), false);
  await t.rejects(lookup(act.actId, 'null and void'), TypeError);
  const rows = await store.asSystem((tx) => tx.selectFrom('acts').selectAll().execute());
  t.match(rows, [{ act_id: act.actId, digest: act.digest }], 'one row, as it was');
});
