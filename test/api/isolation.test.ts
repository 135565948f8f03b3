import t from 'tap';
import { newSeal } from '../support/seal.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const a = world.first;
const b = await world.newWorkspace('b');
const alice = await world.newUser(a.adminToken, 'member', 'alice');
const bob = await world.newUser(a.adminToken, 'member', 'bob');

interface Things {
  key: string;
  token: string;
  user: string;
  seal: string;
  alias: string;
  price: string;
}

const [seal, otherSeal] = [newSeal(), newSeal()];
const sealHeaders = { 'x-sallyport-seal': otherSeal.secret, 'x-sallyport-new-seal': seal.secret };

async function thingsOf(adminToken: string, userId: string): Promise<Things> {
  const owner = await world.callerOf(adminToken);
  const key = await world.services.keys.create(
    owner,
    { name: 'k', provider: 'openai', userId },
    Buffer.from(newKey()),
  );
  const { token } = await world.services.tokens.create(owner, { name: 't', userId });
  const made = await world.services.seals.create(owner, { name: 's', publicKey: seal.publicKey });
  await world.services.seals.create(owner, { name: 'o', publicKey: otherSeal.publicKey });
  const named = { alias: `fast-${userId}`, target: 'openai/gpt-4o-mini' };
  const alias = await world.services.aliases.create(owner, named);
  const priced = { provider: 'openai', model: `m-${userId}`, prices: { input: '1' } };
  const price = await world.services.prices.create(owner, priced);
  return { key: key.id, token: token.id, user: userId, seal: made.id, alias: alias.id, price: price.id };
}

const ofAlice = await thingsOf(a.adminToken, alice.id);
const ofOwnerOfB = await thingsOf(b.adminToken, (await world.callerOf(b.adminToken)).userId);

/** Everything that takes an id, in paths and bodies. */
function requests({ key, token, user, seal, alias, price }: Things): [string, string, unknown?][] {
  return [
    ['GET', `/api/api-keys/${key}`],
    ['PUT', `/api/api-keys/${key}`, { name: 'taken' }],
    ['PATCH', `/api/api-keys/${key}`, { isActive: false }],
    ['PATCH', `/api/api-keys/${key}`, { value: newKey() }],
    ['DELETE', `/api/api-keys/${key}`],
    ['POST', '/api/api-keys/test', { keyId: key }],
    ['POST', '/api/api-keys', { name: 'n', provider: 'openai', value: newKey(), userId: user }],
    ['POST', '/api/api-keys', { name: 'n', provider: 'openai', value: newKey(), sharedWith: [user] }],
    ...ofSeals(seal, key),
    ['GET', `/api/tokens/${token}`],
    ['GET', `/api/explain?token=${token}&model=gpt-4o`],
    ['PATCH', `/api/tokens/${token}`, { requestsPerMinute: 1_000 }],
    ['DELETE', `/api/tokens/${token}`],
    ['POST', '/api/tokens', { name: 'n', userId: user }],
    ['POST', '/api/tokens', { name: 'n', keyIds: [key] }],
    ['DELETE', `/api/aliases/${alias}`],
    ['DELETE', `/api/prices/${price}`],
    ['GET', `/api/users/${user}`],
    ['PATCH', `/api/users/${user}`, { storeKeys: false, confirm: 'shred' }],
    ['PATCH', `/api/users/${user}?dryRun=true`, { storeKeys: false }],
    ['DELETE', `/api/users/${user}`],
    ['GET', `/api/members/${user}`],
    ['PATCH', `/api/members/${user}`, { role: 'viewer' }],
    ['DELETE', `/api/members/${user}`],
  ];
}

/** A seal is its workspace's: who may store keys there may seal them to it. */
function ofSeals(seal: string, key: string): [string, string, unknown?][] {
  const sealed = { name: 'n', provider: 'openai', protection: 'sealed', sealId: seal, value: newKey() };
  return [
    ['GET', `/api/seals/${seal}`],
    ['DELETE', `/api/seals/${seal}`],
    ['POST', `/api/seals/${seal}/reseal`, {}],
    ['POST', `/api/seals/${seal}/reseal`, { keyIds: [key] }],
    ['POST', '/api/api-keys', sealed],
  ];
}

/** Lists and sums that name an id as a filter: empty, as for an id that nobody has. */
function filters({ key, token, user }: Things): string[] {
  return [
    `/api/api-keys?userId=${user}`,
    `/api/tokens?userId=${user}`,
    `/api/usage?userId=${user}`,
    `/api/usage?keyId=${key}`,
    `/api/usage/calls?tokenId=${token}`,
    `/api/audit?keyId=${key}`,
    `/api/audit?userId=${user}`,
  ];
}

async function snapshot(): Promise<unknown> {
  return world.store.asSystem(async (tx) => ({
    keys: await tx.selectFrom('provider_keys').select(['id', 'mac', 'version']).orderBy('id').execute(),
    tokens: await tx.selectFrom('tokens').select(['id', 'mac', 'user_id']).orderBy('id').execute(),
    seals: await tx.selectFrom('seals').select(['id', 'mac']).orderBy('id').execute(),
    aliases: await tx.selectFrom('model_aliases').select(['id', 'mac']).orderBy('id').execute(),
    prices: await tx.selectFrom('price_overrides').select(['id', 'mac']).orderBy('id').execute(),
    users: await tx.selectFrom('users').select(['id', 'name']).orderBy('id').execute(),
    members: await tx.selectFrom('memberships').select(['user_id', 'role']).orderBy('user_id').execute(),
  }));
}

