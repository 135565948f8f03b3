import { sql } from 'kysely';
import t from 'tap';
import { createLastUsed } from '../../src/gateway/last-used.ts';
import { startGateway } from '../support/gateway.ts';
import { transactionWait } from '../support/lock-waits.ts';

t.test(
  'processes that note the same tokens and keys in another order wait for each other, and none gives way',
  async (t) => {
    const gateway = await startGateway(t);
    const { store } = gateway.installation;
    const ids: string[] = [];
    for (let i = 0; i < 30; i += 1) ids.push((await gateway.api('POST', '/tokens', { name: 'app' })).body.id);
    const keyId = await gateway.addKey('openai', 'sk-test-last-used-0123456789abcdef');
    const [one, two] = [createLastUsed({ store }), createLastUsed({ store })];
    const from = Date.parse('2030-01-01T00:00:00Z');
    const rounds = 12;
    for (let round = 0; round < rounds; round += 1) {
      for (const id of ids) one.note(id, keyId, from + round);
      for (const id of ids.toReversed()) two.note(id, keyId, from + round);
      await Promise.all([one.flush(), two.flush()]);
    }
    const used = await gateway.database.store.asSystem(async (tx) => [
      ...(await tx.selectFrom('tokens').select('last_used_at').where('id', 'in', ids).execute()),
      ...(await tx.selectFrom('provider_keys').select('last_used_at').where('id', '=', keyId).execute()),
    ]);
    t.equal(used.length, ids.length + 1);
    t.ok(used.every((row) => row.last_used_at?.getTime() === from + rounds - 1));
    const [{ deadlocks } = { deadlocks: -1 }] = await gateway.database.owner<{ deadlocks: number }>(
      `select deadlocks::int from pg_stat_database where datname = current_database()`,
    );
    t.equal(deadlocks, 0);
  },
);

t.test('nobody who holds a key waits for a token that is noted with it', async (t) => {
  const gateway = await startGateway(t);
  const { store } = gateway.installation;
  const tokenId = (await gateway.api('POST', '/tokens', { name: 'app' })).body.id;
  const keyId = await gateway.addKey('openai', 'sk-test-last-used-0123456789abcdef');
  const lastUsed = createLastUsed({ store });
  lastUsed.note(tokenId, keyId, Date.parse('2030-01-01T00:00:00Z'));
  const flushed = await gateway.database.store.asSystem(async (tx) => {
    await sql`select from provider_keys where id = ${keyId} for update`.execute(tx);
    const flushing = lastUsed.flush();
    await transactionWait(gateway.database.store);
    await sql`select from tokens where id = ${tokenId} for update nowait`.execute(tx);
    return { flushing };
  });
  await flushed.flushing;
  const row = await store.asSystem((tx) =>
    tx.selectFrom('provider_keys').select('last_used_at').where('id', '=', keyId).executeTakeFirst(),
  );
  t.same(row?.last_used_at, new Date('2030-01-01T00:00:00Z'));
});
