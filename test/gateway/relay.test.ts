import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-test-relay-0123456789abcdef';
const ask = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] };

t.test('a chat call carries the stored key upstream and the provider’s bytes back', async (t) => {
  const answer = {
    id: 'c1',
    choices: [],
    usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
  };
  const upstream = await scriptUpstream(t, { key, script: [{ body: answer }] });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  const response = await fetch(`${gateway.origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(ask),
  });
  t.equal(response.status, 200);
  t.same(await response.json(), answer);
  t.match(response.headers.get('x-request-id'), /^call_[0-9a-f]{32}$/);
  t.equal(response.headers.get('x-sallyport-provider'), 'openai');
  t.equal(response.headers.get('x-sallyport-key-source'), 'own');
  t.match(response.headers.get('x-sallyport-receipt'), /\.\d+\.[0-9a-f]{16}$/);
  const [seen] = upstream.requests;
  t.equal(seen?.headers.authorization, `Bearer ${key}`);
  t.equal(seen?.body.toString(), JSON.stringify(ask), 'the same bytes');
  t.notMatch(seen?.rawHeaders.join('\n'), /spt_/);
  await gateway.shipped();
  const usage = await gateway.api('GET', '/usage');
  t.match(usage.body.totals, {
    calls: 1,
    attempts: 1,
    failed: 0,
    inputTokens: 3,
    outputTokens: 2,
    unknownUsageCalls: 0,
  });
});

t.test('a key that was stored pays for the very next call, also of a token that is cached', async (t) => {
  const upstream = await scriptUpstream(t, { key, script: [{ body: { choices: [] } }] });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  const call = (): Promise<Response> =>
    fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
      body: JSON.stringify(ask),
    });
  t.equal((await call()).status, 409);
  const id = await gateway.addKey('openai', key);
  t.equal((await call()).status, 200);
  await gateway.api('PATCH', `/api-keys/${id}`, { isActive: false });
  t.equal((await call()).headers.get('x-sallyport-code'), 'KEY_DISABLED');
  await gateway.api('DELETE', `/api-keys/${id}`);
  t.equal((await call()).headers.get('x-sallyport-code'), 'KEY_MISSING');
});
