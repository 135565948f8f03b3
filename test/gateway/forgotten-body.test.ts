import { createHash, hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { collectGarbage } from '../support/garbage.ts';
import { startGateway } from '../support/gateway.ts';
import { rawConnection } from '../support/http-client.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-forgotten-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);

/** Of buffers, with what nobody holds any more taken away. */
function bytesHeld(): number {
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

t.test('a stream holds neither the body that came nor the one that was sent', async (t) => {
  const rest = Promise.withResolvers<void>();
  upstream.respond([{ events: ['{"choices":[]}', rest.promise, '[DONE]'] }]);
  const body = JSON.stringify({
    model: 'gpt-4o',
    stream: true,
    messages: [{ role: 'user', content: 'x'.repeat(4e6) }],
  });
  const connection = await rawConnection(gateway.origin);
  const before = bytesHeld();
  connection.socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  await connection.seen(/choices/);
  const sent = upstream.requests[0]?.body ?? Buffer.alloc(0);
  t.ok(sent.length > body.length, 'usage was asked for in its place');
  const held = bytesHeld() - before;
  // The upstream of this test keeps what it got, in pieces and whole: 8 MB. The gateway would keep as much.
  t.ok(held < 10e6, `${held} bytes are held`);
  rest.resolve();
  await connection.seen(/DONE/);
  connection.socket.end();
  await gateway.shipped();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('usage_events').select(['request_bytes', 'outcome']).execute(),
  );
  t.same(rows, [{ request_bytes: BigInt(sent.length), outcome: 'ok' }]);
});

t.test(
  'no more does a call while its answer comes, and what it has cost is told by what it sent',
  async (t) => {
    const rest = Promise.withResolvers<void>();
    upstream.respond((_request, answer) => {
      answer.writeHead(200, { 'content-type': 'application/json' });
      answer.write('{"choices":[],');
      void rest.promise.then(() => answer.end('"usage":{}}'));
    });
    const body = JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: 'x'.repeat(4e6) }] });
    const connection = await rawConnection(gateway.origin);
    const before = bytesHeld();
    connection.socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await connection.seen(/choices/);
    const held = bytesHeld() - before;
    // What the upstream of this test keeps.
    t.ok(held < 6e6, `${held} bytes are held`);
    rest.resolve();
    await connection.seen(/usage/);
    connection.socket.end();
    await gateway.shipped();
    const rows = await gateway.database.store.asSystem((tx) =>
      tx.selectFrom('usage_events').select(['request_bytes', 'outcome']).orderBy('started_at').execute(),
    );
    t.same(rows.at(-1), { request_bytes: BigInt(body.length), outcome: 'ok' });
  },
);

t.test('what may be sent once more is kept: a stream that was refused goes out again, whole', async (t) => {
  const before = upstream.requests.length;
  upstream.respond((request) =>
    upstream.requests.length === before + 1
      ? { status: 503, headers: { 'retry-after': '0' }, body: { error: { message: 'later' } } }
      : { events: [`{"choices":[],"bytes":${request.body.length}}`, '[DONE]'] },
  );
  const body = JSON.stringify({
    model: 'gpt-4o',
    stream: true,
    messages: [{ role: 'user', content: 'y'.repeat(1e5) }],
  });
  const response = await fetch(`${gateway.origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
    body,
  });
  t.equal(response.status, 200);
  t.match(await response.text(), /DONE/);
  const [first, second] = upstream.requests.slice(before);
  t.ok(first !== undefined && second !== undefined && first.body.equals(second.body));
});

/** A provider that answers with the digest of each body. Of every second one it begins to answer before it has read it, and reads it slowly. */
async function startHasher(t: Test, tls: boolean): Promise<string> {
  const folder = new URL('../support/tls/', import.meta.url);
  let calls = 0;
  const answer = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    calls += 1;
    const isEarly = calls % 2 === 0;
    response.setHeader('content-type', 'application/json');
    if (isEarly) response.write('{"choices":[],');
    const digest = createHash('sha256');
    for await (const chunk of request) {
      digest.update(chunk as Buffer);
      if (isEarly) await setImmediate();
    }
    response.end(`${isEarly ? '' : '{"choices":[],'}"id":"${digest.digest('hex')}"}`);
  };
  const onRequest: http.RequestListener = (request, response) =>
    void answer(request, response).catch(() => response.destroy());
  const server = tls
    ? https.createServer(
        { cert: readFileSync(new URL('leaf.pem', folder)), key: readFileSync(new URL('leaf.key', folder)) },
        onRequest,
      )
    : http.createServer(onRequest);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

for (const tls of [false, true]) {
  t.test(
    `bodies arrive whole, when the answer comes before them too, ${tls ? 'by TLS' : 'in clear'}`,
    async (t) => {
      const gateway = await startGateway(t, { upstreams: { openai: await startHasher(t, tls) }, ca: testCa });
      await gateway.addKey('openai', key);
      const call = async (n: number): Promise<[string, string]> => {
        const content = randomBytes(n % 3 === 0 ? 4e6 : 150_000 + n * 7001).toString('base64');
        const body = JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content }] });
        const response = await fetch(`${gateway.origin}/v1/chat/completions`, {
          method: 'POST',
          headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
          body,
        });
        const { id } = (await response.json()) as { id: string };
        // What is given back is soon somebody else's.
        randomBytes(body.length).fill(n);
        return [id, hash('sha256', body)];
      };
      for (let round = 0; round < 2; round += 1)
        for (const [got, sent] of await Promise.all(Array.from({ length: 12 }, (_, n) => call(n))))
          t.equal(got, sent);
    },
  );
}
