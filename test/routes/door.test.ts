import { once } from 'node:events';
import { type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { createEdge } from '../../src/routes/edge.ts';
import { refuseUnparsed } from '../../src/routes/flaw.ts';
import { createListener } from '../../src/routes/listener.ts';
import { startGateway } from '../support/gateway.ts';
import { rawConnection, rawExchange } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

const key = 'sk-the-stored-key-0123456789';
const held = Promise.withResolvers<void>();
const upstream = await scriptUpstream(t, {
  key,
  script: ({ path, body }) =>
    path.endsWith('/cut')
      ? { body: 'the first half', ending: 'truncate' }
      : path.endsWith('/slow')
        ? { events: ['{"choices":[]}', held.promise, '[DONE]'] }
        : { body: { path, bytes: body.length } },
});
const tight = { windowMs: 400, minBytes: 100 };
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin },
  paces: { whole: { ...tight, wholeMs: 1200 }, upload: { ...tight, wholeMs: null } },
});
await gateway.addKey('openai', key);
const { origin } = gateway;
const bearer = `authorization: Bearer ${gateway.token}`;
const head = (first: string, ...headers: string[]): string =>
  [first, 'host: gateway', bearer, ...headers, '', ''].join('\r\n');
const last = 'connection: close';
const get = (path: string, ...headers: string[]): string => head(`GET ${path} HTTP/1.1`, ...headers);

