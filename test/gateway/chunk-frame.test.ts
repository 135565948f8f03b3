import { once } from 'node:events';
import { get } from 'node:http';
import { connect, createServer, type AddressInfo } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import fc from 'fast-check';
import t from 'tap';
import { frameChunk, lastChunk } from '../../src/gateway/chunk-frame.ts';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-test-frames-0123456789abcdef';
const events = ['data: {"choices":[]}\n\n', `data: "${'x'.repeat(5000)}"\n\n`, 'data: [DONE]\n\n'];
const body = JSON.stringify({ model: 'gpt-4o-mini', stream: true, messages: [] });

const upstream = await scriptUpstream(t, {
  key,
  script: (_request, answer) => {
    answer.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const event of events) answer.write(event);
    answer.end();
  },
});
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);

function call(version: '1.0' | '1.1', more = ''): string {
  return (
    `POST /v1/chat/completions HTTP/${version}\r\nhost: gateway\r\nauthorization: Bearer ${gateway.token}\r\n` +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n${more}\r\n${body}`
  );
}

t.test('whatever is framed is what a reader of HTTP finds', async (t) => {
  let pieces: readonly Buffer[] = [];
  const server = createServer((socket) => {
    socket.write('HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n');
    for (const piece of pieces) socket.write(frameChunk(piece));
    socket.write(lastChunk);
    socket.resume().on('end', () => socket.end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const piece = fc.uint8Array({ minLength: 1, maxLength: 5000 }).map((bytes) => Buffer.from(bytes));
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (some) => {
      pieces = some;
      const [response] = await once(get({ port, host: '127.0.0.1', agent: false }), 'response');
      return Buffer.concat(some).equals(await buffer(response));
    }),
    { numRuns: 100 },
  );
  t.pass();
});

t.test('one connection takes one stream after another', async (t) => {
  const socket = connect(Number(new URL(gateway.origin).port), '127.0.0.1').setEncoding('latin1');
  let came = '';
  socket.on('data', (part: string) => (came += part));
  for (const count of [1, 2, 3]) {
    socket.write(call('1.1', count === 3 ? 'connection: close\r\n' : ''));
    while (came.split('\r\n0\r\n\r\n').length <= count) await once(socket, 'data');
  }
  await once(socket, 'close');
  t.equal(came.split('HTTP/1.1 200 OK').length, 4);
  t.equal(came.split('data: [DONE]\n\n').length, 4);
});

t.test('a client of HTTP/1.0 knows no chunks, and gets none', async (t) => {
  const socket = connect(Number(new URL(gateway.origin).port), '127.0.0.1');
  socket.write(call('1.0'));
  const [head, rest] = splitHead(await text(socket));
  t.notMatch(head, /transfer-encoding/i);
  t.equal(rest, events.join(''));
});

function splitHead(answer: string): [string, string] {
  const at = answer.indexOf('\r\n\r\n') + 4;
  return [answer.slice(0, at), answer.slice(at)];
}
