import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { testCa } from '../support/upstream.ts';

/*
 * Origins to which no connection comes about: nothing is sent to any of them, and no key is opened for them.
 */
t.setTimeout(60_000);

const key = 'sk-test-unreachable-0123456789abcdef';
const tls = (name: string): string =>
  readFileSync(new URL(`../support/tls/${name}`, import.meta.url), 'utf8');

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

let heard = 0;
async function tlsPort(cert: string, keyFile = 'faulty.key'): Promise<number> {
  const server = createTlsServer({ cert: tls(cert), key: tls(keyFile) }, (socket) => {
    socket
      .on('error', () => {})
      .on('data', () => {
        heard += 1;
        socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}');
      });
  });
  server.on('tlsClientError', () => {});
  return listen(server);
}

const silent = createTcpServer((socket) => {
  socket.on('error', () => {}).resume();
  t.teardown(() => socket.destroy());
});
const closed = createTcpServer();
const closedPort = await listen(closed);
closed.close();
const plain = createTcpServer((socket) => socket.on('error', () => {}).end('220 mail.example ESMTP\r\n'));

const origins = {
  good: `https://127.0.0.1:${await tlsPort('leaf.pem', 'leaf.key')}`,
  expired: `https://127.0.0.1:${await tlsPort('expired.pem')}`,
  'other-name': `https://127.0.0.1:${await tlsPort('other-name.pem')}`,
  'self-signed': `https://127.0.0.1:${await tlsPort('self-signed.pem')}`,
  'no-tls': `https://127.0.0.1:${await listen(plain)}`,
  silent: `https://127.0.0.1:${await listen(silent)}`,
  refused: `http://127.0.0.1:${closedPort}`,
  unknown: 'http://nowhere.invalid',
} as const;

const gateway = await startGateway(t, {
  ca: `${testCa}\n${tls('faulty-ca.pem')}`,
  settings: {
    SALLYPORT_ALLOW_ORIGINS: Object.values(origins).join(','),
    UPSTREAM_TIMEOUTS: 'custom.connect=1s',
    JOURNAL_SYNC: 'relaxed',
  },
});
for (const [name, origin] of Object.entries(origins))
  await gateway.addKey('custom', key, { name, origins: [origin] });
const call = (name: string) =>
  ask(`${gateway.origin}/custom/${name}/v1/chat/completions`, {
    headers: { authorization: `Bearer ${gateway.token}` },
    body: { model: name },
  });

t.test('a provider with a certificate in order is reached', async (t) => {
  t.equal((await call('good')).status, 200);
  t.ok(heard > 0);
});

for (const [what, name, status, code, words] of [
  ['a certificate that has expired', 'expired', 502, 'UPSTREAM_UNREACHABLE', /certificate has expired/],
  [
    'a certificate for another name',
    'other-name',
    502,
    'UPSTREAM_UNREACHABLE',
    /certificate is for another name/,
  ],
  [
    'a certificate that nobody signed',
    'self-signed',
    502,
    'UPSTREAM_UNREACHABLE',
    /nobody who is trusted here/,
  ],
  ['a port that does not speak TLS', 'no-tls', 502, 'UPSTREAM_UNREACHABLE', /could not be reached/],
  [
    'a port that says nothing',
    'silent',
    504,
    'UPSTREAM_CONNECT_TIMEOUT',
    /No connection to Custom .* in time/,
  ],
  ['a port that nobody listens on', 'refused', 502, 'UPSTREAM_UNREACHABLE', /could not be reached/],
  ['a name that nobody knows', 'unknown', 502, 'UPSTREAM_UNREACHABLE', /its name is not known/],
] as const) {
  t.test(`${what} is a ${status} that says so, and no key is opened`, async (t) => {
    const before = heard;
    const answer = await call(name);
    t.equal(answer.status, status);
    t.equal(answer.header('x-sallyport-code'), code);
    t.match(answer.json().error.message, words);
    t.equal(heard, before, 'nothing was sent');
    await gateway.shipped();
    const { body } = await gateway.api('GET', '/usage/calls?limit=1');
    t.match(body.data, [
      { model: name, outcome: code, endReason: status === 504 ? 'timeout' : 'upstream_broken', final: true },
    ]);
  });
}

t.test('keys were opened for the one call alone, and nothing is left', async (t) => {
  t.match(await gateway.metrics(), /^sallyport_key_opens_total\{[^}]*provider="custom"[^}]*\} 1$/m);
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
});
