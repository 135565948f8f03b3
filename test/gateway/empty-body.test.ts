import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-test-empty-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);
const narrow: string = (await gateway.api('POST', '/tokens', { name: 'narrow', models: ['gpt-4o*'] })).body
  .token;

function send(
  method: string,
  path: string,
  headers: Record<string, string>,
  token = gateway.token,
): Promise<Answered> {
  return ask(gateway.origin + path, { method, headers: { authorization: `Bearer ${token}`, ...headers } });
}
const empty = { 'transfer-encoding': 'chunked' };

for (const [method, path] of [
  ['DELETE', '/openai/v1/files/f'],
  ['GET', '/openai/v1/files'],
  ['POST', '/openai/v1/batches/b/cancel'],
] as const)
  t.test(`${method}: chunks without a byte are no body`, async (t) => {
    for (const headers of [empty, { ...empty, 'content-type': 'application/json' }]) {
      const before = upstream.requests.length;
      t.equal((await send(method, path, headers)).status, 200);
      const seen = upstream.requests[before];
      t.equal(seen?.body.length, 0);
      t.equal(seen?.headers['transfer-encoding'], undefined);
      t.equal(seen?.headers['content-length'], method === 'POST' ? '0' : undefined);
    }
  });

t.test('where a model has to be named they say as little of one as no body does', async (t) => {
  const before = upstream.requests.length;
  for (const path of ['/v1/chat/completions', '/openai/v1/chat/completions']) {
    const none = await send('POST', path, { 'content-length': '0' }, narrow);
    const answer = await send('POST', path, empty, narrow);
    t.ok(answer.status >= 400, path);
    t.equal(answer.status, none.status);
    t.same(answer.json().error, none.json().error);
  }
  t.equal(upstream.requests.length, before);
});

t.test('a coding of nothing is not sent on', async (t) => {
  const before = upstream.requests.length;
  const headers = { ...empty, 'content-encoding': 'gzip' };
  t.equal((await send('DELETE', '/v1/responses/r', headers)).status, 200);
  t.equal(upstream.requests[before]?.headers['content-encoding'], undefined);
});
