import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import * as https from 'node:https';
import { connect as connectTcp } from 'node:net';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { checkTls, createTls } from '../../src/routes/tls.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, rawConnection, rawExchange } from '../support/http-client.ts';
import { renewedCa, tlsFolder } from '../support/tls-files.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';

const key = 'sk-the-stored-key-0123456789';
const chat = { model: 'gpt-4o', messages: [{ role: 'user', content: 'hi' }] };
const program = fileURLToPath(new URL('../../bin/sallyport', import.meta.url));
const hsts = 'max-age=31536000';
const ours = { ca: testCa };
const files = tlsFolder(t);
const gate = Promise.withResolvers<void>();
const upstream = await scriptUpstream(t, {
  key,
  script: (request) =>
    request.path.includes('models')
      ? { body: { data: [] } }
      : { events: ['{"choices":[]}', gate.promise, '{"choices":[{"finish_reason":"stop"}]}', '[DONE]'] },
});
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin },
  settings: { ...files.settings, ADMIN_PORT: '0', REQUIRE_TLS: 'true' },
});
const adminPort = await gateway.app.admin?.listen({ host: '127.0.0.1', port: 0 });
const adminOrigin = `https://127.0.0.1:${adminPort}`;
const admin = { authorization: `Bearer ${gateway.adminToken}` };
const auth = { authorization: `Bearer ${gateway.token}` };
const { port } = new URL(gateway.origin);

function handshake(options: ConnectionOptions, to = port): Promise<TLSSocket | Error> {
  const socket = connect({ host: '127.0.0.1', port: Number(to), ca: testCa, ...options });
  return new Promise((resolve) => {
    socket.once('secureConnect', () => resolve(socket)).on('error', resolve);
  });
}

t.test('calls and administration come over TLS 1.3, and every answer says so', async (t) => {
  const stored = await ask(`${adminOrigin}/api/api-keys`, {
    tls: ours,
    headers: admin,
    body: { name: 'main', provider: 'openai', value: key, force: true },
  });
  t.equal(stored.status, 201, 'a key may come: the way is private');
  t.equal(stored.header('strict-transport-security'), hsts);
  const answers = {
    relayed: await ask(`${gateway.origin}/openai/v1/models`, { tls: ours, headers: auth }),
    'own error': await ask(`${gateway.origin}/openai/v1/models`, { tls: ours }),
    health: await ask(`${gateway.origin}/healthz`, { tls: ours }),
    'not found': await ask(`${gateway.origin}/nothing`, { tls: ours }),
    'not a path': await ask(`${gateway.origin}/healthz`, { tls: ours, headers: { expect: 'wonders' } }),
  };
  t.same(
    Object.values(answers).map(({ status }) => status),
    [200, 401, 200, 404, 417],
  );
  for (const [name, answer] of Object.entries(answers))
    t.equal(answer.header('strict-transport-security'), hsts, name);
  t.match(await rawExchange(gateway.origin, 'NONSENSE\r\n\r\n', ours), /strict-transport-security/);
  for (const to of [port, String(adminPort)]) {
    const socket = await handshake({}, to);
    t.equal(!(socket instanceof Error) && socket.getProtocol(), 'TLSv1.3');
    if (!(socket instanceof Error)) socket.destroy();
    t.match(await handshake({ maxVersion: 'TLSv1.2' }, to), /protocol version/, 'no older one');
  }
});

t.test('whoever speaks no TLS gets nothing, and holds nothing', async (t) => {
  const plain = await rawExchange(`http://127.0.0.1:${port}`, `GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n`);
  t.notMatch(plain, /HTTP/);
  t.match(await handshake({ ca: renewedCa }), /self|verify|certificate/i, 'clients verify us');
});

