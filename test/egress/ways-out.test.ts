import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer, connect, type LookupFunction } from 'node:net';
import { once } from 'node:events';
import path from 'node:path';
import t from 'tap';
import { WebSocket } from 'ws';
import { createEgress } from '../../src/egress/egress.ts';
import { createExchange } from '../../src/egress/exchange.ts';
import { ownOrigins } from '../../src/own-origins.ts';
import { hopsOf } from '../../src/gateway/hops.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

/** Whoever takes a part of Node, or of a library, by which bytes can leave this process: file, part, and why it may. */
const waysOut: readonly (readonly [file: string, part: string, why: string])[] = [
  ['egress/connection.ts', 'undici Client', 'all that goes to providers and key services'],
  ['egress/mailer.ts', 'nodemailer dynamic', 'notices of a breach, to the operator’s mail server'],
  ['egress/guard.ts', 'undici buildConnector', 'its connections, guarded'],
  ['egress/guard.ts', 'dns lookup', 'names, judged by their answers'],
  ['egress/proxy.ts', 'net connect', 'to the operator’s proxy'],
  ['egress/proxy.ts', 'tls connect', 'to the operator’s proxy'],
  ['routes/request-buffer.ts', 'net connect', 'to our own listener, by the address that it is bound to'],
  ['routes/request-buffer.ts', 'tls connect', 'the same'],
  ['cli/transport.ts', 'net connect', 'the command line, to the gateway’s own socket'],
  ['cli/transport.ts', 'http request', 'the command line, to the gateway that its user names'],
  ['cli/transport.ts', 'https request', 'the same'],
  ['cli/healthcheck.ts', 'http request', 'the same machine’s gateway, whether it is ready'],
  ['cli/healthcheck.ts', 'https request', 'the same'],
  ['cli/demo/demo.ts', 'fetch', 'the demo, to the gateway that it started'],
  ['cli/demo/gateway-process.ts', 'fetch', 'the same'],
  ['cli/demo/gateway-process.ts', 'child_process spawn', 'starts it'],
  ['cli/demo/ask.ts', 'openai dynamic', 'the same, as an app would'],
  ['db/embedded-binaries.ts', 'createRequire', 'finds the folder of a package'],
  ['db/embedded-initdb.ts', 'child_process spawnSync', 'initdb'],
  ['db/embedded-process.ts', 'child_process spawn', 'the embedded PostgreSQL'],
  ['program.ts', 'cluster default', 'knows whether it is a worker'],
  ['workers/pool.ts', 'cluster default', 'starts the workers, and talks with them'],
  ['telemetry/process-metrics.ts', 'createRequire', 'finds a file of prom-client'],
  ...[
    'connection',
    'embedded-wal',
    'epoch-hints',
    'gateway-lock',
    'migrate',
    'scoped-driver',
    'store',
    'types',
  ].map((name) => [`db/${name}.ts`, 'pg default', 'the operator’s database'] as const),
];

/** What of these modules takes connections, or only describes them. */
const harmless =
  /^(?:isIP|isIPv4|isIPv6|BlockList|SocketAddress|createServer|Server|IncomingMessage|ServerResponse|STATUS_CODES|createSecureContext)$/;
const modules =
  /^(?:node:)?(net|tls|http|https|http2|dgram|dns|dns\/promises|child_process|cluster|worker_threads|inspector\/promises|undici|ws|pg|openai|nodemailer)$/;

