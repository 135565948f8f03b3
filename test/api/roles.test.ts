import t from 'tap';
import type { Role } from '../../src/db/schema.ts';
import { newSeal } from '../support/seal.ts';
import { newKey, startWorld } from './world.ts';

const roles: readonly Role[] = ['owner', 'admin', 'member', 'viewer', 'auditor'];
const all = 'owner admin member viewer auditor';

/** Who may, route by route, written down a second time on purpose: what the table allows by mistake is found here. */
const allowed: Record<string, string> = {
  'POST /api/api-keys': 'owner admin member',
  'GET /api/api-keys': 'owner admin member viewer',
  'GET /api/api-keys/stats': 'owner admin member viewer',
  'POST /api/api-keys/test': 'owner admin member',
  'POST /api/api-keys/find': all,
  'POST /api/api-keys/import': '',
  'GET /api/api-keys/:id': 'owner admin member viewer',
  'PUT /api/api-keys/:id': 'owner admin member',
  'PATCH /api/api-keys/:id': 'owner admin member',
  'DELETE /api/api-keys/:id': 'owner admin member',
  'GET /api/intake-key': all,
  'POST /api/seals': 'owner admin member',
  'GET /api/seals': 'owner admin member viewer',
  'GET /api/seals/:id': 'owner admin member viewer',
  'DELETE /api/seals/:id': 'owner admin member',
  'POST /api/seals/:id/reseal': 'owner admin member',
  'POST /api/tokens': 'owner admin member',
  'GET /api/tokens': 'owner admin member viewer',
  'GET /api/tokens/:id': 'owner admin member viewer',
  'PATCH /api/tokens/:id': 'owner admin member',
  'DELETE /api/tokens/:id': 'owner admin member',
  'POST /api/aliases': 'owner admin',
  'GET /api/aliases': all,
  'DELETE /api/aliases/:id': 'owner admin',
  'POST /api/prices': 'owner admin',
  'GET /api/prices': all,
  'DELETE /api/prices/:id': 'owner admin',
  'GET /api/explain': 'owner admin member viewer',
  'POST /api/users': 'owner admin',
  'GET /api/users': all,
  'GET /api/users/:id': all,
  'GET /api/users/:id/export': all,
  'PATCH /api/users/:id': 'owner admin member',
  'DELETE /api/users/:id': 'owner admin',
  'GET /api/members': all,
  'GET /api/members/:id': all,
  'PUT /api/members/:id': 'owner admin',
  'PATCH /api/members/:id': 'owner admin',
  'DELETE /api/members/:id': 'owner admin',
  'POST /api/workspaces': '',
  'GET /api/keyring': '',
  'POST /api/keyring/stage': '',
  'POST /api/keyring/promote': '',
  'POST /api/keyring/rewrap': '',
  'POST /api/keyring/retire': '',
  'GET /api/workspaces': all,
  'GET /api/workspaces/current': all,
  'PATCH /api/workspaces/current': 'owner admin',
  'GET /api/providers': all,
  'POST /api/journal/reproject': '',
  'GET /api/usage': all,
  'POST /api/usage/recost': '',
  'GET /api/usage/calls': all,
  'GET /api/usage/calls/:id': all,
  'GET /api/audit': all,
  'GET /api/audit/tail': all,
  'GET /api/audit/proof': all,
  'GET /api/signing-keys': all,
  'POST /api/signing-keys/rotate': '',
  'GET /api/alerts': all,
  'POST /api/breaches': '',
  'GET /api/breaches': '',
  'POST /api/breaches/:id/notify': '',
  'POST /api/breaches/:id/close': '',
  'POST /api/webhooks': 'owner admin',
  'GET /api/webhooks': 'owner admin',
  'DELETE /api/webhooks/:id': 'owner admin',
  'POST /api/webhooks/:id/test': 'owner admin',
  'POST /api/alerts/:id/acknowledge': 'owner admin member',
};

const world = await startWorld(t);
const { call } = world;
// Another workspace than the operator's: its owner is an owner and nothing more.
const workspace = await world.newWorkspace('second');
const [oldSeal, seal] = [newSeal(), newSeal()];
await world.services.seals.create(await world.callerOf(workspace.adminToken), {
  name: 'old',
  publicKey: oldSeal.publicKey,
});
const sealHeaders = { 'x-sallyport-seal': oldSeal.secret, 'x-sallyport-new-seal': seal.secret };
// A tail that began would have no end: whoever may have one is told that his place in it is none.
const noEvent = { 'last-event-id': '!' };

