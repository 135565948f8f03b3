import { once } from 'node:events';
import { createServer, type AddressInfo, type LookupFunction } from 'node:net';
import t, { type Test } from 'tap';
import { createEgress, type Egress } from '../../src/egress/egress.ts';
import { placeholderMark } from '../../src/egress/placeholder.ts';
import { createTunnel } from '../../src/egress/proxy.ts';
import { connectProxy } from '../support/connect-proxy.ts';
import { call, credentialOf, testKey } from '../support/egress-call.ts';
import { renewedCa } from '../support/tls-files.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';

const both = testCa + renewedCa;

function egressBy(t: Pick<Test, 'teardown'>, proxy: string, directOrigins: readonly string[] = []): Egress {
  const lookup = (): never => {
    throw new Error('a name was resolved here');
  };
  const egress = createEgress({ ca: both, proxy, directOrigins, lookup });
  t.teardown(() => egress.close());
  return egress;
}

const origin = 'https://llm.example.com';
const authority = 'llm.example.com:443';
const body = Buffer.from('{"a":"what is asked"}');

t.test('a call goes through the operator’s proxy, which sees the name and nothing else', async (t) => {
  const upstream = await scriptUpstream(t, { tls: 'renewed', key: testKey });
  const routes = new Map([[authority, upstream.port]]);
  for (const tls of [false, true]) {
    const proxy = await connectProxy(t, { tls, credentials: 'jo@corp:p:ä?', routes });
    const url = new URL(proxy.url);
    url.username = 'jo@corp';
    url.password = 'p:ä?';
    const egress = egressBy(t, url.href);
    const before = upstream.connections;
    for (let n = 0; n < 3; n += 1) {
      const credential = credentialOf();
      const outcome = await call(egress, {
        origin,
        reach: 'public',
        credential,
        body,
      });
      t.match(outcome, { error: null, status: 200 });
      t.same(credential.places, [{ origin, header: 'authorization' }]);
      t.ok(
        credential.lent.every((bytes) => bytes.every((byte) => byte === 0)),
        'wiped',
      );
    }
    t.equal(upstream.connections, before + 1, 'a tunnel is kept like any connection');
    t.equal(proxy.heads.length, 1);
    t.match(
      proxy.heads[0],
      /^CONNECT llm\.example\.com:443 HTTP\/1\.1\r\nhost: llm\.example\.com:443\r\nproxy-authorization: Basic \S+\r\n\r\n$/,
    );
    t.equal(upstream.requests.at(-1)?.headers['proxy-authorization'], undefined);
    const seen = proxy.heads.join('') + Buffer.concat(proxy.passed).toString('latin1');
    for (const secret of [testKey, egress.hop, placeholderMark, '/v1/chat/completions', String(body)])
      t.notOk(seen.includes(secret), secret);
  }
});

t.test('the provider is verified end to end: a proxy that answers in its place gets nothing', async (t) => {
  const wrong = await scriptUpstream(t, { tls: true });
  const plain = await scriptUpstream(t);
  const proxy = await connectProxy(t);
  const egress = egressBy(t, proxy.url);
  for (const port of [wrong.port, plain.port]) {
    proxy.set({ routes: new Map([[authority, port]]) });
    const credential = credentialOf();
    const { error } = await call(egress, { origin, reach: 'public', credential });
    t.match(error, { code: 'UPSTREAM_UNREACHABLE', reachedUpstream: false });
    t.same(credential.places, [], 'no key was asked for');
  }
  t.equal(wrong.requests.length + plain.requests.length, 0);
});

t.test('whatever the proxy says in place of 200 is told in words, and no key was opened', async (t) => {
  const proxy = await connectProxy(t);
  const egress = egressBy(t, proxy.url.replace('//', '//user:hunter2@'));
  const cases: [bytes: string, end: boolean, words: RegExp][] = [
    ['HTTP/1.1 407 Proxy Authentication Required\r\n\r\n', true, /wants other credentials \(407\)/],
    ['HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nforbidden', true, /refused the connection \(403\)/],
    ['HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n', false, /refused the connection \(302\)/],
    ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n', false, /refused the connection \(100\)/],
    ['', true, /closed the connection/],
    ['HTTP/1.1 200 OK\r\n', true, /closed the connection/],
    ['SSH-2.0-OpenSSH\r\n\r\n', false, /does not speak HTTP/],
    ['HTTP/1.1 2000 OK\r\n\r\n', false, /does not speak HTTP/],
    ['HTTP/1.1 200 OK\r\n\r\n\u0016\u0003\u0003', false, /said more/],
    [`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(20_000)}`, false, /more than 16 KiB/],
    [`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`, false, /more than 16 KiB/],
  ];
  for (const [bytes, end, words] of cases) {
    proxy.set({ says: { bytes, end } });
    const credential = credentialOf();
    const { error } = await call(egress, { origin, reach: 'public', credential });
    t.match(
      error,
      { code: 'UPSTREAM_UNREACHABLE', reachedUpstream: false, stale: false, fault: words },
      bytes.slice(0, 40),
    );
    t.notMatch(error?.message, /hunter2|127\.0\.0\.1/);
    t.same(credential.places, []);
  }
  // Hangs where one is left open.
  await Promise.all([...proxy.sockets].map((socket) => once(socket, 'close')));
});

