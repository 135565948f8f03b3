import t from 'tap';
import { withClient } from '../../src/db/connection.ts';
import { createEpochHints } from '../../src/db/epoch-hints.ts';
import { databaseLine } from '../faults/database-line.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-two-nodes-0123456789abcdef0123456789';
const upstream = await scriptUpstream(t, { key, script: [{ body: { choices: [] } }] });
const one = await startGateway(t, { upstreams: { openai: upstream.origin } });
const two = await startGateway(t, { upstreams: { openai: upstream.origin }, beside: one });
await one.addKey('openai', key);

const call = async ({ origin }: TestGateway, token: string): Promise<number> =>
  (
    await fetch(`${origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'gpt-4o-mini', messages: [] }),
    })
  ).status;

/** @returns how long the other node goes on serving a token, in ms. */
async function revokedAfter(): Promise<number> {
  const { id, token } = (await one.api('POST', '/tokens', { name: 'app' })).body;
  while ((await call(two, token)) !== 200);
  await one.api('DELETE', `/tokens/${id}`);
  const startedAt = performance.now();
  while ((await call(two, token)) !== 401) if (performance.now() - startedAt > 10_000) break;
  return performance.now() - startedAt;
}

t.test('a token that one node revokes is refused by the other within a second', async (t) => {
  for (let i = 0; i < 5; i += 1) t.ok((await revokedAfter()) < 2000);
});

t.test('and without hints as well: the version row is polled', async (t) => {
  await two.installation.epochHints.stop();
  for (let i = 0; i < 3; i += 1) t.ok((await revokedAfter()) < 2000);
});

t.test('whoever moves the epoch tells those who listen, by whatever connection', async (t) => {
  const line = databaseLine(t);
  const hints = createEpochHints(await line.connection(one.database.connection));
  t.teardown(() => hints.stop());
  let heard = Promise.withResolvers<void>();
  hints.start(() => heard.resolve());
  await heard.promise;
  heard = Promise.withResolvers();
  await one.api('POST', '/tokens', { name: 'another' });
  await heard.promise;
  t.pass('by an act');
  heard = Promise.withResolvers();
  await withClient(one.database.connection, (client) => client.query('update epoch set value = value + 1'));
  await heard.promise;
  t.pass('by hand');

  heard = Promise.withResolvers();
  line.cut();
  await withClient(one.database.connection, (client) => client.query('update epoch set value = value + 1'));
  line.mend();
  await heard.promise;
  t.pass('what was missed while the connection was cut is made up for when it is back');
});
