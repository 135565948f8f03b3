import { createServer, type RequestListener } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createEgress } from '../../src/egress/egress.ts';
import { createExchange } from '../../src/egress/exchange.ts';

async function server(t: Test, listener: RequestListener): Promise<string> {
  const http = createServer(listener);
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  t.teardown(() => {
    http.close();
    http.closeAllConnections();
  });
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

function exchangeFor(t: Test) {
  const egress = createEgress();
  t.teardown(() => egress.close());
  return createExchange(egress);
}

const ask = { method: 'POST', path: '/', headers: [], body: Buffer.from('{}') } as const;

t.test('one request, its whole answer, and credentials in their own header', async (t) => {
  const seen: string[] = [];
  const origin = await server(t, (request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    response.writeHead(418).write('{"a":');
    response.end('"b"}');
  });
  const { status, body } = await exchangeFor(t)({
    ...ask,
    origin,
    authorization: { scheme: 'AWS4-HMAC-SHA256 ', credentials: 'Credential=x,Signature=y' },
  });
  t.equal(status, 418);
  t.equal(body.toString(), '{"a":"b"}');
  t.strictSame(seen, ['POST / AWS4-HMAC-SHA256 Credential=x,Signature=y']);
});

t.test('a redirect is an answer, and nothing follows it', async (t) => {
  let count = 0;
  const origin = await server(t, (_request, response) => {
    count += 1;
    response.writeHead(307, { location: '/elsewhere' }).end();
  });
  t.equal((await exchangeFor(t)({ ...ask, origin })).status, 307);
  t.equal(count, 1);
});

t.test('an answer of more than 64 KiB, and one that breaks off, are errors', async (t) => {
  const long = await server(t, (_request, response) => response.end(Buffer.alloc(65_537)));
  await t.rejects(exchangeFor(t)({ ...ask, origin: long }), { code: 'UPSTREAM_ERROR' });
  const cut = await server(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('x', () => response.destroy());
  });
  await t.rejects(exchangeFor(t)({ ...ask, origin: cut }), { code: 'UPSTREAM_ERROR' });
});

t.test('a kept connection that died meanwhile is replaced without a word', async (t) => {
  let count = 0;
  const origin = await server(t, (request, response) => {
    count += 1;
    if (count === 2) request.socket.destroy();
    else response.end('{}');
  });
  const exchange = exchangeFor(t);
  await exchange({ ...ask, origin });
  t.equal((await exchange({ ...ask, origin })).status, 200);
  t.equal(count, 3);
});

t.test('plain http leaves this machine never', async (t) => {
  for (const origin of ['http://vault.internal:8200', 'http://10.0.0.1', 'http://localhost.evil.example'])
    await t.rejects(exchangeFor(t)({ ...ask, origin }), { code: 'EGRESS_REFUSED' }, origin);
});