t.test(
  'a new pair is served as soon as it is whole; what runs goes on, what is wrong changes nothing',
  async (t) => {
    const stream = await rawConnection(
      gateway.origin,
      [
        'POST /v1/chat/completions HTTP/1.1',
        'host: x',
        `authorization: Bearer ${gateway.token}`,
        'content-type: application/json',
        `content-length: ${JSON.stringify({ ...chat, stream: true }).length}`,
        '',
        JSON.stringify({ ...chat, stream: true }),
      ].join('\r\n'),
      ours,
    );
    await stream.seen(/choices/);
    const agent = new https.Agent({ keepAlive: true, ca: testCa });
    t.teardown(() => agent.destroy());
    t.equal((await ask(`${gateway.origin}/healthz`, { agent })).status, 200);
    const refresh = async (): Promise<string> => {
      const before = gateway.logLines.length;
      await gateway.app.tls?.refresh();
      return gateway.logLines.slice(before).join('');
    };
    const isServed = async (ca: string): Promise<boolean> => !((await handshake({ ca })) instanceof Error);

    t.equal(await refresh(), '', 'nothing changed');
    files.putCert('renewed');
    t.match(await refresh(), /"level":"error".*not the certificate’s.*stays.*tls\.not-reloaded/);
    t.equal(await refresh(), '', 'told once');
    t.ok(await isServed(testCa), 'the old one');
    files.putKey('renewed');
    t.match(await refresh(), /"level":"info".*"fingerprint":.*tls\.certificate"/);
    t.notOk(await isServed(testCa));
    t.ok(await isServed(renewedCa));
    t.notOk((await handshake({ ca: renewedCa }, String(adminPort))) instanceof Error, 'there too');
    t.equal((await ask(`${gateway.origin}/healthz`, { agent })).status, 200, 'on its old connection');

    for (const [content, mode, said] of [
      ['', 0o600, 'cannot be used'],
      ['-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', 0o600, 'cannot be used'],
    ] as const) {
      writeFileSync(files.keyFile, content);
      chmodSync(files.keyFile, mode);
      t.match(await refresh(), said);
      t.ok(await isServed(renewedCa));
    }
    files.putKey('renewed');
    chmodSync(files.keyFile, 0o644);
    t.match(await refresh(), /others may read/);
    files.putKey('leaf');
    writeFileSync(files.certFile, 'no certificate');
    t.match(await refresh(), /no certificate in PEM/);
    files.putCert('leaf');
    await refresh();
    t.ok(await isServed(testCa), 'and back');

    gate.resolve();
    t.match(await stream.seen(/\[DONE\]/), /stop/, 'the stream never noticed');
    stream.socket.destroy();
  },
);

t.test('what cannot be served with is refused at the start', async (t) => {
  const broken = tlsFolder(t);
  const settings = { tlsCertFile: broken.certFile, tlsKeyFile: broken.keyFile, tlsMin: '1.3' as const };
  t.doesNotThrow(() => checkTls(settings));
  broken.putKey('renewed');
  t.throws(() => checkTls(settings), { code: 'CONFIG_INVALID', message: /not the certificate’s/ });
  chmodSync(broken.keyFile, 0o640);
  t.throws(() => checkTls(settings), { message: /^TLS_KEY_FILE .* others may read/ });
  t.throws(() => checkTls({ ...settings, tlsCertFile: `${broken.certFile}.no` }), { message: /ENOENT/ });
});

t.test('the files are looked at by themselves', async (t) => {
  const own = tlsFolder(t);
  const told = Promise.withResolvers<string>();
  let isFirst = true;
  const say = (event: string): void => {
    if (!isFirst) told.resolve(event);
    isFirst = false;
  };
  const log = { debug: say, info: say, warn: say, error: say };
  const now = (): number => Date.parse('2126-10-25T00:00:00Z');
  const tls = createTls(
    { tlsCertFile: own.certFile, tlsKeyFile: own.keyFile, tlsMin: '1.2' },
    { log, now, everyMs: 5 },
  );
  if (tls === null) throw new Error('there are files');
  const server = tls.createServer({}, (_request, response) => response.end('ok'));
  tls.start();
  t.teardown(() => tls.stop());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port: own12 } = server.address() as { port: number };
  const old = await handshake({ maxVersion: 'TLSv1.2' }, String(own12));
  t.match(old instanceof Error ? old : old.getCipher(), {
    version: 'TLSv1.2',
    name: /^ECDHE-.*(GCM|CHACHA20)/,
  });
  t.match(
    await handshake({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' }, String(own12)),
    /alert/,
    'TLS_MIN=1.2 takes AEAD alone',
  );
  if (!(old instanceof Error)) old.destroy();
  own.putKey('renewed');
  own.putCert('renewed');
  t.equal(await told.promise, 'tls.certificate-expires-soon');
});

t.test('the command line reaches it, where it is told whom to trust', async (t) => {
  const run = async (trusted: Record<string, string>): Promise<[number, string]> => {
    const settings = {
      PATH: process.env['PATH'],
      SALLYPORT_URL: adminOrigin,
      SALLYPORT_ADMIN_TOKEN: gateway.adminToken,
    };
    const child = spawn(program, ['tokens', 'list', '--json'], { env: { ...settings, ...trusted } });
    child.stderr.resume();
    const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
    return [code, said];
  };
  const ca = fileURLToPath(new URL('../support/tls/ca.pem', import.meta.url));
  const [[code, said], [refused]] = await Promise.all([run({ NODE_EXTRA_CA_CERTS: ca }), run({})]);
  t.equal(code, 0);
  t.match(said, /spa_/);
  t.equal(refused, 4, 'out of reach: nobody it knows has signed that certificate');
});

t.test(
  'a stop waits for no handshake that never ends, and for no connection that says nothing',
  async (t) => {
    const dumb = connectTcp(Number(port), '127.0.0.1');
    await once(dumb, 'connect');
    const silent = await handshake({});
    const begun = performance.now();
    await gateway.stop();
    t.ok(performance.now() - begun < 5000, `${Math.round(performance.now() - begun)} ms`);
    if (!(silent instanceof Error)) silent.destroy();
    dumb.destroy();
  },
);
