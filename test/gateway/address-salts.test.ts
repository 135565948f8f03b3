import t from 'tap';
import { supplySalts } from '../../src/admin/salt-supply.ts';
import { monthOf, nextMonthOf } from '../../src/db/months.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-salts-0123456789abcdef0123456789abcdef';
const upstream = await scriptUpstream(t, { key, script: [{ body: {} }] });
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin },
  settings: { TRUSTED_PROXIES: '127.0.0.1', ALLOW_PLAIN_HTTP: 'true' },
});
await gateway.addKey('openai', key, { sharedWith: 'workspace' });
const { store } = gateway.database;
const { vault } = gateway.installation;
const now = new Date();
const months = [monthOf(now), nextMonthOf(now)];
const userId = (await gateway.api('GET', '/users')).body.data[0].id as string;

/** The record of a call's beginning. */
async function begin(token: string, address: string) {
  const answer = await ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { 'x-api-key': token, 'x-forwarded-for': address },
    body: { model: 'gpt-4o' },
  });
  t.equal(answer.status, 200);
  await gateway.shipped();
  const row = await store.asSystem((tx) =>
    tx
      .selectFrom('journal')
      .select('line')
      .where('event', '=', 'use.begin')
      .where('call_id', '=', answer.header('x-request-id') ?? '')
      .executeTakeFirstOrThrow(),
  );
  return JSON.parse(row.line) as { clientIpHash: string; network: string };
}

function saltsOf(user: string) {
  return store.asSystem((tx) =>
    tx
      .selectFrom('address_salts')
      .select(['user_id as userId', 'month', 'salt'])
      .where('user_id', '=', user)
      .orderBy('month')
      .execute(),
  );
}

async function asOwner(statement: string): Promise<void> {
  await gateway.database.owner(
    `begin; alter table address_salts no force row level security; ${statement};
     update epoch set value = value + 1; alter table address_salts force row level security; commit`,
  );
  await gateway.app.dataPlane.epoch.refresh();
}

t.test('with a user’s first token come his salts of this month and the next', async (t) => {
  t.same(
    (await saltsOf(userId)).map(({ month }) => month),
    months,
  );
  const { body: user } = await gateway.api('POST', '/users', { name: 'later' });
  t.same(await saltsOf(user.id), []);
  await gateway.api('POST', '/tokens', { name: 'one', userId: user.id });
  const first = await saltsOf(user.id);
  t.equal(first.length, 2);
  await gateway.api('POST', '/tokens', { name: 'two', userId: user.id });
  t.same(await saltsOf(user.id), first, 'a further token keeps them');
});

t.test('calls and acts are recorded under the salt of the database, also with its rows away', async (t) => {
  const addressSalts = await saltsOf(userId);
  const owner = { workspaceId: gateway.workspaceId, addressSalts };
  const recorded = await begin(gateway.token, '198.51.100.7');
  t.match(recorded, vault.markClient('198.51.100.7', owner));
  t.match(await begin(gateway.token, '::ffff:198.51.100.7'), vault.markClient('198.51.100.7', owner));
  // What stands left of an untrusted hop is the client's own invention.
  t.match(await begin(gateway.token, '192.0.2.1, 198.51.100.7'), vault.markClient('198.51.100.7', owner));
  t.match(await begin(gateway.token, 'not an address'), vault.markClient('127.0.0.1', owner));

  await gateway.api('PATCH', '/workspaces/current', { name: 'renamed' });
  await gateway.shipped();
  const acts = await store.asSystem((tx) =>
    tx.selectFrom('journal').select('line').where('event', '=', 'workspace.update.intent').execute(),
  );
  const marks = vault.markClient('127.0.0.1', owner);
  t.match(JSON.parse(acts[0]?.line ?? '{}'), { ip: marks.clientIpHash, network: marks.network });

  // No call asks for its salt: what was read with the token holds until the epoch moves.
  await begin(gateway.token, '198.51.100.8');
  await gateway.database.owner(
    `begin; alter table address_salts no force row level security; delete from address_salts;
     alter table address_salts force row level security; commit`,
  );
  t.equal((await begin(gateway.token, '198.51.100.7')).clientIpHash, recorded.clientIpHash);
});

t.test('salts that are missing are made again, for whoever has a token', async (t) => {
  const silent = (await gateway.api('POST', '/users', { name: 'silent' })).body.id as string;
  const epoch = () =>
    store.asSystem((tx) => tx.selectFrom('epoch').select('value').executeTakeFirstOrThrow());
  const before = await epoch();
  const supply = (at: Date) => supplySalts({ store, vault, clock: () => at.getTime() });
  await supply(now);
  const made = await saltsOf(userId);
  t.same(
    made.map(({ month }) => month),
    months,
  );
  t.not((await epoch()).value, before.value, 'callers are read anew');
  const after = await epoch();
  await supply(now);
  t.same(await saltsOf(userId), made);
  t.same(await epoch(), after, 'and not again and again');
  t.same(await saltsOf(silent), []);

  const next = new Date(`${months[1]}T00:00:00Z`);
  await supply(next);
  t.same(
    (await saltsOf(userId)).map(({ month }) => month),
    [...months, nextMonthOf(next)],
    'while there are records of a month its salts stay',
  );
});

t.test('a salt that was exchanged in the database is used by nobody', async (t) => {
  const { body: victim } = await gateway.api('POST', '/users', { name: 'victim' });
  const { body: token } = await gateway.api('POST', '/tokens', { name: 'his', userId: victim.id });
  const [genuine] = await saltsOf(victim.id);
  const genuineHash = (await begin(token.token, '198.51.100.7')).clientIpHash;
  const known = 'ab'.repeat(32);
  await asOwner(`update address_salts set salt = '\\x${known}' where user_id = '${victim.id}'`);
  const recorded = (await begin(token.token, '198.51.100.7')).clientIpHash;
  const asKnown = [
    { userId: victim.id as string, month: months[0] as string, salt: Buffer.from(known, 'hex') },
  ];
  for (const addressSalts of [asKnown, genuine === undefined ? [] : [genuine]]) {
    t.not(
      recorded,
      vault.markClient('198.51.100.7', { workspaceId: gateway.workspaceId, addressSalts }).clientIpHash,
    );
  }
  t.ok(gateway.logLines.some((line) => line.includes('forged-row') && line.includes(victim.id)));

  // Somebody else's salt, with the MAC that it has there.
  await asOwner(
    `update address_salts as a set salt = b.salt, mac = b.mac from address_salts b
     where a.user_id = '${victim.id}' and b.user_id = '${userId}' and a.month = b.month`,
  );
  const swapped = (await saltsOf(userId)).map((salt) => ({ ...salt, userId: victim.id as string }));
  t.not(
    (await begin(token.token, '198.51.100.7')).clientIpHash,
    vault.markClient('198.51.100.7', { workspaceId: gateway.workspaceId, addressSalts: swapped })
      .clientIpHash,
  );
  t.not(genuineHash, recorded);
});