t.test('every route says who may, and every one is walked', (t) => {
  const served = world.routes
    .map(({ method, url }) => `${method} ${url.replace(/(.)\/$/, '$1')}`)
    .filter((route) => !route.endsWith('openapi.json'));
  t.same([...new Set(served)].toSorted(), Object.keys(allowed).toSorted());
  t.end();
});

/** What a route has to be asked for. */
const queries: Readonly<Record<string, string>> = {
  'GET /api/explain': `?token=tok_${'0'.repeat(32)}`,
  'GET /api/audit/proof': '?record=node_1:boot.0',
};

for (const role of roles) {
  t.test(`what the role ${role} may do`, async (t) => {
    for (const [route, who] of Object.entries(allowed)) {
      const [method = '', pattern = ''] = route.split(' ');
      const user = await world.newUser(workspace.adminToken, role);
      const query = queries[route] ?? '';
      const url = pattern.replace(':id', await subject(pattern, user.token, user.id)) + query;
      const headers = route.endsWith('/reseal') ? sealHeaders : route.endsWith('/tail') ? noEvent : {};
      const answer = await call(user.token, method, url, bodyOf(route, user.id), headers);
      const may = who.split(' ').includes(role);
      if (headers === noEvent) t.equal(answer.status, 400, route);
      else if (may) t.ok(answer.status < 300 || answer.status === 404 || answer.status === 409, route);
      else t.equal(answer.status, 403, route);
      if (!may) t.equal(answer.json.code, 'FORBIDDEN');
    }
  });
}

/** Something of the caller's own, so that only his role can be in the way. */
async function subject(pattern: string, token: string, userId: string): Promise<string> {
  const owner = await world.callerOf(workspace.adminToken);
  if (pattern.includes('api-keys')) {
    return (
      await world.services.keys.create(
        owner,
        { name: 'k', provider: 'openai', userId },
        Buffer.from(newKey()),
      )
    ).id;
  }
  if (pattern.includes('seals')) {
    const caller = await world.callerOf(token);
    const maker = ['viewer', 'auditor'].includes(caller.role) ? owner : caller;
    return (await world.services.seals.create(maker, { name: 's', publicKey: seal.publicKey })).id;
  }
  if (pattern.includes('tokens'))
    return (await world.services.tokens.create(owner, { name: 't', userId })).token.id;
  if (pattern.includes('aliases')) return `alias_${'0'.repeat(32)}`;
  if (pattern.includes('prices')) return `price_${'0'.repeat(32)}`;
  if (pattern.includes('calls')) return `call_${'0'.repeat(32)}`;
  if (pattern.includes('breaches')) return `breach_${'0'.repeat(32)}`;
  if (pattern.includes('webhooks')) return `hook_${'0'.repeat(32)}`;
  if (pattern.includes('alerts')) return `alert_${'0'.repeat(32)}`;
  t.ok(token);
  return userId;
}

function bodyOf(route: string, userId: string): unknown {
  switch (route) {
    case 'POST /api/api-keys':
      return { name: 'mine', provider: 'openai', value: newKey() };
    case 'POST /api/breaches':
      return {};
    case 'POST /api/breaches/:id/notify':
      return { since: '2026-01-01', contact: 'us', all: true };
    case 'POST /api/webhooks':
      return { url: 'https://hooks.example.com/x' };
    case 'POST /api/api-keys/test':
      return { keyId: `key_${'0'.repeat(32)}` };
    case 'POST /api/api-keys/find':
      return { fingerprint: '0'.repeat(16) };
    case 'POST /api/api-keys/import':
      return { provider: 'openai', value: newKey() };
    case 'POST /api/usage/recost':
      return { from: '2026-01-01' };
    case 'PATCH /api/users/:id':
      return { storeKeys: true };
    case 'PUT /api/api-keys/:id':
    case 'PATCH /api/api-keys/:id':
    case 'PATCH /api/tokens/:id':
      return { name: 'renamed' };
    case 'POST /api/seals':
      return { name: 'mine', publicKey: seal.publicKey };
    case 'POST /api/seals/:id/reseal':
      return {};
    case 'POST /api/aliases':
      return { alias: `a-${userId}`, target: 'openai/gpt-4o' };
    case 'POST /api/prices':
      return { provider: 'openai', model: `m-${userId}`, prices: { input: '1' } };
    case 'POST /api/tokens':
    case 'POST /api/users':
    case 'POST /api/workspaces':
      return { name: `n-${userId.slice(-6)}` };
    case 'PUT /api/members/:id':
    case 'PATCH /api/members/:id':
      return { role: 'viewer' };
    case 'POST /api/keyring/stage':
    case 'POST /api/keyring/promote':
    case 'POST /api/keyring/rewrap':
    case 'POST /api/journal/reproject':
    case 'POST /api/signing-keys/rotate':
      return {};
    case 'POST /api/keyring/retire':
      return { rootKeyId: `k1${'0'.repeat(20)}` };
    case 'PATCH /api/workspaces/current':
      return { name: 'renamed' };
    default:
      return undefined;
  }
}

