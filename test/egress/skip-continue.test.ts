import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import t from 'tap';
import { skipContinue, type Awaiting } from '../../src/egress/skip-continue.ts';

const pairs: Socket[] = [];
const server = createServer({ noDelay: true }, (socket) => void pairs.push(socket));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
t.teardown(() => {
  for (const socket of pairs) socket.destroy();
  server.close();
});

/** What comes through of these writes, each in a segment of its own, as undici reads. */
async function readOf(writes: readonly string[], call: Awaiting = { isAnswered: false }): Promise<string> {
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const [peer] = await accepted;
  skipContinue(socket, () => call);
  let text = '';
  const turn = { arrived: () => {} };
  socket.on('readable', () => {
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null)
      text += chunk.toString('latin1');
    turn.arrived();
  });
  let sent = 0;
  for (const part of writes) {
    sent += part.length;
    const { promise, resolve } = Promise.withResolvers<void>();
    turn.arrived = () => {
      if (socket.bytesRead >= sent) resolve();
    };
    peer.write(part);
    await promise;
  }
  socket.destroy();
  return text;
}

/** What comes through of these reads, one after the other. */
function readsOf(reads: readonly Buffer[]): string {
  const stream = new Readable({ read: () => {} });
  const call = { isAnswered: false };
  skipContinue(stream as Socket, () => call);
  let text = '';
  for (const read of reads) {
    stream.push(read);
    text += (stream.read() as Buffer | null)?.toString('latin1') ?? '';
  }
  return text;
}

/** @param cuts where a read ends, ascending */
function splitAt(all: Buffer, cuts: readonly number[]): Buffer[] {
  return [...cuts, all.length].map((end, i) => all.subarray(cuts[i - 1] ?? 0, end));
}

const go = 'HTTP/1.1 100 Continue\r\n\r\n';
const named = 'HTTP/1.1 100\r\nx-why: HTTP/1.1 100\r\n\r\n';
const hint = 'HTTP/1.1 103 Early Hints\r\nlink: </HTTP/1.1 100 >\r\n\r\n';
const working = 'HTTP/1.1 102\r\n\r\n';
const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nbody';

t.test('what waits behind a piece that is held back is read at once', async (t) => {
  for (const [pieces, rest] of [
    [['HTTP/1.1 1', go.slice(10) + ok], ok],
    [[go, hint.slice(0, 9), hint.slice(9), go, ok], hint + ok],
    [(go + ok).split(''), ok],
  ] as const) {
    const stream = new Readable({ read: () => {} });
    const call = { isAnswered: false };
    skipContinue(stream as Socket, () => call);
    for (const piece of pieces) stream.push(piece);
    let text = '';
    // As undici does: null says that nothing is there, and that an event tells when there is.
    for (let chunk = stream.read() as Buffer | null; chunk !== null; chunk = stream.read() as Buffer | null)
      text += chunk.toString('latin1');
    t.equal(text, rest);
  }
});

t.test('what says to continue is taken out wherever it is cut, and nothing else is', async (t) => {
  for (const [all, rest] of [
    [go + ok, ok],
    [named + go + ok, ok],
    [ok, ok],
    [hint, hint],
    [hint + go + ok, hint + ok],
    [working + go + named + hint + go + ok, working + hint + ok],
    ['HTTP/1.1 101 x\r\n\r\n' + go, 'HTTP/1.1 101 x\r\n\r\n' + go],
    ['HTTP/1.1 1000 x\r\n\r\n', 'HTTP/1.1 1000 x\r\n\r\n'],
    ['no HTTP', 'no HTTP'],
  ] as const) {
    t.equal(await readOf([all]), rest);
    for (let at = 1; at < all.length; at += 3)
      t.equal(await readOf([all.slice(0, at), all.slice(at)]), rest, `cut at ${at}`);
  }
  t.equal(await readOf((go + ok).split('')), ok, 'byte by byte');
});

t.test('behind other informational answers too, over every split of the bytes into reads', (t) => {
  const interim = fc.oneof(
    fc.constantFrom(go, named, hint, working, 'HTTP/1.1 100 \r\n\r\n', 'HTTP/1.1 199 x\r\na:\r\n\r\n'),
    fc
      .tuple(fc.integer({ min: 102, max: 199 }), fc.stringMatching(/^[ -~]{0,20}$/))
      .map(([status, text]) => `HTTP/1.1 ${status} ${text}\r\nx: ${text}\r\n\r\n`),
  );
  const last = fc.oneof(
    fc.constantFrom(
      ok,
      `HTTP/1.1 101 Up\r\n\r\n${go}`,
      `HTTP/1.1 1000 x\r\n\r\n${go}`,
      `HTTP/1.0 200\r\n\r\n${go}`,
    ),
    fc.string({ unit: 'binary-ascii', maxLength: 40 }).map((text) => `HTTP/1.1 5${text}`),
  );
  fc.assert(
    fc.property(
      fc.array(interim, { maxLength: 6 }),
      last,
      fc.array(fc.nat(), { maxLength: 40 }),
      (before, final, places) => {
        const all = Buffer.from(before.join('') + final, 'latin1');
        const kept = before.filter((head) => !head.startsWith('HTTP/1.1 100')).join('') + final;
        const cuts = [...new Set(places.map((place) => place % all.length))].toSorted((a, b) => a - b);
        return readsOf(splitAt(all, cuts)) === kept;
      },
    ),
    { numRuns: 2000 },
  );
  const all = Buffer.from(go + hint + named + ok, 'latin1');
  for (let one = 0; one < all.length; one += 1)
    for (let two = one; two < all.length; two += 1)
      if (readsOf(splitAt(all, [one, two])) !== hint + ok) t.fail(`cut at ${one} and ${two}`);
  t.end();
});

t.test('a head without an end is not kept for ever', async (t) => {
  const endless = `HTTP/1.1 100 Continue\r\n${'x-more: and more\r\n'.repeat(2000)}`;
  t.equal(await readOf([endless]), endless);
  const held = Buffer.from(hint + endless);
  for (const cut of [hint.length, hint.length + 16_383, hint.length + 16_384, hint.length + 16_385]) {
    t.equal(readsOf(splitAt(held, [cut])), hint + endless, `cut at ${cut}`);
    t.equal(
      readsOf([held.subarray(0, cut)]),
      hint + (cut > hint.length + 16_384 ? endless.slice(0, 16_385) : ''),
    );
  }
});

t.test('a call that comes next finds nothing of what was held for another', (t) => {
  const stream = new Readable({ read: () => {} });
  let call: Awaiting | null = { isAnswered: false };
  skipContinue(stream as Socket, () => call);
  stream.push('HTTP/1.1 10');
  t.equal(stream.read(), null);
  call = { isAnswered: false };
  stream.push(ok);
  t.equal(String(stream.read()), ok);
  call = null;
  stream.push(go);
  t.equal(String(stream.read()), go);
  t.end();
});

t.test('where an answer has begun, nothing is looked for', async (t) => {
  t.equal(await readOf([go], { isAnswered: true }), go);
});
