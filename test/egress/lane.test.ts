import { once } from 'node:events';
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createEgress, type Egress } from '../../src/egress/egress.ts';
import { call, credentialOf, startCall } from '../support/egress-call.ts';
import { scriptUpstream } from '../support/upstream.ts';

function egressFor(t: Test): Egress {
  const egress = createEgress();
  t.teardown(() => egress.close());
  return egress;
}

t.test('one after the other goes over one connection, at once over as many as are needed', async (t) => {
  const gate = Promise.withResolvers<void>();
  const upstream = await scriptUpstream(t, (request) =>
    request.path === '/held' ? { hold: gate.promise } : {},
  );
  const egress = egressFor(t);
  const { origin } = upstream;
  for (let i = 0; i < 20; i += 1) t.equal((await call(egress, { origin })).error, null);
  t.equal(upstream.connections, 1);
  const held = Array.from({ length: 5 }, () => startCall(egress, { origin, path: '/held' }));
  await upstream.received(25);
  for (let i = 0; i < 20; i += 1) await call(egress, { origin });
  t.equal(upstream.connections, 6, 'held ones do not stand in the way');
  gate.resolve();
  await Promise.all(held.map(({ outcome }) => outcome));
  const before = upstream.requests.length;
  for (let i = 0; i < 5; i += 1) await call(egress, { origin });
  const used = new Set(upstream.requests.slice(before).map(({ connection }) => connection));
  t.equal(used.size, 1, 'the last used is taken first, the others grow old');
  t.equal(upstream.connections, 6);
});

t.test('of 300 connections no more than 256 are kept idle', async (t) => {
  const gate = Promise.withResolvers<void>();
  const upstream = await scriptUpstream(t, [{ hold: gate.promise }]);
  const egress = egressFor(t);
  const calls = Array.from({ length: 300 }, () => startCall(egress, { origin: upstream.origin }).outcome);
  await upstream.received(300);
  t.equal(upstream.sockets.size, 300);
  gate.resolve();
  await Promise.all(calls);
  while (upstream.sockets.size > 256) {
    const first = new AbortController();
    await Promise.race(
      Array.from(upstream.sockets, (socket) => once(socket, 'close', { signal: first.signal })),
    );
    first.abort();
  }
  t.equal(upstream.sockets.size, 256);
});

t.test(
  'a connection that the provider closes while idle is forgotten, and the next call makes its own',
  async (t) => {
    const upstream = await scriptUpstream(t);
    const egress = egressFor(t);
    await call(egress, { origin: upstream.origin });
    const [socket] = upstream.sockets;
    socket?.end();
    await once(socket as NonNullable<typeof socket>, 'close');
    t.equal((await call(egress, { origin: upstream.origin })).error, null);
    t.equal(upstream.connections, 2);
  },
);

t.test('after a failed, an aborted and a refused call the next one gets a fresh connection', async (t) => {
  const upstream = await scriptUpstream(t, [
    { events: ['x'], ending: 'reset' },
    { events: ['x'], ending: 'stall' },
    {},
  ]);
  const egress = egressFor(t);
  t.ok((await call(egress, { origin: upstream.origin })).error);
  const stalled = startCall(egress, { origin: upstream.origin });
  await stalled.bytes(1);
  stalled.control.abort();
  t.ok((await stalled.outcome).error);
  const credential = credentialOf('bad key');
  t.match((await call(egress, { origin: upstream.origin, credential })).error, { code: 'KEY_INVALID' });
  t.equal((await call(egress, { origin: upstream.origin })).error, null);
  t.equal(upstream.connections, 4);
});

t.test('a server’s own message as body: the server can answer whatever becomes of the call', async (t) => {
  const gone = await scriptUpstream(t);
  await gone.close();
  const upstream = await scriptUpstream(t, (seen) => ({ body: `${seen.body.length}` }));
  const early = await scriptUpstream(t, [{ status: 413, isEarly: true, body: 'too large' }]);
  const cut = await scriptUpstream(t, [{ isEarly: true, events: ['x'], ending: 'reset' }]);
  const egress = egressFor(t);
  const front = createServer((message, answer) => {
    const origin = String(message.headers['x-to']);
    const headers = ['content-length', String(message.headers['content-length'])];
    call(egress, { origin, headers, body: message })
      .then((outcome) => {
        answer.writeHead(outcome.error === null ? outcome.status : 502, { connection: 'close' });
        answer.end(outcome.error?.code ?? outcome.body);
      })
      .catch((error: unknown) => answer.destroy(error as Error));
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  t.teardown(() => front.close());
  const send = async (to: string, bytes: number): Promise<number> => {
    const sent = request({
      port: (front.address() as AddressInfo).port,
      method: 'POST',
      headers: { 'x-to': to, 'content-length': bytes },
    });
    sent.on('error', () => {});
    sent.end(Buffer.alloc(bytes));
    const [message] = (await once(sent, 'response')) as [IncomingMessage];
    message.resume();
    return message.statusCode ?? 0;
  };
  t.equal(await send(upstream.origin, 100_000), 200);
  t.equal(await send(gone.origin, 100), 502);
  t.equal(await send(early.origin, 100), 413);
  t.equal(await send(cut.origin, 100), 502);
});