t.test('every way out of the program is one of the list, and each of the list is taken', async (t) => {
  const root = path.join(import.meta.dirname, '..', '..', 'src');
  const found = new Set<string>();
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue;
    const text = readFileSync(path.join(root, name), 'utf8')
      .replaceAll(/\/\*[\s\S]*?\*\//g, '')
      .replaceAll(/(^|\s)\/\/.*$/gm, '');
    for (const [, type, what = '', from = ''] of text.matchAll(
      /import\s+(type\s+)?([^;'"]*?)\s*from\s+'([^']+)'/g,
    )) {
      const module = modules.exec(from)?.[1];
      if (module === undefined || type !== undefined) continue;
      const [whole = '', braces] = what.split('{');
      if (whole.replace(',', '').trim() !== '') found.add(`${name}: ${module} default`);
      for (const part of (braces ?? '').replace('}', '').split(',')) {
        const [part1 = ''] = part.trim().split(' as ');
        if (part1 !== '' && !part1.startsWith('type ') && !harmless.test(part1))
          found.add(`${name}: ${module} ${part1}`);
      }
    }
    // Dynamic ones hide from the above.
    for (const [, from = ''] of text.matchAll(/import\(\s*'([^']+)'/g))
      if (modules.test(from)) found.add(`${name}: ${from} dynamic`);
    for (const word of ['fetch', 'WebSocket', 'EventSource', 'XMLHttpRequest']) {
      const isCalled = new RegExp(`(?<![.\\w])(?:new ${word}\\b|${word}\\()`).test(text);
      if (isCalled) found.add(`${name}: ${word}`);
    }
    for (const word of ['createRequire', 'getBuiltinModule', 'process.binding'])
      if (text.includes(word)) found.add(`${name}: ${word}`);
  }
  t.same([...found].toSorted(), waysOut.map(([file, part]) => `${file}: ${part}`).toSorted());
});

/** Somebody on this machine who ought to hear nothing. */
const inner = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
await once(inner, 'listening');
t.teardown(() => inner.close());
const { port: innerPort } = inner.address() as { port: number };
let knocks = 0;
inner.on('connection', () => {
  knocks += 1;
});

const names: Readonly<Record<string, readonly string[]>> = {
  'inner.example.com': ['127.0.0.1'],
  'mixed.example.com': ['8.8.8.8', '127.0.0.1'],
  'mapped.example.com': ['::ffff:7f00:1'],
  'nat64.example.com': ['64:ff9b::7f00:1'],
  'metadata.example.com': ['169.254.169.254'],
  'cgnat.example.com': ['100.64.0.1'],
};
const lookup: LookupFunction = (name, _options, done) =>
  done(
    null,
    (names[name] ?? ['127.0.0.1']).map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
  );

t.test('each way on which users send something out is guarded, at saving and at connecting', async (t) => {
  const key = 'sk-the-stored-key-0123456789';
  const away = await scriptUpstream(t, { key });
  const gateway = await startGateway(t, { lookup, upstreams: { openai: away.origin } });
  // The operator's own keys go where he says; this is about everybody else's.
  const { body: user } = await gateway.api('POST', '/users', { name: 'someone' });
  const tokenOf = async (kind: string): Promise<string> =>
    (await gateway.api('POST', '/tokens', { name: kind, kind, userId: user.id })).body.token;
  const admin = await tokenOf('admin');
  const auth = { authorization: `Bearer ${await tokenOf('gateway')}` };
  const store = (name: string, origin: string) => {
    const value = `key-of-${name}-0123456789`;
    return gateway.api('POST', '/api-keys', { name, provider: 'custom', origins: [origin], value }, admin);
  };

  for (const [n, origin] of [
    `http://inner.example.com:${innerPort}`,
    `https://127.0.0.1:${innerPort}`,
    `https://127.1:${innerPort}`,
    `https://2130706433:${innerPort}`,
    `https://0x7f.0.0.1:${innerPort}`,
    `https://0177.0.0.1:${innerPort}`,
    `https://[::1]:${innerPort}`,
    `https://[::ffff:7f00:1]:${innerPort}`,
    `https://[64:ff9b::7f00:1]:${innerPort}`,
    `https://[fe80::1%25lo]:${innerPort}`,
    `https://localhost:${innerPort}`,
    `https://a.localhost:${innerPort}`,
    `https://inner.example.com.:${innerPort}`,
    'https://user:pass@inner.example.com',
    'https://metadata.google.internal',
    'https://169.254.169.254',
    'https://inner.example.com:25',
  ].entries()) {
    const { status, body } = await store(`bad-${n}`, origin);
    t.match([status, body.code], [403, 'EGRESS_REFUSED'], origin);
    const hook = await gateway.api('POST', '/webhooks', { url: `${origin}/` });
    t.equal(hook.status >= 400, true, `a webhook to ${origin}`);
  }
  for (const name of Object.keys(names)) {
    const short = name.split('.')[0] as string;
    const { status, body } = await store(short, `https://${name}:${innerPort}`);
    t.equal(status, 201, `${name}: its addresses are not looked at yet`);
    const tested = await gateway.api('POST', '/api-keys/test', { keyId: body.id }, admin);
    t.match(tested.body, { ok: false, code: 'EGRESS_REFUSED' }, `${name}: key test`);
    const { body: hook } = await gateway.api('POST', '/webhooks', { url: `https://${name}:${innerPort}/` });
    const told = await gateway.api('POST', `/webhooks/${hook.id}/test`, {});
    t.match(told.body, { ok: false, code: 'EGRESS_REFUSED' }, `${name}: webhook`);
    const called = await ask(`${gateway.origin}/custom/${short}/v1/models`, { headers: auth });
    t.match([called.status, called.header('x-sallyport-code')], [403, 'EGRESS_REFUSED'], `${name}: call`);
    const url = `${gateway.origin.replace('http', 'ws')}/custom/${short}/v1/realtime?model=m`;
    const socket = new WebSocket(url, { headers: auth }).on('error', () => {});
    const [, refusal] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
    t.equal(refusal.statusCode, 403, `${name}: WebSocket`);
  }
  t.equal(knocks, 0, 'nobody inside heard anything');
  t.notMatch(
    await gateway.metrics(),
    /^sallyport_key_opens_total\{[^}]*custom[^}]*\} [^0]/m,
    'and no key was opened',
  );

  await gateway.addKey('openai', key);
  for (const status of [301, 302, 303, 307, 308]) {
    away.respond([
      {
        status,
        headers: { location: `http://127.0.0.1:${innerPort}/`, refresh: `0; http://127.0.0.1:${innerPort}/` },
      },
    ]);
    const answer = await ask(`${gateway.origin}/openai/v1/models`, {
      headers: { authorization: `Bearer ${gateway.token}` },
    });
    t.equal(answer.status, status, 'a redirect is an answer');
    t.equal(answer.header('location'), null);
  }
  t.equal(knocks, 0, 'and is not followed');
});

t.test('key services have a rule of their own: https, or loopback', async (t) => {
  const egress = createEgress();
  t.teardown(() => egress.close());
  const exchange = createExchange(egress);
  for (const origin of [
    'http://10.0.0.1:8200',
    'http://vault.corp:8200',
    'http://[fd00::1]:8200',
    'http://127.0.0.1.example.com',
  ])
    await t.rejects(
      exchange({ origin, method: 'GET', path: '/', headers: [], body: null }),
      { code: 'EGRESS_REFUSED' },
      origin,
    );
});

t.test(
  'a gateway does not call itself: by its settings, and by what comes back under another name',
  async (t) => {
    const own = ownOrigins({ host: '10.0.0.5', port: 8080, adminPort: 8081, metricsPort: null });
    const egress = createEgress({ selfOrigins: own });
    t.teardown(() => egress.close());
    for (const origin of [
      'http://10.0.0.5:8080',
      'https://localhost:8081',
      'http://[::1]:8080',
      'http://127.1:8080',
    ])
      t.throws(() => egress.checkOrigin(origin, 'operator'), { message: /own address/ }, origin);

    // Another name for it: something that hands on whatever comes.
    let port = 0;
    const alias = createServer((socket) => {
      const on = connect(port, '127.0.0.1');
      socket
        .on('error', () => {})
        .pipe(on.on('error', () => {}))
        .pipe(socket);
    }).listen(0, '127.0.0.1');
    await once(alias, 'listening');
    t.teardown(() => alias.close());
    const aliasOrigin = `http://127.0.0.1:${(alias.address() as { port: number }).port}`;
    const gateway = await startGateway(t, { settings: { SALLYPORT_ALLOW_ORIGINS: aliasOrigin } });
    port = Number(new URL(gateway.origin).port);
    const made = await gateway.api('POST', '/api-keys', {
      name: 'loop',
      provider: 'custom',
      origins: [aliasOrigin],
      value: 'key-of-the-loop-0123456789',
    });
    t.equal(made.status, 201);
    const answer = await ask(`${gateway.origin}/custom/loop/v1/models`, {
      headers: { authorization: `Bearer ${gateway.token}` },
    });
    t.equal(answer.status, 508);
    t.match(answer.json().error, { code: 'LOOP_DETECTED' });
    t.match((await gateway.api('POST', '/api-keys/test', { keyId: made.body.id })).body, { ok: false });
  },
);

t.test('every gateway on the way is named, so that a ring of them ends', async (t) => {
  const hop = (name: string): string => name.repeat(32);
  const through = (value: string | undefined) =>
    hopsOf({ headers: value === undefined ? {} : { 'x-sallyport-hop': value } } as never, hop('a'));
  t.equal(through(undefined), null);
  t.equal(through(hop('b')), hop('b'));
  t.equal(through(`${hop('b')},${hop('c')}`), `${hop('b')}, ${hop('c')}`);
  t.equal(through('x, spt_secret, '), null, 'what is no gateway’s goes no further');
  for (const ring of [hop('a'), `${hop('a')}, ${hop('b')}`, `${hop('b')} , ${hop('a')}`])
    t.throws(() => through(ring), { code: 'LOOP_DETECTED' });
  t.throws(() => through(Array.from({ length: 9 }, () => hop('d')).join(',')), { code: 'LOOP_DETECTED' });

  const upstream = await scriptUpstream(t);
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', 'sk-the-stored-key-0123456789');
  await ask(`${gateway.origin}/openai/v1/models`, {
    headers: { authorization: `Bearer ${gateway.token}`, 'x-sallyport-hop': hop('b') },
  });
  t.match(upstream.requests[0]?.headers['x-sallyport-hop'], new RegExp(`^b{32}, [0-9a-f]{32}$`));
});
