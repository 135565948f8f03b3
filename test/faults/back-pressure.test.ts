import { once } from 'node:events';
import * as http from 'node:http';
import type { Readable, Writable } from 'node:stream';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-pressure-0123456789abcdef';
const total = 160 * 1024 * 1024;
/** Two pairs of sockets of the system's, of some megabytes each, and little of ours. A gateway that gathers would hold it all. */
const bound = 32 * 1024 * 1024;
const chunk = Buffer.alloc(64 * 1024, 0x61);

/**
 * Writes everything as fast as it is taken, to a reader who reads only while the writer is blocked: no clock decides, and without
 * back-pressure the writer would hardly ever be.
 *
 * @returns the most bytes that were ever on the way.
 */
async function push(from: Writable, to: Promise<Readable>): Promise<number> {
  let written = 0;
  let read = 0;
  let most = 0;
  let isBlocked = false;
  const reader: { stream: Readable | null } = { stream: null };
  void to.then((stream) => {
    reader.stream = stream;
    stream.on('data', (bytes: Buffer) => {
      read += bytes.length;
    });
    if (!isBlocked && written < total) stream.pause();
  });
  while (written < total) {
    const isTaken = from.write(chunk);
    written += chunk.length;
    most = Math.max(most, written - read);
    if (isTaken) continue;
    isBlocked = true;
    reader.stream?.resume();
    await once(from, 'drain');
    isBlocked = false;
    reader.stream?.pause();
  }
  from.end();
  const stream = await to;
  stream.resume();
  if (!stream.readableEnded) await once(stream, 'end');
  if (read !== total) throw new Error(`${read} of ${total} bytes came`);
  return most;
}

t.test('a slow reader of a large answer slows the provider, and nothing gathers in between', async (t) => {
  const answered = Promise.withResolvers<Readable>();
  const pushed = Promise.withResolvers<number>();
  const upstream = await scriptUpstream(t, (_seen, answer) => {
    answer.writeHead(200, { 'content-type': 'audio/mpeg' });
    answer.flushHeaders();
    push(answer, answered.promise).then(pushed.resolve, pushed.reject);
  });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  const request = http.get(`${gateway.origin}/openai/v1/files/f/content`, {
    agent: false,
    headers: { 'x-api-key': gateway.token },
  });
  const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
  answered.resolve(answer);
  const most = await pushed.promise;
  t.ok(most < bound, `at most ${most} bytes were on the way`);
  await gateway.shipped();
});

t.test(
  'a provider who reads an upload slowly slows the client, and nothing gathers in between',
  async (t) => {
    const arrived = Promise.withResolvers<Readable>();
    const server = http.createServer((request, answer) => {
      arrived.resolve(request);
      request.on('end', () => answer.end('{}'));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const { port } = server.address() as { port: number };
    const gateway = await startGateway(t, { upstreams: { openai: `http://127.0.0.1:${port}` } });
    await gateway.addKey('openai', key);
    const request = http.request(`${gateway.origin}/openai/v1/files`, {
      method: 'POST',
      agent: false,
      headers: {
        'x-api-key': gateway.token,
        'content-type': 'multipart/form-data; boundary=x',
        'content-length': total,
      },
    });
    const responded = once(request, 'response') as Promise<[http.IncomingMessage]>;
    const most = await push(request, arrived.promise);
    t.ok(most < bound, `at most ${most} bytes were on the way`);
    const [answer] = await responded;
    t.equal(answer.statusCode, 200);
    answer.resume();
    await once(answer, 'end');
    server.closeAllConnections();
  },
);

t.test('a client that has stopped reading can still be cut off', async (t) => {
  const upstream = await scriptUpstream(t, (_seen, answer) => {
    answer.writeHead(200, { 'content-type': 'audio/mpeg' });
    const more = (): void => {
      while (!answer.destroyed && answer.write(chunk));
    };
    answer.on('drain', more);
    more();
  });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  const request = http.get(`${gateway.origin}/openai/v1/files/f/content`, {
    agent: false,
    headers: { 'x-api-key': gateway.token },
  });
  request.on('error', () => {});
  const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
  answer.on('error', () => {});
  await upstream.received(1);
  const { gone } = upstream.requests[0] as (typeof upstream.requests)[0];
  gateway.app.dataPlane.gateway.cutAll();
  await gone;
  await gateway.app.dataPlane.gateway.idle();
  answer.resume();
  await new Promise((resolve) => {
    answer.once('close', resolve);
  });
  t.notOk(answer.complete);
});
