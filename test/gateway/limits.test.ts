import t from 'tap';
import { mintToken } from '../../src/ids.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-limits-0123456789abcdef';
const page = 'https://app.example';
const upstream = await scriptUpstream(t, { key });
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin, anthropic: upstream.origin },
  settings: { CORS_ORIGINS: page },
});
await gateway.addKey('openai', key);
await gateway.addKey('anthropic', key);
const mint = async (more: object): Promise<string> =>
  (await gateway.api('POST', '/tokens', { name: 'x', ...more })).body.token;
const call = (token: string, path = '/openai/v1/models'): Promise<Answered> =>
  ask(gateway.origin + path, { headers: { 'x-api-key': token } });

t.test('requests per minute are bounded for each token, and the refusal says for how long', async (t) => {
  const token = await mint({ requestsPerMinute: 5 });
  for (let n = 0; n < 5; n += 1) t.equal((await call(token)).status, 200);
  const before = upstream.requests.length;
  const refused = await call(token);
  t.equal(refused.status, 429);
  t.match(refused.json(), {
    error: { type: 'rate_limit_error', code: 'rate_limit_exceeded', message: /5 requests a minute/ },
  });
  t.equal(refused.header('x-sallyport-code'), 'RATE_LIMITED');
  t.ok(Number(refused.header('retry-after')) >= 1 && Number(refused.header('retry-after')) <= 60);
  t.equal(refused.header('x-should-retry'), null);
  t.match((await call(token, '/anthropic/v1/models')).json(), {
    type: 'error',
    error: { type: 'rate_limit_error' },
  });
  t.equal(
    (await call(await mint({ requestsPerMinute: 5 }))).status,
    200,
    'another token has a bound of its own',
  );
  t.equal(upstream.requests.length, before + 1);
});

t.test('concurrent calls are bounded, and a place is free again however its call ended', async (t) => {
  const token = await mint({ concurrentCalls: 2, requestsPerMinute: 1000 });
  for (const ending of ['end', 'reset', 'leave'] as const) {
    const gate = Promise.withResolvers<void>();
    upstream.respond([
      { hold: gate.promise, body: { ok: true }, ending: ending === 'reset' ? 'reset' : 'end' },
    ]);
    const before = upstream.requests.length;
    const leave = new AbortController();
    const running = [1, 2].map(() =>
      fetch(`${gateway.origin}/openai/v1/models`, { headers: { 'x-api-key': token }, signal: leave.signal })
        .then((answer) => answer.text())
        .catch(() => ''),
    );
    await upstream.received(before + 2);
    const refused = await call(token);
    t.equal(refused.status, 429, ending);
    t.match(refused.json().error.message, /2 calls running/);
    if (ending === 'leave') leave.abort();
    else gate.resolve();
    await Promise.all(running);
    await gateway.app.dataPlane.gateway.idle();
    gate.resolve();
    upstream.respond([{ body: { ok: true } }]);
    t.equal((await call(token)).status, 200);
  }
});

t.test('a page of a listed origin may call, any other gets nothing from us', async (t) => {
  const preflight = (origin: string): Promise<Answered> =>
    ask(`${gateway.origin}/openai/v1/models`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization, x-stainless-os',
      },
    });
  const before = upstream.requests.length;
  const allowed = await preflight(page);
  t.equal(allowed.status, 204);
  t.same(
    [
      'access-control-allow-origin',
      'access-control-allow-headers',
      'access-control-allow-credentials',
      'vary',
    ].map((name) => allowed.header(name)),
    [page, 'authorization, x-stainless-os', null, 'origin'],
  );
  for (const origin of [
    'https://evil.example',
    'null',
    `${page}.evil.example`,
    `${page}:8443`,
    page.toUpperCase(),
  ]) {
    const refused = await preflight(origin);
    t.notOk(refused.status < 300, origin);
    t.notOk(
      refused.headers.some(([name]) => name.startsWith('access-control-')),
      origin,
    );
  }
  t.equal(upstream.requests.length, before);
  upstream.respond([
    {
      headers: { 'access-control-allow-origin': '*', 'access-control-allow-credentials': 'true', vary: 'x' },
      body: {},
    },
  ]);
  const asks = (origin: string): Promise<Answered> =>
    ask(`${gateway.origin}/openai/v1/models`, { headers: { origin, 'x-api-key': gateway.token } });
  const answer = await asks(page);
  t.same(
    [
      answer.header('access-control-allow-origin'),
      answer.header('access-control-allow-credentials'),
      answer.header('vary'),
    ],
    [page, null, 'origin'],
  );
  const other = await asks('https://evil.example');
  t.equal(other.status, 200);
  t.equal(other.header('access-control-allow-origin'), null, 'the provider’s own list is not ours');
  const refused = await ask(`${gateway.origin}/openai/v1/models`, { headers: { origin: page } });
  t.equal(refused.status, 401);
  t.equal(refused.header('access-control-allow-origin'), page, 'a page can read why it was refused');
});

t.test('an address that guesses tokens is stopped, and known tokens from there go on', async (t) => {
  const known = await mint({});
  t.equal((await call(known)).status, 200);
  const fresh = await mint({});
  const statuses: number[] = [];
  for (let n = 0; n < 40; n += 1)
    statuses.push((await call(n % 2 === 0 ? mintToken('spt').text : 'spt_nonsense')).status);
  t.equal(statuses[0], 401);
  t.equal(statuses.at(-1), 429);
  const limited = await call(mintToken('spt').text);
  t.ok(Number(limited.header('retry-after')) >= 1);
  t.equal((await call(known)).status, 200);
  t.equal((await call(fresh)).status, 429, 'no look-up is spent on that address');
});