t.test('a proxy that is away, or never answers, is told as that', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const slow = createTunnel({
    url: `http://127.0.0.1:${port}`,
    ca: undefined,
    lookup: undefined,
    withinMs: 50,
  });
  const gone = Promise.withResolvers<void>();
  server.once('connection', (socket) =>
    socket
      .on('error', () => {})
      .resume()
      .once('close', gone.resolve),
  );
  const error = await new Promise((resolve) =>
    slow('llm.example.com', 443, (...result) => resolve(result[0])),
  );
  t.match(error, { code: 'UPSTREAM_UNREACHABLE', fault: /did not answer in time/ });
  await gone.promise;
  server.close();
  await once(server, 'close');
  const egress = egressBy(t, `http://127.0.0.1:${port}`);
  t.match((await call(egress, { origin, reach: 'public' })).error, {
    fault: /cannot be used \(ECONNREFUSED\)/,
  });
  const untrusted = await connectProxy(t, { tls: true });
  const unknowing = createEgress({ ca: renewedCa, proxy: untrusted.url });
  t.teardown(() => unknowing.close());
  t.match((await call(unknowing, { origin, reach: 'public' })).error, {
    code: 'UPSTREAM_UNREACHABLE',
    fault: /EGRESS_PROXY\) cannot be used/,
  });
  t.equal(untrusted.heads.length, 0, 'its certificate is verified');
});

t.test('what can be judged without an address is refused before the proxy hears of it', async (t) => {
  const proxy = await connectProxy(t);
  const egress = egressBy(t, proxy.url);
  for (const bad of [
    'https://127.0.0.1',
    'https://10.0.0.1:8443',
    'https://2130706433',
    'https://169.254.169.254',
    'https://[::1]',
    'https://[::ffff:10.0.0.1]',
    'https://[fd00:ec2::254]',
    'https://localhost',
    'https://metadata.google.internal',
    'https://db.corp',
    'https://llm.example.com:22',
    'https://llm.example.com:6379',
    'http://llm.example.com',
  ])
    t.match((await call(egress, { origin: bad, reach: 'public' })).error, { code: 'EGRESS_REFUSED' }, bad);
  t.equal(proxy.heads.length, 0);
});

t.test('which origins of the operator go through the proxy, and which do not', async (t) => {
  const proxy = await connectProxy(t);
  const [plain, secure, named] = [
    await scriptUpstream(t),
    await scriptUpstream(t, { tls: true }),
    await scriptUpstream(t, { tls: 'renewed' }),
  ];
  const direct = `https://vault.example.com:${named.port}`;
  const lookup: LookupFunction = (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]);
  const egress = createEgress({ ca: both, proxy: proxy.url, directOrigins: [direct], lookup });
  t.teardown(() => egress.close());
  for (const straight of [plain.origin, secure.origin, direct, `http://llm.example.com:${plain.port}`])
    t.match(await call(egress, { origin: straight }), { status: 200, error: null }, straight);
  t.equal(proxy.heads.length, 0);
  for (const [far, seen] of [
    ['https://eu.api.example.com', 'eu.api.example.com:443'],
    ['https://8.8.8.8:8443', '8.8.8.8:8443'],
    ['https://[2606:4700::1111]', '[2606:4700::1111]:443'],
  ] as const) {
    await call(egress, { origin: far });
    t.ok(proxy.heads.at(-1)?.startsWith(`CONNECT ${seen} HTTP/1.1\r\nhost: ${seen}\r\n`), far);
  }
  t.match(
    (await call(egress, { origin: direct, reach: 'public' })).error,
    { code: 'EGRESS_REFUSED' },
    'guarded again',
  );
});
