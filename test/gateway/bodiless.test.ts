import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { rawConnection } from '../support/http-client.ts';
import { rawUpstream, written } from '../support/raw-upstream.ts';

let answer = '';
const upstream = await rawUpstream(t, () => ({ play: (socket) => written(socket, [answer]) }));
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', 'sk-test-bodiless-0123456789abcdef');
await gateway.addKey('custom', 'sk-test-bodiless-0123456789abcdef', {
  name: 'local',
  origins: [upstream.origin],
});

/** What the next call's record says. */
async function recordOf(method: string, path: string, body: string) {
  const client = await rawConnection(
    gateway.origin,
    `${method} ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
  );
  const text = await client.closed();
  await gateway.shipped();
  const { data } = (await gateway.api('GET', '/usage/calls')).body;
  return { text, outcome: data[0].outcome as string, status: data[0].upstreamStatus as number | null };
}

const stream = JSON.stringify({ model: 'gpt-4o', stream: true, messages: [] });

t.test('an answer that has no body by HTTP’s own rules is whole, whatever its type says', async (t) => {
  for (const path of [
    '/openai/v1/chat/completions',
    '/openai/v1/responses',
    '/custom/local/v1/chat/completions',
  ])
    for (const status of ['204 No Content', '304 Not Modified', '205 Reset Content\r\ncontent-length: 0'])
      for (const type of ['text/event-stream', 'application/json']) {
        answer = `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\n\r\n`;
        const { text, outcome } = await recordOf('POST', path, stream);
        t.equal(outcome, 'ok', `${path} ${status} ${type}`);
        t.match(text, `HTTP/1.1 ${status.slice(0, 3)}`);
        t.notMatch(text, /UPSTREAM/);
      }
});

t.test('a stream that could have had events, and has none, is still a broken one', async (t) => {
  answer = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n';
  const { text, outcome } = await recordOf('POST', '/openai/v1/chat/completions', stream);
  t.equal(outcome, 'UPSTREAM_STREAM_BROKEN');
  t.match(text, /UPSTREAM_STREAM_BROKEN/);
});
