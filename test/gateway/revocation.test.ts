import t, { type Test } from 'tap';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream, type Upstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-revoke-0123456789abcdef';
const body = { model: 'gpt-4o', stream: true };

async function start(
  t: Parameters<typeof startGateway>[0],
): Promise<{ gateway: TestGateway; upstream: Upstream }> {
  const upstream = await scriptUpstream(t, {
    key,
    script: [{ events: ['{"choices":[]}'], ending: 'stall' }],
  });
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream.origin, anthropic: upstream.origin },
  });
  return { gateway, upstream };
}

/** Asks until the answer is this one; fails the test when it is not within a second. */
async function becomes(
  t: Pick<Test, 'ok'>,
  what: () => Promise<Answered>,
  code: string | null,
): Promise<Answered> {
  const from = performance.now();
  for (;;) {
    const answer = await what();
    if (answer.header('x-sallyport-code') === code) {
      t.ok(performance.now() - from < 1000, `${code} within a second`);
      return answer;
    }
    if (performance.now() - from > 5000)
      throw new Error(`still ${answer.status} ${answer.header('x-sallyport-code')}`);
  }
}

/** A stream that runs, with the promise of its end. */
async function running(
  gateway: TestGateway,
  token: string,
  path = '/v1/chat/completions',
): Promise<{ ended: Promise<Answered> }> {
  const head = Promise.withResolvers<void>();
  const ended = ask(gateway.origin + path, {
    headers: { 'x-api-key': token },
    body,
    onData: () => head.resolve(),
  });
  await Promise.race([head.promise, ended]);
  return { ended };
}

for (const [what, work, code] of [
  ['token', async (g: TestGateway, ids: Ids) => g.api('DELETE', `/tokens/${ids.tokenId}`), 'AUTH_INVALID'],
  [
    'deleted key',
    async (g: TestGateway, ids: Ids) => g.api('DELETE', `/api-keys/${ids.keyId}`),
    'KEY_MISSING',
  ],
  [
    'disabled key',
    async (g: TestGateway, ids: Ids) => g.api('PATCH', `/api-keys/${ids.keyId}`, { isActive: false }),
    'KEY_DISABLED',
  ],
  [
    'deleted user',
    async (g: TestGateway, ids: Ids) => g.api('DELETE', `/users/${ids.userId}`),
    'AUTH_INVALID',
  ],
] as const) {
  t.test(
    `a ${what} refuses calls within a second, and cuts those that run with an error event`,
    async (t) => {
      const { gateway, upstream } = await start(t);
      const { body: user } = await gateway.api('POST', '/users', { name: 'someone' });
      const keyId = await gateway.addKey('openai', key, { userId: user.id });
      const { body: minted } = await gateway.api('POST', '/tokens', { name: 'x', userId: user.id });
      await gateway.addKey('openai', key);
      const own = await running(gateway, minted.token);
      const others = await running(gateway, gateway.token);
      const from = performance.now();
      const done = await work(gateway, { tokenId: minted.id, keyId, userId: user.id });
      t.equal(done.status, 200);
      const cut = await own.ended;
      t.ok(performance.now() - from < 1000, 'cut within a second');
      t.notOk(cut.isWhole);
      t.match(
        cut.body.toString(),
        new RegExp(
          `^data: \\{"choices":\\[\\]\\}\\n\\n\\n\\ndata: \\{"error":\\{.*"code":"${code === 'AUTH_INVALID' ? 'invalid_api_key' : code}"\\}\\}\\n\\n$`,
        ),
      );
      await upstream.requests[0]?.gone;
      const refused = await becomes(
        t,
        () => ask(`${gateway.origin}/v1/chat/completions`, { headers: { 'x-api-key': minted.token }, body }),
        code,
      );
      t.equal(refused.status, code === 'AUTH_INVALID' ? 401 : 409);
      t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 1, 'the stream of another goes on');
      gateway.app.dataPlane.gateway.cutAll();
      t.match((await others.ended).body.toString(), /SHUTTING_DOWN/);
      await gateway.shipped();
      const rows = await gateway.database.store.asSystem((tx) =>
        tx.selectFrom('usage_events').select(['outcome', 'end_reason', 'token_id']).execute(),
      );
      t.match(
        rows.find(({ token_id }) => token_id === minted.id),
        { outcome: code, end_reason: 'revoked' },
      );
    },
  );
}

interface Ids {
  readonly tokenId: string;
  readonly keyId: string;
  readonly userId: string;
}

