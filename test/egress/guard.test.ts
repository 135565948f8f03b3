import type { LookupAddress } from 'node:dns';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type LookupFunction } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import type { buildConnector } from 'undici';
import { isPublicAddress } from '../../src/egress/address-guard.ts';
import { createEgress, type Egress } from '../../src/egress/egress.ts';
import { guardedConnector } from '../../src/egress/guard.ts';
import { call, credentialOf } from '../support/egress-call.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';

const tlsFolder = new URL('../support/tls/', import.meta.url);

/** Names resolve to what the test says. */
function egressWith(t: Test, answers: Record<string, readonly string[]> = {}): Egress {
  const lookup = (
    name: string,
    _options: object,
    done: (error: Error | null, found: LookupAddress[]) => void,
  ): void =>
    done(
      null,
      (answers[name] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    );
  const egress = createEgress({
    ca: testCa,
    lookup,
    selfOrigins: ['https://gateway.example.com'],
  });
  t.teardown(() => egress.close());
  return egress;
}

const inner = [
  '0.0.0.0',
  '0.1.2.3',
  '10.0.0.1',
  '100.64.0.1',
  '100.100.100.200',
  '127.0.0.1',
  '127.255.0.1',
  '168.63.129.16',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.192',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.1.1',
  '198.18.0.1',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '239.1.1.1',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::7f00:1',
  '::ffff:127.0.0.1',
  '::ffff:10.0.0.1',
  '::ffff:a9fe:a9fe',
  '::ffff:0:127.0.0.1',
  '64:ff9b::7f00:1',
  '64:ff9b::169.254.169.254',
  '64:ff9b:1::1',
  '100::1',
  '2001::1',
  '2001:0:1::1',
  '2001:10::1',
  '2001:db8::1',
  '2002:7f00:1::',
  '3fff::1',
  '5f00::1',
  'fc00::1',
  'fd00:ec2::254',
  'fe80::1',
  'fe80::1%eth0',
  'fec0::1',
  'ff02::1',
  '4000::1',
  'localhost',
  '',
];
const outer = [
  '1.1.1.1',
  '8.8.8.8',
  '172.32.0.1',
  '100.128.0.1',
  '192.0.1.1',
  '223.255.255.255',
  '::ffff:8.8.8.8',
  '2606:4700::1111',
  '2a00:1450::1',
  '2001:4860:4860::8888',
  '2003::1',
];

t.test('addresses inside are told from those outside', (t) => {
  for (const address of inner) t.notOk(isPublicAddress(address), address);
  for (const address of outer) t.ok(isPublicAddress(address), address);
  t.end();
});

t.test('at saving: what is refused as a public origin, however it is spelt', (t) => {
  const egress = egressWith(t);
  const bad = [
    'http://api.example.com',
    'ftp://api.example.com',
    'file:///etc/passwd',
    'data:,x',
    '',
    'api.example.com',
    '//api.example.com',
    'https://',
    'https://user@api.example.com',
    'https://user:pass@api.example.com',
    'https://@api.example.com',
    'https://api.example.com/v1',
    'https://api.example.com?x',
    'https://api.example.com/?',
    'https://api.example.com#',
    'https://api.example.com/#x',
    'https://api.example.com\\@evil.com',
    'https:\\\\api.example.com',
    ' https://api.example.com',
    'https://api.exa\tmple.com',
    'https://api.example.com\n',
    'https://a b.com',
    'https://api.example.com.',
    'https://api.example.com:22',
    'https://api.example.com:80',
    'https://api.example.com:0',
    'https://api.example.com:6379',
    'https://api.example.com:5432',
    'https://api.example.com:2375',
    'https://api.example.com:6443',
    'https://api.example.com:99999',
    `https://${'a'.repeat(300)}.com`,
    'https://localhost',
    'https://localhost:8443',
    'https://LOCALHOST',
    'https://localhost.',
    'https://x.localhost',
    'https://intranet',
    'https://printer.local',
    'https://metadata.google.internal',
    'https://db.corp',
    'https://router.home.arpa',
    'https://127.0.0.1',
    'https://127.1',
    'https://2130706433',
    'https://0x7f000001',
    'https://0x7f.1',
    'https://0177.0.0.1',
    'https://017700000001',
    'https://127.0.0.1.',
    'https://①②⑦.⓪.⓪.①',
    'https://１２７.0.0.1',
    'https://127。0。0。1',
    'https://ⓛocalhost',
    'https://%31%32%37.0.0.1',
    'https://169.254.169.254',
    'https://0xa9fea9fe',
    'https://[::1]',
    'https://[::]',
    'https://[::ffff:127.0.0.1]',
    'https://[0:0:0:0:0:ffff:7f00:1]',
    'https://[64:ff9b::7f00:1]',
    'https://[2002:7f00:1::]',
    'https://[fe80::1]',
    'https://[fd00:ec2::254]',
    'https://gateway.example.com',
    'https://GATEWAY.example.com:443/',
  ];
  for (const origin of bad)
    t.throws(() => egress.checkOrigin(origin, 'public'), { code: 'EGRESS_REFUSED' }, origin);
  t.end();
});

t.test('at saving: what is taken, and in which form', (t) => {
  const egress = egressWith(t);
  const good: [string, 'public' | 'operator', string][] = [
    ['https://api.openai.com', 'public', 'https://api.openai.com'],
    ['https://API.OpenAI.com:443/', 'public', 'https://api.openai.com'],
    ['https://llm.example.com:8443', 'public', 'https://llm.example.com:8443'],
    ['https://bücher.example.com', 'public', 'https://xn--bcher-kva.example.com'],
    ['https://8.8.8.8', 'public', 'https://8.8.8.8'],
    ['https://[2606:4700::1111]:1234', 'public', 'https://[2606:4700::1111]:1234'],
    ['http://127.0.0.1:11434', 'operator', 'http://127.0.0.1:11434'],
    ['http://localhost', 'operator', 'http://localhost'],
    ['http://ollama:80', 'operator', 'http://ollama'],
    ['http://[::1]:8000', 'operator', 'http://[::1]:8000'],
    ['https://10.0.0.5:6443', 'operator', 'https://10.0.0.5:6443'],
  ];
  for (const [origin, reach, canonical] of good) t.equal(egress.checkOrigin(origin, reach), canonical);
  for (const origin of [
    'ftp://x',
    'http://a@b',
    'http://x/v1',
    'http://localhost.',
    'http://localhost:0',
    'https://gateway.example.com',
  ])
    t.throws(() => egress.checkOrigin(origin, 'operator'), { code: 'EGRESS_REFUSED' }, origin);
  t.end();
});

t.test(
  'at connecting: names with an inner answer, or with a mixed one, are refused before a byte',
  async (t) => {
    const upstream = await scriptUpstream(t, { tls: true });
    const egress = egressWith(t, {
      'inner.example.com': ['127.0.0.1'],
      'mixed.example.com': ['8.8.8.8', '127.0.0.1'],
      'mixed6.example.com': ['2606:4700::1111', '::1'],
      'mapped.example.com': ['::ffff:127.0.0.1'],
      'nat64.example.com': ['64:ff9b::7f00:1'],
      'metadata.example.com': ['169.254.169.254'],
      'nothing.example.com': [],
      'garbage.example.com': ['not an address'],
    });
    for (const name of ['inner', 'mixed', 'mixed6', 'mapped', 'nat64', 'metadata', 'nothing', 'garbage']) {
      const credential = credentialOf();
      const origin = `https://${name}.example.com:${upstream.port}`;
      const { error } = await call(egress, { origin, reach: 'public', credential });
      t.match(error, { code: 'EGRESS_REFUSED', reachedUpstream: false, stale: false }, name);
      t.same(credential.places, []);
    }
    t.equal(upstream.connections, 0);
  },
);

t.test(
  'at connecting: literals, http and uncanonical origins are refused for the public reach',
  async (t) => {
    const upstream = await scriptUpstream(t, { tls: true });
    const plain = await scriptUpstream(t);
    const egress = egressWith(t, { 'api.example.com': ['127.0.0.1'] });
    const origins = [
      upstream.origin,
      plain.origin,
      `https://localhost:${upstream.port}`,
      `https://[::ffff:127.0.0.1]:${upstream.port}`,
      `https://2130706433:${upstream.port}`,
      `https://api.example.com:${upstream.port}/`,
      'https://API.example.com',
      'https://gateway.example.com',
    ];
    for (const origin of origins)
      t.match((await call(egress, { origin, reach: 'public' })).error, { code: 'EGRESS_REFUSED' }, origin);
    t.equal(upstream.connections + plain.connections, 0);
  },
);

t.test('the connector itself refuses literals and http, whoever calls it', async (t) => {
  const upstream = await scriptUpstream(t, { tls: true });
  const connector = guardedConnector({ reach: 'public', ca: testCa, lookup: undefined, tunnel: null });
  const port = String(upstream.port);
  for (const target of [
    { protocol: 'https:', hostname: '127.0.0.1', port },
    { protocol: 'https:', hostname: '::ffff:127.0.0.1', port },
    { protocol: 'https:', hostname: '::1', port },
    { protocol: 'http:', hostname: 'api.example.com', port },
  ]) {
    const error = await new Promise((resolve) => connector(target, (...result) => resolve(result[0])));
    t.match(error, { code: 'EGRESS_REFUSED' }, target.hostname);
  }
  t.equal(upstream.connections, 0);
});

/** Public when it is checked, and another one when it is connected to. */
const turning: LookupFunction = (_name, _options, done) => {
  let looks = 0;
  const answer = {
    get address() {
      looks += 1;
      return looks === 1 ? '8.8.8.8' : '127.0.0.1';
    },
    family: 4,
  };
  done(null, [answer]);
};

t.test('an answer that turns inner after it was checked is seen at the peer', async (t) => {
  const upstream = await scriptUpstream(t, { tls: true });
  const egress = createEgress({ ca: testCa, lookup: turning });
  t.teardown(() => egress.close());
  const credential = credentialOf();
  // A name that the certificate covers cannot be public, so the guard is asked directly.
  const connector = guardedConnector({ reach: 'public', ca: testCa, lookup: turning, tunnel: null });
  const target = {
    protocol: 'https:',
    hostname: 'api.sallyport.test',
    host: 'api.sallyport.test',
    port: String(upstream.port),
  };
  const error = await new Promise((resolve) => connector(target, (...result) => resolve(result[0])));
  t.match(error, { code: 'EGRESS_REFUSED', message: /peer/ });
  const called = await call(egress, {
    origin: `https://api.example.com:${upstream.port}`,
    reach: 'public',
    credential,
  });
  t.ok(called.error);
  t.same(credential.places, []);
  t.equal(upstream.requests.length, 0);
});

t.test(
  'a connection that is reset right behind the handshake is of no use, but its address is not blamed',
  async (t) => {
    const [cert, key] = ['leaf.pem', 'leaf.key'].map((name) => readFileSync(new URL(name, tlsFolder)));
    // Up to TLS 1.2 the last word of a handshake is the server's: the client reads it together with the reset.
    const context = createSecureContext({ cert, key, maxVersion: 'TLSv1.2' });
    const server = createServer((socket) => {
      new TLSSocket(socket, { isServer: true, secureContext: context })
        .on('error', () => {})
        .on('secure', () => setImmediate(() => socket.resetAndDestroy()));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const connector = guardedConnector({ reach: 'public', ca: testCa, lookup: turning, tunnel: null });
    const hostname = 'api.sallyport.test';
    const port = String((server.address() as AddressInfo).port);
    const target = { protocol: 'https:', hostname, host: hostname, port };
    const [error, socket] = await new Promise<Parameters<buildConnector.Callback>>((resolve) =>
      connector(target, (...result) => resolve(result)),
    );
    t.match(error, { code: 'UPSTREAM_UNREACHABLE', reachedUpstream: false });
    t.equal(socket, null);
  },
);

t.test('an operator’s lane is not lent to the public reach', async (t) => {
  const upstream = await scriptUpstream(t, { tls: true });
  const egress = egressWith(t, { 'api.example.com': ['127.0.0.1'] });
  t.equal((await call(egress, { origin: upstream.origin })).error, null);
  t.match((await call(egress, { origin: upstream.origin, reach: 'public' })).error, {
    code: 'EGRESS_REFUSED',
  });
});

t.test('proxy variables and NODE_TLS_REJECT_UNAUTHORIZED change nothing', async (t) => {
  const proxy = await scriptUpstream(t);
  const upstream = await scriptUpstream(t, { tls: true });
  const plain = await scriptUpstream(t);
  const settings = {
    HTTP_PROXY: proxy.origin,
    HTTPS_PROXY: proxy.origin,
    http_proxy: proxy.origin,
    https_proxy: proxy.origin,
    NODE_USE_ENV_PROXY: '1',
  };
  const before = { ...process.env };
  Object.assign(process.env, settings, { NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_NO_WARNINGS: '1' });
  t.teardown(() => {
    process.env = before;
  });
  const egress = egressWith(t);
  t.equal((await call(egress, { origin: upstream.origin })).status, 200);
  t.equal((await call(egress, { origin: plain.origin })).status, 200);
  t.equal(proxy.connections, 0);
  const untrusting = createEgress();
  t.teardown(() => untrusting.close());
  t.match((await call(untrusting, { origin: upstream.origin })).error, { code: 'UPSTREAM_UNREACHABLE' });
});
