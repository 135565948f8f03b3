import t from 'tap';
import { createCallers } from '../../src/admin/callers.ts';
import { createIsOperator } from '../../src/admin/operator.ts';
import { openStore } from '../../src/db/store.ts';
import { mintToken } from '../../src/ids.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t, {});
const { call } = world;
const owner = world.first.adminToken;

t.test('tokens that are not admin tokens of ours', async (t) => {
  const texts: [string, string | null, string][] = [
    ['none', null, 'AUTH_MISSING'],
    ['garbage', 'abc', 'AUTH_INVALID'],
    ['well-formed and unknown', mintToken('spa').text, 'AUTH_INVALID'],
    ['a typing error', `${owner.slice(0, -1)}${owner.endsWith('A') ? 'B' : 'A'}`, 'AUTH_INVALID'],
    ['too long', 'x'.repeat(5000), 'AUTH_INVALID'],
  ];
  for (const [what, text, code] of texts) {
    const answer = await call(text, 'GET', '/api/api-keys');
    t.equal(answer.status, 401, what);
    t.equal(answer.json.code, code, what);
    t.match(answer.headers['www-authenticate'], /^Bearer /);
  }
  const gateway = await call(world.first.token, 'GET', '/api/api-keys');
  t.equal(gateway.status, 401);
  t.match(
    gateway.json.detail,
    /gateway token \(spt_…\): it belongs to model calls.*\/v1.*\/api takes an admin token \(spa_…\)/,
  );
  const twice = await world.app.inject({
    url: '/api/users',
    headers: { authorization: [`Bearer ${owner}`, `Bearer ${owner}`] as unknown as string },
  });
  t.not(twice.statusCode, 200);
});

t.test('an expired token and a revoked one', async (t) => {
  const make = async (more: object) =>
    (await call(owner, 'POST', '/api/tokens', { name: 'x', kind: 'admin', ...more })).json;
  const expired = await make({ expiresAt: new Date(world.time.now + 60_000).toISOString() });
  world.time.now += 60_000;
  t.equal((await call(expired.token, 'GET', '/api/users')).status, 401);
  const revoked = await make({});
  t.equal((await call(revoked.token, 'GET', '/api/users')).status, 200);
  const first = await call(owner, 'DELETE', `/api/tokens/${revoked.id}`);
  t.match(first.json, { status: 'revoked' });
  t.same(
    (await call(owner, 'DELETE', `/api/tokens/${revoked.id}`)).json,
    first.json,
    'again: the same answer',
  );
  t.equal((await call(revoked.token, 'GET', '/api/users')).status, 401);
});

t.test('a token row that was inserted by SQL opens nothing', async (t) => {
  const minted = mintToken('spa');
  const caller = await world.callerOf(owner);
  await world.tamper(
    'tokens',
    `insert into tokens (id, workspace_id, user_id, name, kind, prefix, verifier, mac, requests_per_minute, concurrent_calls)
     select 'tok_' || repeat('f', 32), workspace_id, user_id, 'forged', 'admin', '${minted.prefix}', verifier, mac, 600, 100
     from tokens where id = '${caller.id}'`,
  );
  t.equal((await call(minted.text, 'GET', '/api/users')).status, 401);
});

t.test('a token row of which something that counts was edited opens nothing', async (t) => {
  const caller = await world.callerOf(owner);
  const member = await world.newUser(owner, 'member');
  const columns: [string, string][] = [
    ['expires_at', `now() + interval '10 years'`],
    ['user_id', `'${caller.userId}'`],
    ['providers', `array['openai']`],
    ['models', `array['gpt-4o']`],
    ['key_ids', `array[]::text[]`],
    ['requests_per_minute', '1000000'],
    ['id', `'tok_' || repeat('e', 32)`],
    ['kind', `'gateway'`],
    ['verifier', `sha256('x')`],
    ['mac', `sha256('x')`],
  ];
  for (const [column, value] of columns) {
    const token = (await call(owner, 'POST', '/api/tokens', { name: 'x', kind: 'admin', userId: member.id }))
      .json;
    t.equal((await call(token.token, 'GET', '/api/users')).status, 200);
    await world.tamper('tokens', `update tokens set ${column} = ${value} where prefix = '${token.prefix}'`);
    t.equal((await call(token.token, 'GET', '/api/users')).status, 401, column);
  }
  const gateway = (await call(owner, 'POST', '/api/tokens', { name: 'x' })).json;
  await world.tamper(
    'tokens',
    `update tokens set kind = 'admin', prefix = replace(prefix, 'spt', 'spa') where id = '${gateway.id}'`,
  );
  t.equal((await call(gateway.token.replace('spt_', 'spa_'), 'GET', '/api/users')).status, 401, 'kind');
  const revoked = (await call(owner, 'POST', '/api/tokens', { name: 'x', kind: 'admin' })).json;
  await call(owner, 'DELETE', `/api/tokens/${revoked.id}`);
  await world.tamper('tokens', `update tokens set revoked_at = null where id = '${revoked.id}'`);
  t.equal((await call(revoked.token, 'GET', '/api/users')).status, 401, 'revoked_at');
  t.ok(
    world.forged.some((row) => row === `tokens ${revoked.id}`),
    'and the alarm is raised',
  );
});