t.test('a call that waits for its answer is refused when its token is revoked, in the dialect', async (t) => {
  const { gateway, upstream } = await start(t);
  upstream.respond([{ hold: new Promise(() => {}) }]);
  await gateway.addKey('anthropic', key);
  const { body: minted } = await gateway.api('POST', '/tokens', { name: 'x' });
  const waiting = ask(`${gateway.origin}/anthropic/v1/messages`, {
    headers: { 'x-api-key': minted.token },
    body: { model: 'claude-x' },
  });
  await upstream.received(1);
  await gateway.api('DELETE', `/tokens/${minted.id}`);
  const answer = await waiting;
  t.equal(answer.status, 401);
  t.match(answer.json(), { type: 'error', error: { type: 'authentication_error' } });
  await upstream.requests[0]?.gone;
});

t.test('a token that has expired is refused without anybody touching it', async (t) => {
  const { gateway } = await start(t);
  await gateway.addKey('openai', key);
  const expiresAt = new Date(Date.now() + 1200).toISOString();
  const { body: minted } = await gateway.api('POST', '/tokens', { name: 'x', expiresAt });
  const call = () =>
    ask(`${gateway.origin}/openai/v1/nothing`, {
      method: 'OPTIONS',
      headers: { 'x-api-key': minted.token },
      onHead: (head) => head.destroy(),
    });
  t.equal((await call()).status, 200);
  while (Date.now() < Date.parse(expiresAt))
    t.ok((await call()).status === 200 || Date.now() >= Date.parse(expiresAt));
  t.match((await call()).header('x-sallyport-code'), 'AUTH_INVALID');
});

t.test('rows that were written round the gateway grant nothing', async (t) => {
  const { gateway } = await start(t);
  const keyId = await gateway.addKey('openai', key);
  const call = (token: string) =>
    ask(`${gateway.origin}/openai/v1/models`, {
      headers: { 'x-api-key': token },
      onHead: (head) => head.destroy(),
    });
  /** One statement by whoever can write to the database, seen by the gateway as any change. */
  const tamper = (table: string, statement: string) =>
    gateway.database.owner(
      `begin; alter table ${table} no force row level security; ${statement}; update epoch set value = value + 1; alter table ${table} force row level security; commit`,
    );
  const minted = async (more: object = {}) =>
    (await gateway.api('POST', '/tokens', { name: 'x', ...more })).body;

  const revoked = await minted();
  await gateway.api('DELETE', `/tokens/${revoked.id}`);
  await tamper('tokens', `update tokens set revoked_at = null where id = '${revoked.id}'`);
  t.equal((await call(revoked.token)).status, 401, 'a revocation that was taken back');

  const expired = await minted({ expiresAt: new Date(Date.now() + 1000).toISOString() });
  await tamper('tokens', `update tokens set expires_at = null where id = '${expired.id}'`);
  t.equal((await call(expired.token)).status, 401, 'an expiry that was taken away');

  const narrow = await minted({ providers: ['groq'] });
  await tamper('tokens', `update tokens set providers = null where id = '${narrow.id}'`);
  t.equal((await call(narrow.token)).status, 401, 'a bound that was lifted');

  const { body: other } = await gateway.api('POST', '/users', { name: 'other' });
  const others = await minted({ userId: other.id });
  await tamper(
    'tokens',
    `update tokens set user_id = (select user_id from tokens where user_id <> '${other.id}' limit 1) where id = '${others.id}'`,
  );
  t.equal((await call(others.token)).status, 401, 'a token given to another user');

  const good = await minted();
  t.equal((await call(good.token)).status, 200);
  await tamper(
    'tokens',
    `insert into tokens select (jsonb_populate_record(x, '{"id":"tok_00000000000000000000000000000000","prefix":"${others.token.slice(0, 16)}x"}')).* from tokens x where id = '${good.id}'`,
  );
  t.equal((await call(good.token)).status, 200, 'a copied row changes nothing');

  const stranger = await minted({ userId: other.id });
  t.equal((await call(stranger.token)).status, 409, 'no key yet');
  await tamper('provider_keys', `update provider_keys set shared_with = '"workspace"' where id = '${keyId}'`);
  await becomes(t, () => call(good.token), 'KEY_MISSING');
  t.equal(
    (await call(stranger.token)).header('x-sallyport-code'),
    'KEY_MISSING',
    'a key that was shared by SQL is nobody’s',
  );
  t.ok(gateway.logLines.some((line) => line.includes('database.forged-row') && line.includes(keyId)));
  await tamper('provider_keys', `update provider_keys set shared_with = null where id = '${keyId}'`);
  await becomes(t, () => call(good.token), null);
});