t.test('what is no request for a path of ours is refused in words, and the connection ends', async (t) => {
  const before = upstream.requests.length;
  const long = 'x'.repeat(17_000);
  const cases: [what: string, bytes: string, status: number, words: RegExp][] = [
    ['a preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505, /HTTP\/1\.1 is spoken/],
    [
      'CONNECT',
      'CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n',
      405,
      /no forward proxy/,
    ],
    ['CONNECT with a token', head('CONNECT /v1/models HTTP/1.1'), 405, /no forward proxy/],
    ['an absolute target', get(`${origin}/v1/models`), 400, /has to be a path/],
    ['an absolute target elsewhere', get('http://169.254.169.254/v1/models'), 400, /has to be a path/],
    ['no path', head('OPTIONS * HTTP/1.1'), 400, /has to be a path/],
    ['an authority', get('gateway:443'), 400, /could not be read/],
    ['two hosts', get('/v1/models', 'Host: other'), 400, /names its host, once/],
    ['the same host twice', get('/healthz', 'HOST: gateway'), 400, /names its host, once/],
    ['no host', 'GET /healthz HTTP/1.1\r\n\r\n', 400, /names its host, once/],
    [
      'a length and chunks',
      head('POST /v1/x HTTP/1.1', 'content-length: 2', 'transfer-encoding: chunked'),
      400,
      /./,
    ],
    ['two lengths', head('POST /v1/x HTTP/1.1', 'content-length: 2', 'content-length: 3'), 400, /./],
    [
      'another coding',
      head('POST /v1/x HTTP/1.1', 'transfer-encoding: gzip, chunked'),
      400,
      /transfer coding/,
    ],
    ['chunks of HTTP/1.0', head('POST /v1/x HTTP/1.0', 'transfer-encoding: chunked'), 400, /transfer coding/],
    ['an unknown expectation', get('/v1/models', 'expect: 200-ok'), 417, /100-continue/],
    ['headers beyond 16 KiB', get('/v1/models', `x: ${long}`), 431, /16 KiB/],
    ['a target beyond 16 KiB', get(`/v1/${long}`), 431, /16 KiB/],
    ['a method of nobody', head('BREW /v1/models HTTP/1.1'), 400, /could not be read/],
    ['another version', head('GET /v1/models HTTP/3.0'), 400, /could not be read/],
    ['TLS on a plain port', '\u0016\u0003\u0001\u0002\u0000\u0001', 400, /could not be read/],
    ['bare line feeds', 'GET /healthz HTTP/1.1\nhost: x\n\n', 400, /could not be read/],
    ['a folded header', get('/healthz', 'x: 1\r\n folded'), 400, /could not be read/],
    ['a blank before the colon', get('/healthz', 'x : 1'), 400, /could not be read/],
    ['a NUL', get('/healthz', 'x: \u0000'), 400, /could not be read/],
  ];
  for (const [what, bytes, status, words] of cases) {
    const text = await rawExchange(origin, Buffer.from(bytes, 'latin1'));
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} [A-Z]`), what);
    t.match(text, words, what);
    t.match(text, /^connection: close\r$/im, what);
    t.match(text, /^x-content-type-options: nosniff\r$/im, what);
    t.equal(text.match(/^HTTP\/1\.1 \d/gm)?.length, 1, `${what}: told once`);
    t.notMatch(text, /spt_/, what);
  }
  t.match(await rawExchange(origin, head('TRACE /v1/models HTTP/1.1', last)), /^HTTP\/1\.1 403 [^]*TRACE/);
  t.match(await rawExchange(origin, head('TRACE /api/tokens HTTP/1.1', last)), /^HTTP\/1\.1 404 /);
  t.equal(upstream.requests.length, before);
});

t.test(
  'a flaw behind a request that is being answered ends the connection without a word in the answer',
  async (t) => {
    const connection = await rawConnection(origin, get('/openai/v1/slow'));
    await connection.seen(/choices/);
    connection.socket.write('NONSENSE\r\n\r\n');
    t.notMatch(await connection.closed(), /could not be read/);
  },
);

t.test('pipelined requests are answered in their order, a stream among them', async (t) => {
  const connection = await rawConnection(
    origin,
    get('/openai/v1/first') + get('/openai/v1/slow') + get('/openai/v1/third', last),
  );
  await connection.seen(/choices/);
  t.match(connection.text(), /"\/v1\/first"/);
  t.notMatch(connection.text(), /third/);
  held.resolve();
  const text = await connection.closed();
  const at = ['"/v1/first"', 'choices', '[DONE]', '"/v1/third"'].map((part) => text.indexOf(part));
  t.notOk(at.includes(-1));
  t.same(
    at,
    at.toSorted((a, b) => a - b),
  );
});

t.test('clients of HTTP/1.0 are served, and told the end by the connection’s', async (t) => {
  const text = await rawExchange(origin, `GET /openai/v1/old HTTP/1.0\r\n${bearer}\r\n\r\n`);
  t.match(text, /^HTTP\/1\.1 200 [^]*"\/v1\/old"/);
  t.notMatch(text, /transfer-encoding/i);
});

t.test('an answer that broke off does not look whole to them', async (t) => {
  const connection = await rawConnection(origin, `GET /openai/v1/cut HTTP/1.0\r\n${bearer}\r\n\r\n`);
  const [error] = await once(connection.socket, 'error');
  t.match(error, { code: 'ECONNRESET' });
});

t.test('more headers than Node would count are all seen', async (t) => {
  const many = Array.from({ length: 2500 }, () => 'a:');
  t.match(await rawExchange(origin, get('/healthz', ...many, 'host: b')), /names its host, once/);
});

t.test('whoever waits for `100 Continue` is admitted first', async (t) => {
  const body = '{"model":"gpt-4o"}';
  const waiting = (...headers: string[]): string =>
    [
      'POST /v1/chat/completions HTTP/1.1',
      'host: x',
      'content-type: application/json',
      'expect: 100-continue',
      ...headers,
      '',
      '',
    ].join('\r\n');
  const length = `content-length: ${body.length}`;
  for (const [headers, status] of [
    [[length], 401],
    [[length, `authorization: Bearer ${gateway.token.slice(0, -1)}x`], 401],
    [[bearer, 'content-length: 99999999999'], 413],
  ] as const) {
    const text = await rawExchange(origin, waiting(...headers));
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), 'no word of going on');
  }
  const connection = await rawConnection(origin, waiting(bearer, length, last));
  t.match(await connection.seen(/\r\n\r\n/), /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  connection.socket.write(body);
  t.match(await connection.closed(), /HTTP\/1\.1 200 /);
  t.equal(upstream.requests.at(-1)?.headers.expect, undefined);
});

t.test('bodies that trickle are cut: read whole or streamed, by too few bytes or too long', async (t) => {
  const before = upstream.requests.length;
  const post = (type: string, length: number): string =>
    head('POST /openai/v1/x HTTP/1.1', `content-type: ${type}`, `content-length: ${length}`);
  const trickle = async (type: string, bytes: number): Promise<string> => {
    const connection = await rawConnection(origin, post(type, 100_000));
    const drip = setInterval(() => connection.socket.write('x'.repeat(bytes)), 20);
    try {
      return await connection.seen(/\}\s*$/);
    } finally {
      clearInterval(drip);
      connection.socket.destroy();
    }
  };
  for (const [type, bytes, words] of [
    ['application/json', 1, /Fewer than 100 bytes of the body came in 0\.4 seconds/],
    ['application/json', 200, /not whole after 1\.2 seconds/],
    ['application/octet-stream', 1, /Fewer than 100 bytes/],
  ] as const) {
    const text = await trickle(type, bytes);
    t.match(text, /^HTTP\/1\.1 408 [^]*x-sallyport-code: REQUEST_TIMEOUT/i, `${type}, ${bytes}`);
    t.match(text, words);
    t.match(text, /^connection: close\r$/im);
  }
  await gateway.shipped();
  t.equal(upstream.requests.length, before, 'nobody heard of them');
  const rows = await gateway.installation.store.asSystem((tx) =>
    tx
      .selectFrom('usage_events')
      .select(['outcome', 'final'])
      .where('outcome', '=', 'REQUEST_TIMEOUT')
      .execute(),
  );
  t.match(rows, [{ outcome: 'REQUEST_TIMEOUT' }], 'the upload’s attempt is on record');

  // 300 bytes each 20 ms, for longer than a body that is read whole may take.
  const upload = await rawConnection(origin, post('application/octet-stream', 9000));
  const drip = setInterval(() => upload.socket.write('x'.repeat(300)), 20);
  t.match(await upload.seen(/\}/), /HTTP\/1\.1 200 [^]*"bytes":9000/, 'one that goes on coming goes through');
  clearInterval(drip);
  upload.socket.destroy();
});

t.test('heads that do not come, and connections that say nothing, are cut', async (t) => {
  const server = createListener({
    tls: null,
    headMs: { limit: 60, checkEvery: 20 },
    serve: (_request, response) => response.end('ok'),
  });
  server.on('clientError', refuseUnparsed);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const place = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const bytes of ['', 'GET /', 'GET / HTTP/1.1\r\nhost: x\r\nx: ']) {
    const connection = await rawConnection(place, bytes);
    const drip = setInterval(() => bytes !== '' && connection.socket.write('a'), 10);
    const text = await connection.closed();
    clearInterval(drip);
    t.match(text, /^HTTP\/1\.1 408 [^]*within 30 seconds/, JSON.stringify(bytes));
  }
});

t.test('a body for administration that does not come is cut, and its handler hears of it', async (t) => {
  const heard = Promise.withResolvers<string>();
  const edge = await createEdge({
    tls: null,
    bodyMs: 50,
    plugins: [
      {
        plugin: async (app) => {
          app.post('/read', () => 'read');
          app.addContentTypeParser('x/y', async (_request: unknown, body: IncomingMessage) => {
            try {
              for await (const piece of body) void piece;
            } catch (error) {
              heard.resolve((error as { code?: string }).code ?? '');
              throw error;
            }
          });
        },
      },
    ],
  });
  const port = await edge.listen({ host: '127.0.0.1', port: 0 });
  t.teardown(() => edge.close(() => 0));
  const place = `http://127.0.0.1:${port}`;
  for (const type of ['application/json', 'x/y']) {
    const text = await rawExchange(
      place,
      `POST /read HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: 20\r\n\r\n{`,
    );
    t.match(text, /^HTTP\/1\.1 408 [^]*REQUEST_TIMEOUT[^]*not whole after 0\.05 seconds/, type);
  }
  t.equal(await heard.promise, 'REQUEST_TIMEOUT');
  const whole = await rawExchange(
    place,
    'POST /read HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}',
  );
  t.match(whole, /200 OK[^]*read$/);
});
