import t from 'tap';
import { createNodeBeat, readNodes, type NodeState } from '../../src/db/node-beat.ts';
import { testDatabase } from '../support/database.ts';

t.test(
  'a node says what it has while it lives, and leaves nothing when it stops in good order',
  async (t) => {
    const { store } = await testDatabase(t);
    const errors: unknown[] = [];
    const node = (nodeId: string, state: NodeState) =>
      createNodeBeat({
        store,
        nodeId,
        bootId: 'boot',
        version: '1',
        state: async () => state,
        onError: (error) => errors.push(error),
      });
    const one = { rootKeys: ['k1a'], activeRootKey: 'k1a' };
    const [a, b] = [node('node_a', one), node('node_b', { ...one })];
    await a.now();
    t.strictSame(await readNodes(store), [], 'a command that only looks has no row');
    a.start();
    b.start();
    a.start();
    await Promise.all([a.now(), b.now()]);
    t.match(
      (await readNodes(store)).toSorted((x, y) => (x.nodeId < y.nodeId ? -1 : 1)),
      [
        { nodeId: 'node_a', isLive: true, ...one },
        { nodeId: 'node_b', isLive: true, ...one },
      ],
    );

    one.rootKeys.push('k1b');
    one.activeRootKey = 'k1b';
    await a.now();
    t.match(
      (await readNodes(store)).find(({ nodeId }) => nodeId === 'node_a'),
      {
        rootKeys: ['k1a', 'k1b'],
        activeRootKey: 'k1b',
      },
    );
    await a.stop();
    await a.stop();
    t.match(await readNodes(store), [{ nodeId: 'node_b' }]);
    await a.now();
    t.equal((await readNodes(store)).length, 1, 'what has stopped beats no more');

    const age = (hours: number) =>
      store.asSystem((tx) =>
        tx
          .insertInto('nodes')
          .values({
            node_id: `node_${hours}`,
            boot_id: 'boot',
            version: '1',
            beat_at: new Date(Date.now() - hours * 3_600_000),
            root_keys: [],
          })
          .execute(),
      );
    await age(1);
    await age(25);
    await b.now();
    t.match(await readNodes(store), [
      { nodeId: 'node_b', isLive: true },
      { nodeId: 'node_1', isLive: false },
    ]);
    await b.stop();
    t.strictSame(errors, []);
  },
);

t.test('a database that is away stops no node, and the row comes back with it', async (t) => {
  const { store } = await testDatabase(t);
  const errors: unknown[] = [];
  let isAway = true;
  const beat = createNodeBeat({
    store: {
      asSystem: async (work) => {
        if (isAway) throw new Error('away');
        return store.asSystem(work);
      },
    },
    nodeId: 'node_a',
    bootId: 'boot',
    version: '1',
    state: async () => ({ rootKeys: [], activeRootKey: 'k1a' }),
    onError: (error) => errors.push(error),
  });
  beat.start();
  await beat.now();
  t.equal(errors.length, 2);
  isAway = false;
  await beat.now();
  t.equal((await readNodes(store)).length, 1);
  isAway = true;
  await beat.stop();
  t.equal(errors.length, 3);
});

t.test('while one beat hangs the others do not queue up behind it', async (t) => {
  const { store } = await testDatabase(t);
  const gate = Promise.withResolvers<void>();
  let asked = 0;
  const beat = createNodeBeat({
    store,
    nodeId: 'node_a',
    bootId: 'boot',
    version: '1',
    state: async () => {
      asked += 1;
      if (asked === 1) await gate.promise;
      return { rootKeys: ['k1a'], activeRootKey: 'k1a' };
    },
    onError: (error) => t.fail(String(error)),
  });
  beat.start();
  const waiting = Array.from({ length: 20 }, () => beat.now());
  gate.resolve();
  await Promise.all(waiting);
  t.equal(asked, 2, 'the one that hung, and one that sees what has changed meanwhile');
  await beat.stop();
  t.strictSame(await readNodes(store), []);
});
