import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';

t.test('a connection that never asks anything does not hold up a stop', async (t) => {
  const gateway = await startGateway(t);
  const { hostname, port } = new URL(gateway.origin);
  // A browser opens some of these ahead of need; the second one breaks off in mid-head.
  const silent = connect(Number(port), hostname);
  const halting = connect(Number(port), hostname);
  for (const socket of [silent, halting]) {
    socket.on('error', () => {});
    await once(socket, 'connect');
  }
  halting.write('GET /healthz HTTP/1.1\r\nhost: x\r\n');
  await (await fetch(`${gateway.origin}/healthz`)).text();
  const startedAt = performance.now();
  await gateway.stop();
  t.ok(performance.now() - startedAt < 10_000, 'before any timeout of the server');
});
