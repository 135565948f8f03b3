import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';
import t, { type Test } from 'tap';
import { createEgress, type Egress } from '../../src/egress/egress.ts';
import { call, credentialOf, type Ask, type Outcome } from '../support/egress-call.ts';
import { testCa } from '../support/upstream.ts';

const folder = new URL('../support/tls/', import.meta.url);

interface RawUpstream {
  readonly origin: string;
  /** Requests read whole and answered. */
  readonly served: number;
  readonly connections: number;
}

/**
 * A server that decides for each request, before it reads it, whether to serve it; `decide` gets the number of requests that the
 * connection has served.
 */
async function rawUpstream(
  t: Test,
  tls: boolean,
  decide: (served: number, socket: Socket) => 'serve' | 'handled',
): Promise<RawUpstream> {
  let served = 0;
  let connections = 0;
  const sockets = new Set<Socket>();
  const onSocket = (socket: Socket): void => {
    connections += 1;
    sockets.add(socket);
    let mine = 0;
    let text = '';
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    socket.on('data', (chunk) => {
      if (socket.writableEnded) return; // it has closed: what comes now is nobody's to serve
      if (text === '' && decide(mine, socket) === 'handled') return;
      text += chunk.toString('latin1');
      const head = text.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (head < 0 || text.length < head + 4 + length) return;
      text = '';
      mine += 1;
      served += 1;
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
    });
  };
  const server = tls
    ? createTlsServer(
        { cert: readFileSync(new URL('leaf.pem', folder)), key: readFileSync(new URL('leaf.key', folder)) },
        onSocket,
      )
    : createServer(onSocket);
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    origin: `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get served() {
      return served;
    },
    get connections() {
      return connections;
    },
  };
}

function egressFor(t: Test): Egress {
  const egress = createEgress({ ca: testCa });
  t.teardown(() => egress.close());
  return egress;
}

function cut(socket: Socket): void {
  ((socket as { _parent?: Socket })._parent ?? socket).resetAndDestroy();
}

/** A small generator (mulberry32), so that a failure can be run again. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

for (const tls of [false, true])
  t.test(
    `${tls ? 'https' : 'http'}: of 2 000 POSTs to an upstream that closes idle connections at random, only stale ones are repeated, and each is served once`,
    async (t) => {
      const random = randomFrom(tls ? 7 : 11);
      const upstream = await rawUpstream(t, tls, (served, socket) => {
        // The moment of reuse, when the close and the request cross: the request is thrown away unread.
        if (served > 0 && random() < 0.08) {
          if (random() < 0.5) cut(socket);
          else socket.destroy();
          return 'handled';
        }
        // Or some turns later, in order: before or after this answer, but never on a connection that has not served yet.
        if (served > 0 && random() < 0.05) {
          let turns = Math.floor(random() * 4);
          const later = (): void => {
            turns -= 1;
            if (turns < 0) socket.end();
            else setImmediate(later);
          };
          setImmediate(later);
        }
        return 'serve';
      });
      const egress = egressFor(t);
      const body = Buffer.from('{"model":"gpt-4o","messages":[]}');
      const total = 2000;
      let next = 0;
      let repeats = 0;
      let opened = 0;
      const failures: Outcome[] = [];
      const worker = async (): Promise<void> => {
        while (next < total) {
          next += 1;
          for (;;) {
            const credential = credentialOf();
            const outcome = await call(egress, { origin: upstream.origin, body, credential });
            opened += credential.opened;
            if (outcome.error === null) break;
            if (!outcome.error.stale) {
              failures.push(outcome);
              break;
            }
            repeats += 1;
          }
        }
      };
      await Promise.all([worker(), worker(), worker(), worker()]);
      t.same(
        failures.map(({ error }) => `${error?.code} ${error?.reachedUpstream} ${error?.message}`),
        [],
      );
      t.equal(upstream.served, total, 'the upstream served exactly what was asked');
      t.ok(repeats > 50, `${repeats} repeats`);
      t.equal(opened, total + repeats, 'the key was opened once an attempt');
      t.ok(upstream.connections < total / 2, `${upstream.connections} connections: they were kept alive`);
    },
  );

for (const tls of [false, true]) {
  const scheme = tls ? 'https' : 'http';

  /** One good call, then one that ends as `onSecond` does. */
  const second = async (
    t: Test,
    onSecond: (socket: Socket) => void,
    ask: Partial<Ask> = {},
  ): Promise<Outcome> => {
    const upstream = await rawUpstream(t, tls, (served, socket) => {
      if (served === 0) return 'serve';
      onSecond(socket);
      return 'handled';
    });
    const egress = egressFor(t);
    const { origin } = upstream;
    t.equal((await call(egress, { origin, credential: credentialOf() })).error, null);
    const outcome = await call(egress, {
      origin,
      credential: credentialOf(),
      body: Buffer.from('{}'),
      ...ask,
    });
    t.equal(upstream.connections, 1);
    return outcome;
  };

  t.test(`${scheme}: a used connection that dies before any byte of the answer is stale`, async (t) => {
    for (const die of [cut, (socket: Socket) => socket.destroy(), (socket: Socket) => socket.end()])
      t.match((await second(t, die)).error, { code: 'UPSTREAM_ERROR', reachedUpstream: true, stale: true });
  });

  t.test(`${scheme}: with any byte of an answer seen it is not`, async (t) => {
    for (const text of [
      'H',
      '\r\n',
      'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n',
      'HTTP/1.1 200 OK\r\n',
      'garbage',
    ])
      for (const die of [cut, (socket: Socket) => socket.end()]) {
        const { error } = await second(t, (socket) => {
          // The bytes leave, and are read, before the end comes.
          socket.write(text, () => setImmediate(() => setImmediate(() => die(socket))));
        });
        t.match(error, { code: 'UPSTREAM_ERROR', reachedUpstream: true, stale: false }, JSON.stringify(text));
      }
  });

  t.test(`${scheme}: a stream as body cannot be sent again, so it is never stale`, async (t) => {
    const body = Readable.from([Buffer.from('abc')], { objectMode: false });
    t.match((await second(t, cut, { body })).error, { stale: false });
  });

  t.test(`${scheme}: a timeout on a used connection is not stale`, async (t) => {
    const timeouts = { connectMs: 1000, headersMs: 40, bodyMs: 0 };
    t.match((await second(t, () => {}, { timeouts })).error, {
      code: 'UPSTREAM_FIRST_BYTE_TIMEOUT',
      stale: false,
    });
  });

  t.test(`${scheme}: a fresh connection that dies is a failure of the provider, not stale`, async (t) => {
    for (const die of [cut, (socket: Socket) => socket.destroy()]) {
      const upstream = await rawUpstream(t, tls, (_served, socket) => {
        die(socket);
        return 'handled';
      });
      const { error } = await call(egressFor(t), { origin: upstream.origin, body: Buffer.from('{}') });
      t.match(error, { code: 'UPSTREAM_ERROR', reachedUpstream: true, stale: false });
    }
  });
}

t.test('the server’s hint shortens how long a connection is kept', async (t) => {
  let answers = 0;
  const upstream = await rawUpstream(t, false, (_served, socket) => {
    answers += 1;
    socket.write('HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok');
    return 'handled';
  });
  const egress = egressFor(t);
  for (let i = 0; i < 3; i += 1) t.equal((await call(egress, { origin: upstream.origin })).error, null);
  t.equal(answers, 3);
  t.equal(upstream.connections, 3, 'one second less one of margin: none is used twice');
});

t.test('an answer that says close is the last on its connection', async (t) => {
  const upstream = await rawUpstream(t, false, (_served, socket) => {
    socket.write('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok');
    return 'handled';
  });
  const egress = egressFor(t);
  for (let i = 0; i < 3; i += 1) t.equal((await call(egress, { origin: upstream.origin })).error, null);
  t.equal(upstream.connections, 3);
});
