import { connect } from 'node:net';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-test-head-0123456789abcdef';
const ask = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] });

t.test('the head of an answer goes on at once when its body is still to come', async (t) => {
  for (const type of ['application/json', 'text/event-stream']) {
    const gate = Promise.withResolvers<void>();
    const body = type === 'application/json' ? '{"choices":[]}' : 'data: {"choices":[]}\n\ndata: [DONE]\n\n';
    const upstream = await scriptUpstream(t, {
      key,
      script: (_request, answer) => {
        answer.writeHead(200, { 'content-type': type }).flushHeaders();
        void gate.promise.then(() => answer.end(body));
      },
    });
    const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
    await gateway.addKey('openai', key);
    // Would hang if the head waited for the body, which waits for the head.
    const response = await fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
      body: ask,
    });
    t.equal(response.status, 200, type);
    gate.resolve();
    t.equal(await response.text(), body);
  }
});

t.test('an answer that came whole goes on in one write', async (t) => {
  const upstream = await scriptUpstream(t, {
    key,
    script: [{ body: { choices: [], pad: 'x'.repeat(1000) } }],
  });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  const socket = connect({ port: Number(new URL(gateway.origin).port), host: '127.0.0.1' });
  const reads: string[] = [];
  const closed = new Promise<void>((resolve) => void socket.on('close', resolve));
  socket.on('data', (chunk: Buffer) => reads.push(chunk.toString()));
  const head = [
    'POST /v1/chat/completions HTTP/1.1',
    'host: x',
    'connection: close',
    'content-type: application/json',
    `authorization: Bearer ${gateway.token}`,
    `content-length: ${ask.length}`,
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n${ask}`);
  await closed;
  t.equal(reads.length, 1);
  t.match(reads[0], /^HTTP\/1\.1 200 OK\r\n/);
  t.match(reads[0], /x{1000}"\}$/);
});
