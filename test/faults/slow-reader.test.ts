import { connect, type Socket } from 'node:net';
import t from 'tap';
import { collectGarbage } from '../support/garbage.ts';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-slow-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);
const { body: token } = await gateway.api('POST', '/tokens', {
  name: 'slow',
  policy: { timeouts: { writeIdleMs: 1000 } },
});
const request = `GET /openai/v1/files/f/content HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token.token}\r\nconnection: close\r\n\r\n`;

interface ByteReader {
  readonly socket: Socket;
  readonly bytes: readonly number[];
  /** Takes one more. */
  next(): void;
}

/** A client that takes one byte from the system at a time, and none unasked. */
function byteReader(onByte: () => void = () => {}): ByteReader {
  const bytes: number[] = [];
  const { hostname, port } = new URL(gateway.origin);
  const buffer = Buffer.alloc(1);
  const socket = connect({
    host: hostname,
    port: Number(port),
    onread: {
      buffer,
      callback: () => {
        bytes.push(buffer[0] as number);
        onByte();
        return false;
      },
    },
  });
  socket.on('error', () => {}).write(request);
  return { socket, bytes, next: () => void socket.resume() };
}

/** Those that something still holds. */
function arrayBufferBytes(): number {
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

t.test('an answer that is read byte by byte comes whole', async (t) => {
  const body = `${'é'.repeat(2000)} and that is all`;
  upstream.respond([{ body }]);
  const whole = Promise.withResolvers<void>();
  const reader = byteReader(() => setImmediate(() => reader.next()));
  reader.socket.on('end', whole.resolve);
  await whole.promise;
  const text = Buffer.from(reader.bytes).toString();
  t.match(text, /^HTTP\/1\.1 200 /);
  t.ok(text.endsWith(`\r\n\r\n${body}`));
});

t.test(
  'readers of a byte a second hold up their providers, gather nothing here, and are let go',
  async (t) => {
    const readers = 16;
    const block = Buffer.alloc(64 * 1024, 0x61);
    upstream.respond((_seen, answer) => {
      const more = (): void => {
        while (!answer.destroyed && answer.write(block));
      };
      answer.writeHead(200, { 'content-type': 'audio/mpeg' });
      answer.on('drain', more);
      more();
    });
    const seen = upstream.requests.length;
    const before = arrayBufferBytes();
    const at = performance.now();
    const all = Array.from({ length: readers }, () => byteReader());
    const clock = setInterval(() => {
      for (const reader of all) reader.next();
    }, 1000);
    let most = 0;
    const look = setInterval(() => (most = Math.max(most, arrayBufferBytes() - before)), 250);
    await upstream.received(seen + readers);
    await Promise.all(upstream.requests.slice(seen).map(({ gone }) => gone));
    clearInterval(clock);
    clearInterval(look);
    t.ok(performance.now() - at > 1000, 'not before their time');
    // 64 KiB on each of our sides, a block that is on its way between them, and what the provider of this test still has to write.
    t.ok(most > 0 && most < readers * 512 * 1024, `${most} bytes in memory`);
    await gateway.shipped();
    t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
    const { body } = await gateway.api('GET', `/usage/calls?limit=${readers}`);
    t.equal(body.data.length, readers);
    for (const call of body.data) t.match(call, { outcome: 'CLIENT_TOO_SLOW', endReason: 'client_closed' });
    for (const { socket } of all) socket.destroy();
  },
);
