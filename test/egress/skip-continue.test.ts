import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t from 'tap';
import { skipContinue, type Awaiting } from '../../src/egress/skip-continue.ts';

const pairs: Socket[] = [];
const server = createServer({ noDelay: true }, (socket) => void pairs.push(socket));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
t.teardown(() => {
  for (const socket of pairs) socket.destroy();
  server.close();
});

/** What comes through of these writes, each in a segment of its own, as undici reads. */
async function readOf(writes: readonly string[], call: Awaiting = { isAnswered: false }): Promise<string> {
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const [peer] = await accepted;
  skipContinue(socket, () => call);
  let text = '';
  const turn = { arrived: () => {} };
  socket.on('readable', () => {
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null)
      text += chunk.toString('latin1');
    turn.arrived();
  });
  let sent = 0;
  for (const part of writes) {
    sent += part.length;
    const { promise, resolve } = Promise.withResolvers<void>();
    turn.arrived = () => {
      if (socket.bytesRead >= sent) resolve();
    };
    peer.write(part);
    await promise;
  }
  socket.destroy();
  return text;
}

const go = 'HTTP/1.1 100 Continue\r\n\r\n';
const named = 'HTTP/1.1 100\r\nx-why: HTTP/1.1 100\r\n\r\n';
const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nbody';

t.test('what says to continue is taken out wherever it is cut, and nothing else is', async (t) => {
  for (const [all, rest] of [
    [go + ok, ok],
    [named + go + ok, ok],
    [ok, ok],
    ['HTTP/1.1 103 Early Hints\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
    ['HTTP/1.1 1000 x\r\n\r\n', 'HTTP/1.1 1000 x\r\n\r\n'],
    ['no HTTP', 'no HTTP'],
  ] as const) {
    t.equal(await readOf([all]), rest);
    for (let at = 1; at < all.length; at += 3)
      t.equal(await readOf([all.slice(0, at), all.slice(at)]), rest, `cut at ${at}`);
  }
  t.equal(await readOf((go + ok).split('')), ok, 'byte by byte');
});

t.test('a head without an end is not kept for ever', async (t) => {
  const endless = `HTTP/1.1 100 Continue\r\n${'x-more: and more\r\n'.repeat(2000)}`;
  t.equal(await readOf([endless]), endless);
});

t.test('where an answer has begun, nothing is looked for', async (t) => {
  t.equal(await readOf([go], { isAnswered: true }), go);
});
