import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import { bodyBudgetBytes, createBodyBudget } from '../../src/gateway/body-budget.ts';
import { defaultPaces } from '../../src/gateway/body-pace.ts';
import { readBody, readStart } from '../../src/gateway/request-body.ts';

/** What a client makes of a body that he sends byte by byte: pieces of the pages that the socket was read into. */
function* singleBytes(count: number): Generator<Buffer> {
  const page = Buffer.alloc(60_000, 'abcdef');
  for (let i = 0; i < count; i += 1) yield page.subarray((i * 6) % 60_000, ((i * 6) % 60_000) + 1);
}

const file = (name: string): Buffer => readFileSync(new URL(`../support/tls/${name}`, import.meta.url));

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function head(bytes: number): Buffer {
  return Buffer.from(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes}\r\n\r\n`);
}

async function read(pieces: Iterable<Buffer>): Promise<Buffer> {
  const request = new Readable({ read() {} });
  const body = readBody(request as IncomingMessage, 64 * 1024 * 1024, { take: () => {} }, defaultPaces.whole);
  for (const piece of pieces) request.emit('data', piece);
  request.emit('end');
  return body;
}

t.test('a body that comes in single bytes takes memory by its bytes, not by its pieces', async (t) => {
  const count = 1_000_000;
  const before = process.memoryUsage().heapUsed;
  let most = 0;
  function* watched(): Generator<Buffer> {
    let i = 0;
    for (const piece of singleBytes(count)) {
      yield piece;
      i += 1;
      if (i % 250_000 === 0) most = Math.max(most, process.memoryUsage().heapUsed - before);
    }
  }
  const body = await read(watched());
  t.equal(body.length, count);
  t.ok(body.every((byte) => byte === 0x61));
  t.ok(most < 64 * count, `${Math.round(most / count)} bytes of heap for each byte of the body`);
});

t.test('a body is the bytes that came, in their order, however they were cut', async (t) => {
  const whole = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 7) % 251));
  for (const size of [1, 3, 1000, 4096, 20_000]) {
    const pieces: Buffer[] = [];
    for (let at = 0; at < whole.length; at += size) pieces.push(whole.subarray(at, at + size));
    t.ok((await read(pieces)).equals(whole), `pieces of ${size}`);
  }
  t.equal((await read([])).length, 0);
});

for (const isTls of [false, true]) {
  t.test(
    `what was copied is given back, and nothing else with it, ${isTls ? 'by TLS' : 'in clear'}`,
    async (t) => {
      const given: number[] = [];
      const onRequest = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
        const pieces: Buffer[] = [];
        request.on('data', (piece: Buffer) => pieces.push(piece));
        const body = await readBody(request, 1e7, { take: () => {} }, defaultPaces.whole);
        given.push(pieces.filter(({ length }) => length === 0).length);
        // What has no memory would be a zero here, and what another one has got by now would be that one's.
        randomBytes(body.length).fill(1);
        response.end(sha256(body));
      };
      const options = isTls ? { cert: file('leaf.pem'), key: file('leaf.key') } : {};
      const listener = (request: IncomingMessage, response: ServerResponse): void =>
        void onRequest(request, response);
      const server = isTls ? createTlsServer(options, listener) : createServer(listener);
      t.teardown(() => server.close());
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const client = isTls
        ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
        : connect(port, '127.0.0.1');
      t.teardown(() => client.destroy());
      await once(client, isTls ? 'secureConnect' : 'connect');
      // One behind another without waiting: the last bytes of one and the first of the next are read in one go.
      const bodies = [100_000, 3_000_000, 10, 700_000].map((size) => randomBytes(size));
      client.write(Buffer.concat(bodies.flatMap((body) => [head(body.length), body])));
      let answers = '';
      for await (const chunk of client) {
        answers += String(chunk);
        if (answers.includes(sha256(bodies.at(-1) as Buffer))) break;
      }
      t.same(answers.match(/[0-9a-f]{64}/g), bodies.map(sha256));
      t.ok((given[1] ?? 0) > 10, `${given[1]} pieces of 3 MB have gone`);
      t.equal(given[2], 0, 'a body of one piece is that piece');
    },
  );
}

t.test('what is read of a beginning stays as it is: the rest is to come', async (t) => {
  const request = new Readable({ read() {} });
  const pieces = [Buffer.from(new Uint8Array(40_000).fill(1)), Buffer.from(new Uint8Array(40_000).fill(2))];
  const start = readStart(request as IncomingMessage, 50_000, { take: () => {} }, defaultPaces.whole);
  for (const piece of pieces) request.emit('data', piece);
  t.match(await start, { isWhole: false });
  t.same(
    pieces.map(({ length }) => length),
    [40_000, 40_000],
  );
});

t.test('a piece of a larger memory leaves it to whoever has the rest', async (t) => {
  const page = Buffer.alloc(100_000, 'abcdef');
  const body = await read([page.subarray(0, 50_000), page.subarray(50_000, 99_999)]);
  t.ok(body.equals(page.subarray(0, 99_999)));
  t.equal(page.length, 100_000);
});

t.test(
  'bodies of many calls together are bounded too, and what a call held is free when it is over',
  async (t) => {
    const budget = createBodyBudget(100);
    const [first, second] = [budget.share(), budget.share()];
    first.take(60);
    t.throws(() => second.take(50), { code: 'RATE_LIMITED', retryAfter: 1 });
    second.take(40);
    t.equal(budget.used(), 100);
    first.release();
    first.release();
    t.equal(budget.used(), 40);
    const request = new Readable({ read() {} });
    const body = readBody(request as IncomingMessage, 1000, budget.share(), defaultPaces.whole);
    request.emit('data', Buffer.alloc(61));
    await t.rejects(body, { code: 'RATE_LIMITED' });
    t.ok(bodyBudgetBytes(64 * 1024 * 1024, 64) >= 128 * 1024 * 1024);
  },
);
