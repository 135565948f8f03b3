import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { AnswerWriter } from '../../src/gateway/answer-writer.ts';
import { createListener } from '../../src/routes/listener.ts';
import { rawConnection, type RawConnection } from '../support/http-client.ts';

const writeIdleMs = 500;
const source = { onFull: () => {}, onTaken: () => {}, onStalled: () => {} };

interface Queued {
  readonly client: RawConnection;
  readonly first: ServerResponse;
  readonly second: ServerResponse;
  readonly writer: AnswerWriter;
}

/** Two pipelined calls, of which the second one's answer waits for the first one's. Time stands still, but for `mock.timers.tick`. */
async function queue(t: Test): Promise<Queued> {
  const responses: ServerResponse[] = [];
  const both = Promise.withResolvers<void>();
  const server = createListener({
    tls: null,
    serve(_request, response) {
      if (responses.push(response) === 2) both.resolve();
    },
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const one = 'GET /v1/x HTTP/1.1\r\nhost: x\r\n\r\n';
  const client = await rawConnection(`http://127.0.0.1:${port}`, one + one);
  await both.promise;
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => {
    mock.timers.reset();
    client.socket.destroy();
    server.close();
  });
  const [first, second] = responses as [ServerResponse, ServerResponse];
  t.equal(second.socket, null, 'it is queued');
  return { client, first, second, writer: new AnswerWriter(second, writeIdleMs, source) };
}

async function openTurn({ first, second }: Queued): Promise<void> {
  const turn = once(second, 'socket');
  first.end('{}');
  await turn;
}

/** More than two sockets take. */
const large = Buffer.alloc(32 * 1024 * 1024, 'x');

t.test('a whole answer that waited for its turn waits for its reader no longer than others', async (t) => {
  const queued = await queue(t);
  const { client, second, writer } = queued;
  client.socket.pause();
  writer.writeHead(200, ['content-length', String(large.length)]);
  writer.write(large);
  writer.end();
  writer.release();
  mock.timers.tick(10 * writeIdleMs);
  t.notOk(second.destroyed, 'nobody is blamed before its turn');
  await openTurn(queued);
  mock.timers.tick(writeIdleMs - 1);
  t.notOk(second.destroyed);
  mock.timers.tick(1);
  t.ok(second.destroyed);
});

t.test('one that is taken in time is whole, and its connection goes on', async (t) => {
  const queued = await queue(t);
  const { client, second, writer } = queued;
  writer.writeHead(200, ['content-length', '4']);
  writer.write(Buffer.from('"ok"'));
  writer.end();
  writer.release();
  const closed = once(second, 'close');
  await openTurn(queued);
  await client.seen(/\{\}[^]*\r\n\r\n"ok"$/);
  await closed;
  mock.timers.tick(10 * writeIdleMs);
  t.notOk(client.socket.destroyed);
});

t.test('the last word of a stream that broke before its turn is said when the turn comes', async (t) => {
  const queued = await queue(t);
  const { client, second, writer } = queued;
  writer.writeHead(200, ['content-type', 'text/event-stream'], true);
  writer.write(Buffer.from('data: 1\n\n'));
  writer.breakOff(Buffer.from('data: broken\n\n'));
  writer.release();
  mock.timers.tick(60_000);
  t.notOk(second.destroyed);
  await openTurn(queued);
  const text = await client.closed();
  t.match(text, /\{\}HTTP\/1\.1 200[^]*data: 1\n\n[^]*data: broken\n\n\r\n$/);
});

t.test('and its reader has no longer for it than others', async (t) => {
  const queued = await queue(t);
  const { client, second, writer } = queued;
  client.socket.pause();
  writer.writeHead(200, ['content-type', 'text/event-stream'], true);
  writer.write(large);
  writer.breakOff(Buffer.from('data: broken\n\n'));
  writer.release();
  mock.timers.tick(60_000);
  await openTurn(queued);
  mock.timers.tick(1999);
  t.notOk(second.destroyed);
  mock.timers.tick(1);
  t.ok(second.destroyed);
});
