import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import t, { type Test } from 'tap';
import {
  createEgress,
  type Egress,
  type EgressControl,
  type EgressError,
  type EgressStream,
} from '../../src/egress/egress.ts';
import { call, credentialOf, testKey } from '../support/egress-call.ts';
import { testCa } from '../support/upstream.ts';

const folder = new URL('../support/tls/', import.meta.url);

interface Peer {
  readonly origin: string;
  /** The provider's end of each connection that changed protocols, and its request. */
  readonly upgraded: readonly { readonly request: http.IncomingMessage; readonly socket: Socket }[];
  readonly connections: number;
}

/** Changes protocols whenever it is asked, and echoes; anything else it answers with 200. */
async function echoing(t: Test, isTls: boolean): Promise<Peer> {
  const upgraded: { request: http.IncomingMessage; socket: Socket }[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const plain = (_request: unknown, answer: http.ServerResponse): void => void answer.end('plain');
  const server = isTls
    ? https.createServer(
        { cert: readFileSync(new URL('leaf.pem', folder)), key: readFileSync(new URL('leaf.key', folder)) },
        plain,
      )
    : http.createServer(plain);
  server.on(isTls ? 'secureConnection' : 'connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {}).once('close', () => sockets.delete(socket));
  });
  server.on('upgrade', (request: http.IncomingMessage, socket: Socket) => {
    upgraded.push({ request, socket });
    socket.write(
      'HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-own: yes\r\n\r\nfirst',
    );
    socket.on('data', (chunk) => socket.write(chunk)).on('end', () => socket.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  return {
    origin: `${isTls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    upgraded,
    get connections() {
      return connections;
    },
  };
}

interface Session {
  readonly control: EgressControl;
  readonly opened: Promise<{ headers: readonly [string, string][]; stream: EgressStream }>;
  readonly ended: Promise<EgressError | null>;
  /** Settles when what has come is this. */
  heard(text: string): Promise<void>;
}

function upgrade(
  egress: Egress,
  origin: string,
  credential = credentialOf(),
  searchFrom: 0 | 400 = 400,
): Session {
  const opened = Promise.withResolvers<Awaited<Session['opened']>>();
  const ended = Promise.withResolvers<EgressError | null>();
  let text = '';
  const waiting = new Set<() => void>();
  const control = egress.dispatch(
    {
      origin,
      reach: 'operator',
      method: 'GET',
      path: '/v1/realtime',
      headers: ['sec-websocket-version', '13'],
      body: null,
      credential,
      searchFrom,
      timeouts: { connectMs: 5000, headersMs: 5000, bodyMs: 5000 },
      upgrade: 'websocket',
    },
    {
      onStart() {},
      onHeaders() {},
      onUpgrade: (headers, stream) => opened.resolve({ headers, stream }),
      onData(chunk) {
        text += chunk.toString('latin1');
        for (const check of waiting) check();
      },
      onEnd: () => ended.resolve(null),
      onError: (error) => ended.resolve(error),
    },
  );
  return {
    control,
    opened: opened.promise,
    ended: ended.promise,
    heard: (wanted) =>
      new Promise((resolve) => {
        const check = (): void => void (text === wanted && resolve());
        waiting.add(check);
        check();
      }),
  };
}

for (const isTls of [false, true]) {
  t.test(
    `${isTls ? 'https' : 'http'}: a connection that changes protocols carries the key and is the call’s own`,
    async (t) => {
      const peer = await echoing(t, isTls);
      const egress = createEgress({ ca: testCa });
      t.teardown(() => egress.close());
      const idle = { origin: peer.origin, method: 'GET', body: null };
      await call(egress, idle);
      const credential = credentialOf();
      const session = upgrade(egress, peer.origin, credential);
      const { headers, stream } = await session.opened;
      t.same(
        headers.find(([name]) => name === 'x-own'),
        ['x-own', 'yes'],
      );
      t.equal(peer.connections, 2, 'it takes none that has served before');
      const seen = peer.upgraded[0]?.request;
      t.equal(seen?.headers.authorization, `Bearer ${testKey}`);
      t.equal(seen?.headers['x-sallyport-hop'], egress.hop);
      t.ok(
        credential.lent.every((memory) => memory.every((byte) => byte === 0)),
        'the lent memory is wiped',
      );
      await session.heard('first');

      session.control.pause();
      stream.write(Buffer.from(' and second'));
      await call(egress, idle);
      session.control.resume();
      await session.heard('first and second');
      t.equal(peer.connections, 2, 'other calls go on beside it');

      peer.upgraded[0]?.socket.end();
      t.equal(await session.ended, null);

      const other = upgrade(egress, peer.origin);
      await other.opened;
      const gone = once(peer.upgraded[1]?.socket as Socket, 'close');
      other.control.abort();
      t.match(await other.ended, { code: 'ABORTED' });
      await gone;

      const last = upgrade(egress, peer.origin);
      await last.opened;
      await egress.close();
      t.match(await last.ended, { code: 'ABORTED' }, 'closing the egress ends sessions');
    },
  );
}

t.test('a provider that changes protocols unasked fails the call', async (t) => {
  const peer = await echoing(t, false);
  const egress = createEgress();
  t.teardown(() => egress.close());
  const other = http.createServer((_request, answer) => {
    answer.socket?.write('HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n');
  });
  other.listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.teardown(() => other.close());
  const { port } = other.address() as AddressInfo;
  const answer = await call(egress, { origin: `http://127.0.0.1:${port}`, method: 'GET', body: null });
  t.match(answer.error, { code: 'UPSTREAM_ERROR' });
  t.equal(peer.upgraded.length, 0);
  other.closeAllConnections();
});

t.test(
  'the key is taken out of what a searched session says, and what may begin it comes after a while',
  async (t) => {
    const peer = await echoing(t, false);
    const egress = createEgress();
    t.teardown(() => egress.close());
    const session = upgrade(egress, peer.origin, credentialOf(), 0);
    const { stream } = await session.opened;
    stream.write(Buffer.from(` ${testKey} `));
    await session.heard(`first ${'*'.repeat(testKey.length)} `);
    t.equal(session.control.keyEchoes, 1);
    stream.write(Buffer.from(testKey.slice(0, 10)));
    await session.heard(`first ${'*'.repeat(testKey.length)} ${testKey.slice(0, 10)}`);
    session.control.abort();
    await session.ended;
  },
);
