import { cp } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { readConfig } from '../../src/config.ts';
import { createNodeBeat, readNodes } from '../../src/db/node-beat.ts';
import type { Store } from '../../src/db/store.ts';
import { openInstallation } from '../../src/installation.ts';
import { demandAlone } from '../../src/journal/node-alone.ts';
import { nodeIdOf } from '../../src/journal/node-id.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { testDatabase } from '../support/database.ts';
import { begin, folder, linesOf, newCall, openTestJournal } from './fixture.ts';

const log = createLog({ level: 'silent', write: () => {} });
const metrics = createMetrics({ version: 'test', node: process.version });

const beatOf = (store: Store, nodeId: string, bootId: string) =>
  createNodeBeat({
    store,
    nodeId,
    bootId,
    version: '1',
    state: async () => ({ rootKeys: ['k1a'], activeRootKey: 'k1a' }),
    onError: (error) => {
      throw error;
    },
  });

/** A folder with a process in it that has beaten. */
async function node(t: Test, store: Store) {
  const dir = await folder(t);
  const nodeId = await nodeIdOf(dir);
  await demandAlone({ dir, nodeId, store, pause: unasked, onWait: unasked });
  const journal = await openTestJournal(t, dir, { nodeId, bootId: 'boot' });
  const beat = beatOf(store, nodeId, 'boot');
  beat.start();
  await beat.now();
  t.teardown(() => beat.stop());
  return { beat, dir, journal, nodeId };
}

function unasked(): never {
  throw new Error('nothing was to be waited for');
}

t.test('a copy beside the living original is refused, and ends none of its calls', async (t) => {
  const { connection, store } = await testDatabase(t);
  const { beat, dir, journal } = await node(t, store);
  await journal.append('use.begin', begin(newCall()));
  const copy = path.join(path.dirname(await folder(t)), 'data');
  await cp(dir, path.join(copy, 'journal'), { recursive: true });
  const before = await linesOf(path.join(copy, 'journal'));

  const beating = setInterval(() => void beat.now(), 100);
  t.teardown(() => clearInterval(beating));
  const database = { connection, stop: async () => {} };
  const config = readConfig({ DATA_DIR: copy, PORT: '0', DATABASE_URL: 'postgres://127.0.0.1:1/named' });
  await t.rejects(openInstallation(config, { log, metrics, database }), {
    code: 'CONFIG_INVALID',
    message: /^A gateway already runs as node_/,
  });
  t.same(await linesOf(path.join(copy, 'journal')), before);
});

t.test('a copy waits for an original that is gone, once', async (t) => {
  const { store } = await testDatabase(t);
  const { dir, nodeId } = await node(t, store);
  const copy = await folder(t);
  await cp(dir, copy, { recursive: true });
  const waits: string[] = [];
  const age = () =>
    store.asSystem((tx) =>
      tx
        .updateTable('nodes')
        .set({ beat_at: new Date(Date.now() - 60_000) })
        .execute(),
    );
  const onWait = (): void => void waits.push('told');
  const look = () => demandAlone({ dir: copy, nodeId, store, pause: age, onWait });
  await look();
  t.same(waits, ['told']);
  await look();
  t.same(waits, ['told']);
});

t.test('a start waits for no process of its own folder, dead or alive', async (t) => {
  const { store } = await testDatabase(t);
  const { dir, journal, nodeId } = await node(t, store);
  await demandAlone({ dir, nodeId, store, pause: unasked, onWait: unasked });
  t.equal((await readNodes(store)).length, 1, 'one that lives keeps its row');
  await journal.close();
  await demandAlone({ dir, nodeId, store, pause: unasked, onWait: unasked });
  t.strictSame(await readNodes(store), [], 'one that is gone looks alive no more');
});

t.test('an original waits, too, for a copy that lives', async (t) => {
  const { store } = await testDatabase(t);
  const { beat, dir, nodeId } = await node(t, store);
  await beat.stop();
  const other = beatOf(store, nodeId, 'other');
  other.start();
  await other.now();
  t.teardown(() => other.stop());
  const pause = () => other.now();
  await t.rejects(demandAlone({ dir, nodeId, store, pause, onWait: () => {} }), { code: 'CONFIG_INVALID' });
});

t.test('a start that waits to be sure can be ended', async (t) => {
  const { connection, store } = await testDatabase(t);
  const { beat, dir } = await node(t, store);
  await beat.stop();
  const gone = beatOf(store, await nodeIdOf(dir), 'gone');
  gone.start();
  await gone.now();
  t.teardown(() => gone.stop());
  const copy = path.join(path.dirname(await folder(t)), 'data');
  await cp(dir, path.join(copy, 'journal'), { recursive: true });
  const stop = new AbortController();
  const waiting = createLog({
    level: 'warn',
    write: (line) => (line.includes('node.looked-for') ? stop.abort() : undefined),
  });
  const config = readConfig({ DATA_DIR: copy, PORT: '0', DATABASE_URL: 'postgres://127.0.0.1:1/named' });
  const database = { connection, stop: async () => {} };
  const opening = openInstallation(config, { log: waiting, metrics, database, signal: stop.signal });
  await t.rejects(opening, { name: 'AbortError' });
});