t.test('nobody rises by himself', async (t) => {
  const admin = await world.newUser(workspace.adminToken, 'admin');
  const member = await world.newUser(workspace.adminToken, 'member');
  const owner = (await world.callerOf(workspace.adminToken)).userId;
  const attempts: [string, string, string, unknown][] = [
    ['an admin makes himself an owner', 'PATCH', `/api/members/${admin.id}`, { role: 'owner' }],
    ['an admin makes another an owner', 'PATCH', `/api/members/${member.id}`, { role: 'owner' }],
    ['an admin unmakes an owner', 'PATCH', `/api/members/${owner}`, { role: 'viewer' }],
    ['an admin removes an owner', 'DELETE', `/api/members/${owner}`, undefined],
    ['an admin deletes an owner', 'DELETE', `/api/users/${owner}`, undefined],
    [
      'an admin mints an admin token of an owner',
      'POST',
      '/api/tokens',
      { name: 'x', kind: 'admin', userId: owner },
    ],
  ];
  for (const [what, method, url, body] of attempts) {
    t.equal((await call(admin.token, method, url, body)).status, 403, what);
  }
  const [first] = (
    await call(workspace.adminToken, 'GET', `/api/tokens?userId=${owner}&status=active`)
  ).json.data.filter((token: { kind: string }) => token.kind === 'admin');
  t.equal(
    (await call(admin.token, 'DELETE', `/api/tokens/${first.id}`)).status,
    403,
    'an admin locks an owner out',
  );
  t.equal(
    (await call(admin.token, 'PATCH', `/api/tokens/${first.id}`, { expiresAt: '2099-01-01' })).status,
    403,
    'an admin changes an owner’s admin token',
  );
  const lent = await world.newUser(workspace.adminToken, 'member');
  t.equal(
    (await call(lent.token, 'PATCH', `/api/tokens/${lent.tokenId}`, { expiresAt: null })).status,
    403,
    'a member keeps an admin token that he was lent',
  );
  t.equal(
    (await call(member.token, 'POST', '/api/tokens', { name: 'x', kind: 'admin' })).status,
    403,
    'a member mints an admin token',
  );
  t.equal((await call(member.token, 'POST', '/api/tokens', { name: 'x', userId: owner })).status, 404);
  t.equal(
    (
      await call(member.token, 'POST', '/api/api-keys', {
        name: 'x',
        provider: 'openai',
        value: newKey(),
        userId: owner,
      })
    ).status,
    404,
  );
});

t.test('a token that an admin made for somebody does not become an owner’s', async (t) => {
  const admin = await world.newUser(workspace.adminToken, 'admin');
  const rising = await world.newUser(workspace.adminToken, 'member');
  const mint = async (token: string, kind: string) =>
    (await call(token, 'POST', '/api/tokens', { name: 'x', kind, userId: rising.id })).json;
  const [kept, gateway] = [await mint(admin.token, 'admin'), await mint(admin.token, 'gateway')];
  const promote = () => call(workspace.adminToken, 'PUT', `/api/members/${rising.id}`, { role: 'owner' });
  t.equal((await promote()).status, 200);

  t.equal((await call(kept.token, 'PATCH', `/api/members/${admin.id}`, { role: 'owner' })).status, 401);
  t.equal((await call(rising.token, 'GET', '/api/users')).status, 401);
  t.equal((await mint(admin.token, 'admin')).code, 'FORBIDDEN');
  t.match(await call(workspace.adminToken, 'GET', `/api/tokens/${gateway.id}`), {
    json: { status: 'active' },
  });
  await world.shipper.flush();
  const told = (await call(workspace.adminToken, 'GET', `/api/audit?event=member.update.intent&limit=1`))
    .json;
  t.match(told.data[0].record, { userId: rising.id, tokenIds: [rising.tokenId, kept.id] });

  const own = await mint(workspace.adminToken, 'admin');
  t.equal((await promote()).status, 200, 'an owner stays one');
  t.equal((await call(own.token, 'GET', '/api/users')).status, 200, 'with what an owner made for him');
  t.same(world.forged, []);
});

