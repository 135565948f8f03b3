import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import t from 'tap';
import { bodyBudgetBytes, createBodyBudget } from '../../src/gateway/body-budget.ts';
import { defaultPaces } from '../../src/gateway/body-pace.ts';
import { readBody } from '../../src/gateway/request-body.ts';

/** What a client makes of a body that he sends byte by byte: pieces of the pages that the socket was read into. */
function* singleBytes(count: number): Generator<Buffer> {
  const page = Buffer.alloc(60_000, 'abcdef');
  for (let i = 0; i < count; i += 1) yield page.subarray((i * 6) % 60_000, ((i * 6) % 60_000) + 1);
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
