import t from 'tap';
import { tokenMacFields } from '../../src/vault/row-macs.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;

t.test('a token is changed in part, and keeps its secret and what was not named', async (t) => {
  const made = await call(owner, 'POST', '/api/tokens', {
    name: 'app',
    models: ['gpt-4o'],
    networks: ['10.0.0.0/8'],
    policy: { maxAttempts: 5, fallbackModels: ['fast'], timeouts: { totalMs: 9, connectMs: 8 } },
  });
  const { token: _, ...before } = made.json;
  const url = `/api/tokens/${before.id}`;
  const rowOf = () =>
    world.store.asSystem((tx) =>
      tx.selectFrom('tokens').selectAll().where('id', '=', before.id).executeTakeFirstOrThrow(),
    );
  const row = await rowOf();
  t.same((await call(owner, 'PATCH', url, {})).json, before, 'nothing is nothing');

  const expiresAt = new Date(world.time.now + 60_000).toISOString();
  const change = {
    name: 'app 2',
    expiresAt,
    providers: ['openai'],
    models: null,
    requestsPerMinute: 5,
    tags: ['team-a'],
    networks: ['192.0.2.7'],
    policy: { maxAttempts: 2, timeouts: { totalMs: null } },
  };
  const changed = await call(owner, 'PATCH', url, change);
  t.equal(changed.status, 200);
  t.same(changed.json, {
    ...before,
    ...change,
    networks: ['192.0.2.7/32'],
    policy: {
      ...before.policy,
      maxAttempts: 2,
      timeouts: { ...before.policy.timeouts, totalMs: null },
    },
  });
  t.same((await call(owner, 'GET', url)).json, changed.json);
  const after = await rowOf();
  t.ok(after.verifier.equals(row.verifier));
  t.notOk(after.mac.equals(row.mac));
  t.ok(await world.vault.checkRowMac(after.workspace_id, 'tokens', tokenMacFields(after), after.mac));
  t.match(await call(owner, 'PATCH', url, { policy: null, expiresAt: null }), {
    json: { policy: { maxAttempts: 3, fallbackModels: [] }, expiresAt: null, requestsPerMinute: 5 },
  });

  await call(owner, 'PATCH', url, { expiresAt });
  world.time.now += 60_000;
  t.equal((await call(owner, 'GET', url)).json.status, 'expired');
  const later = new Date(world.time.now + 60_000).toISOString();
  t.equal((await call(owner, 'PATCH', url, { expiresAt: later })).json.status, 'active');

  const records = world
    .journalText()
    .split('\n')
    .filter((line) => line.includes('"token.update.') && line.includes(before.id));
  t.equal(records.length, 8, 'an intent and an outcome each, and none for nothing');
  t.match(JSON.parse(records[0] ?? ''), {
    event: 'token.update.intent',
    changed: Object.keys(change),
    requestsPerMinute: 5,
    expiresAt,
  });
  t.notMatch(records.join(), /app 2|team-a/);
});

t.test('a changed token is held to what holds for a new one', async (t) => {
  const { id } = (await call(owner, 'POST', '/api/tokens', { name: 'x' })).json;
  const admin = (await call(owner, 'POST', '/api/tokens', { name: 'x', kind: 'admin' })).json;
  const key = (await call(owner, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', value: newKey() }))
    .json.id;
  for (const [of, change, status] of [
    [id, { kind: 'admin' }, 400],
    [id, { userId: 'usr_x' }, 400],
    [id, { name: null }, 400],
    [id, { requestsPerMinute: null }, 400],
    [id, { requestsPerMinute: 0 }, 400],
    [id, { endpoints: ['foo.*'] }, 400],
    [id, { providers: ['gemini'] }, 400],
    [id, { networks: ['10.1.2.3/8'] }, 400],
    [id, { policy: { maxAttempts: 11 } }, 400],
    [id, { expiresAt: new Date(world.time.now).toISOString() }, 400],
    [id, { keyIds: [`key_${'0'.repeat(32)}`] }, 404],
    [id, { keyIds: [key] }, 200],
    [admin.id, { models: ['gpt-4o'] }, 400],
    [admin.id, { requestsPerMinute: 2 }, 400],
    [admin.id, { name: 'y', tags: ['ci'], expiresAt: '2099-01-01T00:00:00Z' }, 200],
    ['tok_x', { name: 'y' }, 404],
  ] as const)
    t.equal((await call(owner, 'PATCH', `/api/tokens/${of}`, change)).status, status, JSON.stringify(change));
  await call(owner, 'DELETE', `/api/tokens/${id}`);
  const late = await call(owner, 'PATCH', `/api/tokens/${id}`, { expiresAt: '2099-01-01T00:00:00Z' });
  t.match(late, { status: 409, json: { code: 'CONFLICT', detail: /revoked/ } });

  const member = await world.newUser(owner, 'member');
  const his = (await call(owner, 'POST', '/api/tokens', { name: 'x', userId: member.id })).json.id;
  t.equal((await call(owner, 'PATCH', `/api/tokens/${his}`, { keyIds: [key] })).status, 404, 'not his');
  t.equal((await call(member.token, 'PATCH', `/api/tokens/${his}`, { name: 'mine' })).status, 200);
});

t.test('a row that was edited round the gateway is not made good by a change', async (t) => {
  const { id } = (await call(owner, 'POST', '/api/tokens', { name: 'x', models: ['gpt-4o'] })).json;
  await world.tamper('tokens', `update tokens set models = null where id = '${id}'`);
  const refused = await call(owner, 'PATCH', `/api/tokens/${id}`, { name: 'y' });
  t.match(refused, { status: 409, json: { code: 'CONFLICT', detail: /behind the gateway/ } });
  const row = await world.store.asSystem((tx) =>
    tx.selectFrom('tokens').selectAll().where('id', '=', id).executeTakeFirstOrThrow(),
  );
  t.notOk(await world.vault.checkRowMac(row.workspace_id, 'tokens', tokenMacFields(row), row.mac));
  t.equal((await call(owner, 'DELETE', `/api/tokens/${id}`)).status, 200);
});