t.test('a workspace keeps an owner, and the deployment its operator', async (t) => {
  const fresh = await world.newWorkspace('fresh');
  const owner = (await world.callerOf(fresh.adminToken)).userId;
  const last = await call(fresh.adminToken, 'PATCH', `/api/members/${owner}`, { role: 'member' });
  t.equal(last.json.code, 'CONFLICT');
  t.equal((await call(fresh.adminToken, 'DELETE', `/api/users/${owner}`)).json.code, 'CONFLICT');
  const second = await world.newUser(fresh.adminToken, 'owner');
  const both = await Promise.all([
    call(second.token, 'PATCH', `/api/members/${owner}`, { role: 'member' }),
    call(fresh.adminToken, 'PATCH', `/api/members/${second.id}`, { role: 'member' }),
  ]);
  t.equal(
    both.filter((answer) => answer.status === 200).length,
    1,
    'two owners cannot unmake each other at once',
  );
  const token = both[0]?.status === 200 ? second.token : fresh.adminToken;
  const roles = (await call(token, 'GET', '/api/members')).json.data.map(
    (member: { role: Role }) => member.role,
  );
  t.same(roles.toSorted(), ['member', 'owner']);

  const operator = await world.callerOf(world.first.adminToken);
  const peer = await world.newUser(world.first.adminToken, 'owner');
  for (const [method, url, body] of [
    ['PATCH', `/api/members/${operator.userId}`, { role: 'member' }],
    ['DELETE', `/api/members/${operator.userId}`, undefined],
    ['DELETE', `/api/users/${operator.userId}`, undefined],
  ] as const) {
    t.equal((await call(peer.token, method, url, body)).json.code, 'CONFLICT', `${method} ${url}`);
  }
});

t.test('a role that was taken away counts at once', async (t) => {
  const user = await world.newUser(world.first.adminToken, 'admin');
  t.equal((await call(user.token, 'GET', '/api/users')).status, 200);
  await call(world.first.adminToken, 'PATCH', `/api/members/${user.id}`, { role: 'auditor' });
  t.equal((await call(user.token, 'POST', '/api/users', { name: 'x' })).status, 403);
  await call(world.first.adminToken, 'DELETE', `/api/members/${user.id}`);
  t.equal((await call(user.token, 'GET', '/api/users')).status, 401);
});

t.test('only the operator makes workspaces', async (t) => {
  t.equal((await call(workspace.adminToken, 'POST', '/api/workspaces', { name: 'mine' })).status, 403);
  const made = await call(world.first.adminToken, 'POST', '/api/workspaces', { name: 'third' });
  t.equal(made.status, 201);
  t.same(Object.keys(made.json), ['workspaceId', 'adminToken', 'token']);
  t.equal((await call(made.json.adminToken, 'GET', '/api/workspaces/current')).json.name, 'third');
  t.equal((await call(made.json.token, 'GET', '/api/workspaces/current')).status, 401);
});

t.test('the operator lists all workspaces, everybody else his own', async (t) => {
  const idsOf = async (token: string, query = '') =>
    (await call(token, 'GET', `/api/workspaces${query}`)).json.data.map((one: { id: string }) => one.id);
  const { workspaceId: operators } = await world.callerOf(world.first.adminToken);
  const { workspaceId: owners } = await world.callerOf(workspace.adminToken);
  const every = await idsOf(world.first.adminToken);
  t.ok(every.length > 2 && every.at(-1) === operators && every.includes(owners));
  const page = (await call(world.first.adminToken, 'GET', '/api/workspaces?limit=1')).json;
  t.same([page.data.length, page.data[0].id], [1, every[0]]);
  t.same(await idsOf(world.first.adminToken, `?cursor=${page.nextCursor}`), every.slice(1));
  for (const role of roles) {
    const user = await world.newUser(workspace.adminToken, role);
    t.same(await idsOf(user.token), [owners], role);
    t.same(await idsOf(user.token, `?cursor=${page.nextCursor}`), [owners], 'a cursor opens nothing');
  }
  const peer = await world.newUser(world.first.adminToken, 'owner');
  t.same(await idsOf(peer.token), [operators], 'an owner of the first workspace is no operator');
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});