t.test('an edit of ours never makes a forged row good', async (t) => {
  const token = (await call(owner, 'POST', '/api/tokens', { name: 'x', kind: 'admin' })).json;
  await world.tamper('tokens', `update tokens set requests_per_minute = 99999 where id = '${token.id}'`);
  t.equal(
    (await call(owner, 'DELETE', `/api/tokens/${token.id}`)).json.status,
    'revoked',
    'revoking always works',
  );
  await world.tamper('tokens', `update tokens set revoked_at = null where id = '${token.id}'`);
  t.equal((await call(token.token, 'GET', '/api/users')).status, 401);

  for (const [column, value] of [
    ['origins', `array['https://evil.example.net']`],
    ['operator_origin', 'true'],
    ['shared_with', `'"workspace"'::jsonb`],
    ['auth', `'header:x-evil'`],
    ['is_active', 'false'],
    ['version', '7'],
    ['source', `'managed'`],
    ['expires_at', `now()`],
  ] as const) {
    const key = (
      await call(owner, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', value: newKey() })
    ).json;
    await world.tamper(
      'provider_keys',
      `update provider_keys set ${column} = ${value} where id = '${key.id}'`,
    );
    const tested = await call(owner, 'POST', '/api/api-keys/test', { keyId: key.id });
    t.match(tested.json, { ok: false, code: 'KEY_INVALID' }, `${column}: nothing is sent for a test`);
    for (const body of [{ name: 'renamed' }, { value: newKey() }]) {
      const answer = await call(owner, 'PATCH', `/api/api-keys/${key.id}`, body);
      t.equal(answer.json.code, 'KEY_INVALID', column);
    }
    t.equal(
      (await call(owner, 'DELETE', `/api/api-keys/${key.id}`)).status,
      200,
      'to be rid of it always works',
    );
  }
});

t.test('with the database gone a token is not called wrong', async (t) => {
  // Port 1 (tcpmux): nobody listens there.
  const store = openStore({ connection: { url: 'postgres://nobody@127.0.0.1:1/nothing' } });
  t.teardown(() => store.close());
  const callers = createCallers({
    store,
    vault: world.vault,
    isOperator: createIsOperator({ store }),
    clock: world.clock,
    onForgedRow: () => {},
  });
  const app = await world.serve({ callers });
  const headers = { authorization: `Bearer ${owner}` };
  const answer = await app.inject({ url: '/api/users', headers });
  t.equal(answer.statusCode, 503);
  t.equal(answer.json().code, 'AUTH_UNAVAILABLE');
  t.ok(answer.headers['retry-after']);
  t.equal((await app.inject({ url: '/api/openapi.json' })).statusCode, 200);
});

t.test('guessing is slowed down, and honest callers of that address with it', async (t) => {
  const other = await startWorld(t, { authFailuresPerMinute: 3, mutationsPerMinute: 4 });
  for (let i = 0; i < 4; i += 1) {
    const made = await other.call(other.first.adminToken, 'POST', '/api/users', { name: `u${i}` });
    t.equal(made.status, 201);
  }
  const slowed = await other.call(other.first.adminToken, 'POST', '/api/users', { name: 'u' });
  t.equal(slowed.status, 429);
  t.equal(slowed.json.code, 'RATE_LIMITED');
  t.match(slowed.headers['retry-after'], /^\d+$/);
  t.equal((await other.call(other.first.adminToken, 'GET', '/api/users')).status, 200, 'reading goes on');
  for (let i = 0; i < 3; i += 1)
    t.equal((await other.call(mintToken('spa').text, 'GET', '/api/users')).status, 401);
  t.equal((await other.call(mintToken('spa').text, 'GET', '/api/users')).status, 429);
  const guessFrom = async (remoteAddress: string): Promise<number> => {
    const headers = { authorization: `Bearer ${mintToken('spa').text}` };
    return (await other.app.inject({ url: '/api/users', headers, remoteAddress })).statusCode;
  };
  for (let i = 1; i <= 3; i += 1) t.equal(await guessFrom(`2001:db8:0:7::${i}`), 401);
  t.equal(await guessFrom('2001:db8:0:7:9::9'), 429, 'who has one IPv6 address has all of its /64');
  t.equal(await guessFrom('2001:db8:0:8::1'), 401, 'his neighbour has another');
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});
