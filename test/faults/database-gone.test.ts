import t, { type Test } from 'tap';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { databaseLine } from './database-line.ts';

t.setTimeout(60_000);

const key = 'sk-test-database-0123456789abcdef';

const call = (gateway: TestGateway, token: string): Promise<Answered> =>
  ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { 'x-api-key': token },
    body: { model: 'gpt-4o' },
  });

async function until(what: () => Promise<boolean>): Promise<void> {
  const from = performance.now();
  while (!(await what())) if (performance.now() - from > 20_000) throw new Error('it never came to be');
}

async function ready(
  gateway: TestGateway,
): Promise<{ status: number; body: { status: string; checks: object } }> {
  const answer = await ask(`${gateway.origin}/readyz`);
  return { status: answer.status, body: answer.json() };
}

async function start(t: Test, settings: Record<string, string> = {}) {
  const line = databaseLine(t);
  const upstream = await scriptUpstream(t, {
    key,
    script: [{ body: { choices: [], usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } } }],
  });
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream.origin },
    settings,
    through: line.connection,
  });
  await gateway.addKey('openai', key);
  const { body } = await gateway.api('POST', '/tokens', { name: 'unknown' });
  return { line, upstream, gateway, uncached: body.token as string };
}

t.test(
  'with the database gone known callers go on, others get 503, and what was recorded arrives later',
  async (t) => {
    const { line, gateway, uncached, upstream } = await start(t);
    t.equal((await call(gateway, gateway.token)).status, 200);
    line.cut();
    await until(async () => (await ready(gateway)).body.status === 'degraded');
    t.match(await ready(gateway), {
      status: 200,
      body: { checks: { database: 'failed', journal: 'ok', vault: 'ok' } },
    });

    const before = upstream.requests.length;
    for (let n = 0; n < 20; n += 1) t.equal((await call(gateway, gateway.token)).status, 200);
    t.equal(upstream.requests.length, before + 20);
    const refused = await call(gateway, uncached);
    t.equal(refused.status, 503, 'never 401: the token may be good');
    t.match(
      {
        code: refused.header('x-sallyport-code'),
        after: Number(refused.header('retry-after')) > 0,
        retry: refused.header('x-should-retry'),
      },
      { code: 'AUTH_UNAVAILABLE', after: true, retry: null },
    );
    t.match(refused.json(), { error: { type: 'overloaded_error', code: 'AUTH_UNAVAILABLE' } });
    t.equal((await call(gateway, 'spt_nonsense')).status, 401, 'what cannot be a token is refused as ever');
    t.equal(upstream.requests.length, before + 20);
    await gateway.app.dataPlane.settled();
    t.ok(gateway.installation.shipper.lag().records >= 40, 'the journal waits on disk');

    line.mend();
    await until(async () => (await call(gateway, uncached)).status === 200);
    await until(async () => (await ready(gateway)).body.status === 'ready');
    await gateway.shipped();
    const usage = await gateway.api('GET', '/usage');
    t.equal(usage.body.totals.calls, upstream.requests.length);
    t.equal(usage.body.totals.inputTokens, 3 * upstream.requests.length);
    t.equal(gateway.installation.shipper.lag().records, 0);
  },
);

t.test('a database that fails only now and then is asked again', async (t) => {
  const { line, gateway, uncached } = await start(t);
  t.equal((await call(gateway, gateway.token)).status, 200);
  // Connections are lost, and can be made anew at once.
  line.cut();
  line.mend();
  await until(async () => (await call(gateway, uncached)).status === 200);
  t.equal((await call(gateway, gateway.token)).status, 200);
});

t.test('AUTH_STALE_SECONDS bounds how long known callers go on', async (t) => {
  const { line, gateway } = await start(t, { AUTH_STALE_SECONDS: '2' });
  const { body: minted } = await gateway.api('POST', '/tokens', {
    name: 'often',
    requestsPerMinute: 1_000_000,
  });
  t.equal((await call(gateway, minted.token)).status, 200);
  const from = performance.now();
  line.cut();
  let answer: Answered;
  do {
    answer = await call(gateway, minted.token);
  } while (answer.status === 200);
  const ms = performance.now() - from;
  t.ok(ms > 1400 && ms < 4000, `${ms} ms`);
  t.equal(answer.header('x-sallyport-code'), 'AUTH_UNAVAILABLE');
  t.ok(Number(answer.header('retry-after')) > 0);
  line.mend();
  await until(async () => (await call(gateway, minted.token)).status === 200);
});

t.test('a revocation that could not be seen is seen when the database is back', async (t) => {
  const { line, gateway } = await start(t);
  const { body: minted } = await gateway.api('POST', '/tokens', { name: 'x' });
  t.equal((await call(gateway, minted.token)).status, 200);
  line.cut();
  await until(async () => (await ready(gateway)).body.status === 'degraded');
  // As another node would do it; by hand the row's MAC is wrong, which grants as little.
  await gateway.database.owner(
    `begin; alter table tokens no force row level security; update tokens set revoked_at = now() where id = '${minted.id}'; update epoch set value = value + 1; alter table tokens force row level security; commit`,
  );
  t.equal((await call(gateway, minted.token)).status, 200);
  line.mend();
  await until(async () => (await call(gateway, minted.token)).status === 401);
});
