import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import t from 'tap';
import { createEgress } from '../../src/egress/egress.ts';
import { call, credentialOf } from '../support/egress-call.ts';
import { testCa } from '../support/upstream.ts';

const folder = new URL('../support/tls/', import.meta.url);

t.test('a server that wants to negotiate anew is refused, and the call says that it failed', async (t) => {
  const asked = Promise.withResolvers<Error | null>();
  const server = createServer(
    {
      cert: readFileSync(new URL('leaf.pem', folder)),
      key: readFileSync(new URL('leaf.key', folder)),
      maxVersion: 'TLSv1.2',
    },
    (socket: TLSSocket) => {
      const onAnswer = (error: Error | null): void => {
        asked.resolve(error);
        socket.destroy();
      };
      socket.on('error', onAnswer);
      socket.once('data', () => socket.renegotiate({}, onAnswer));
    },
  ).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const egress = createEgress({ ca: testCa });
  t.teardown(async () => {
    await egress.close();
    server.close();
  });
  const origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const outcome = await call(egress, { origin, credential: credentialOf() });
  t.match(outcome.error, { code: 'UPSTREAM_ERROR', stale: false });
  t.match(await asked.promise, { message: /renegotiation/i });
});

t.test(
  'an answer that comes before TLS has told that its request left does not cost the connection',
  async (t) => {
    const provider = fork(new URL('../support/quick-tls.ts', import.meta.url));
    const egress = createEgress({ ca: testCa });
    t.teardown(async () => {
      provider.disconnect();
      await egress.close();
    });
    const [port] = (await once(provider, 'message')) as [number];
    const origin = `https://127.0.0.1:${port}`;
    const calls = Array.from({ length: 8 }, async () => {
      for (let i = 0; i < 50; i += 1) {
        const { status } = await call(egress, {
          origin,
          body: Buffer.from('{}'),
          credential: credentialOf(),
        });
        if (status !== 200) throw new Error(`status ${status}`);
      }
    });
    await Promise.all(calls);
    provider.send('how many?');
    const [connections] = (await once(provider, 'message')) as [number];
    t.ok(connections <= 40, `${connections} handshakes for 400 calls`);
  },
);