t.test('another workspace does not exist', async (t) => {
  for (const [who, token, things] of [
    ['B’s owner at A', b.adminToken, ofAlice],
    ['A’s owner, who is the operator, at B', a.adminToken, ofOwnerOfB],
    ['A’s member at B', bob.token, ofOwnerOfB],
  ] as const) {
    const before = await snapshot();
    for (const [method, url, body] of requests(things)) {
      const answer = await call(token, method, url, body, sealHeaders);
      // A member is told that he may not touch people at all before anybody looks whether they exist.
      const isBarred = who.startsWith('A’s member') && answer.json.code === 'FORBIDDEN';
      t.ok(answer.status === 404 || isBarred, `${who}: ${method} ${url} ${answer.status}`);
    }
    for (const url of filters(things)) {
      const answer = await call(token, 'GET', url);
      t.same(answer.json.data, [], `${who}: ${url}`);
    }
    t.same(await snapshot(), before, 'nothing has changed');
  }
});

t.test('in one workspace a member does not see another’s things', async (t) => {
  const before = await snapshot();
  for (const [method, url, body] of requests(ofAlice)) {
    // Members may share with whom they like in their workspace.
    if (typeof body === 'object' && body !== null && 'sharedWith' in body) continue;
    if (/seals|seal_/.test(url + JSON.stringify(body))) continue;
    const answer = await call(bob.token, method, url, body);
    const isBarred = /users|members|aliases|prices/.test(url) && answer.json.code === 'FORBIDDEN';
    t.ok(answer.status === 404 || isBarred, `${method} ${url} ${answer.status}`);
  }
  for (const url of filters(ofAlice)) t.same((await call(bob.token, 'GET', url)).json.data, [], url);
  t.same(await snapshot(), before);
  const names = (await call(bob.token, 'GET', '/api/users')).json.data.map(
    (user: { name: string }) => user.name,
  );
  t.same(names, ['bob']);
});

t.test('a shared key is seen and not changed', async (t) => {
  const shared = await call(a.adminToken, 'PATCH', `/api/api-keys/${ofAlice.key}`, { sharedWith: [bob.id] });
  t.same(shared.json.sharedWith, [bob.id]);
  t.equal(shared.json.source, 'own', 'its owner’s, to who administers it');
  const seen = await call(bob.token, 'GET', `/api/api-keys/${ofAlice.key}`);
  t.match(seen.json, { source: 'shared', userId: alice.id });
  for (const [method, url, body] of [
    ['PATCH', `/api/api-keys/${ofAlice.key}`, { isActive: false }],
    ['PATCH', `/api/api-keys/${ofAlice.key}`, { value: newKey() }],
    ['PUT', `/api/api-keys/${ofAlice.key}`, { sharedWith: 'workspace' }],
    ['DELETE', `/api/api-keys/${ofAlice.key}`, undefined],
    ['POST', '/api/api-keys/test', { keyId: ofAlice.key }],
  ] as const) {
    t.equal((await call(bob.token, method, url, body)).status, 403, `${method} ${url}`);
  }
  t.equal((await call(bob.token, 'POST', '/api/tokens', { name: 'n', keyIds: [ofAlice.key] })).status, 201);
  await call(a.adminToken, 'PATCH', `/api/api-keys/${ofAlice.key}`, { sharedWith: 'workspace' });
  t.equal((await call(bob.token, 'GET', `/api/api-keys/${ofAlice.key}`)).json.source, 'shared');
  await call(a.adminToken, 'PATCH', `/api/api-keys/${ofAlice.key}`, { sharedWith: null });
  t.equal((await call(bob.token, 'GET', `/api/api-keys/${ofAlice.key}`)).status, 404);
});

t.test(
  'behind the code stands the database: a query without its workspace finds nothing of another',
  async (t) => {
    const workspace = (await world.callerOf(b.adminToken)).workspaceId;
    await world.store.asWorkspace(workspace, async (tx) => {
      for (const table of [
        'provider_keys',
        'provider_key_versions',
        'seals',
        'tokens',
        'model_aliases',
        'price_overrides',
        'users',
        'memberships',
        'acts',
      ] as const) {
        const rows = await tx.selectFrom(table).select('workspace_id').execute();
        t.ok(rows.length > 0, table);
        t.ok(
          rows.every((row) => row.workspace_id === workspace),
          table,
        );
      }
    });
  },
);

t.test('deleting a user shreds his keys and revokes his tokens', async (t) => {
  const carol = await world.newUser(a.adminToken, 'member', 'carol');
  const things = await thingsOf(a.adminToken, carol.id);
  const gone = await call(a.adminToken, 'DELETE', `/api/users/${carol.id}`);
  t.match(gone.json, { id: carol.id, deleted: true, receipt: /\.\d+\.[0-9a-f]{16}$/ });
  t.equal((await call(carol.token, 'GET', '/api/users')).status, 401);
  t.equal((await call(a.adminToken, 'GET', `/api/api-keys/${things.key}`)).status, 404);
  t.equal((await call(a.adminToken, 'GET', `/api/tokens/${things.token}`)).status, 404);
  const left = await world.store.asSystem((tx) =>
    tx.selectFrom('provider_key_versions').select('key_id').where('key_id', '=', things.key).execute(),
  );
  t.same(left, []);
  t.equal((await call(a.adminToken, 'DELETE', `/api/users/${carol.id}`)).status, 404);
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});
