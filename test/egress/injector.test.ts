import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { createEgress, type Egress } from '../../src/egress/egress.ts';
import { injectInto, type Passage } from '../../src/egress/injector.ts';
import { newPlaceholder, placeholderMark } from '../../src/egress/placeholder.ts';
import { call, credentialOf, startCall, testKey, type TestCredential } from '../support/egress-call.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';

function egressFor(t: Test): Egress {
  const egress = createEgress({ ca: testCa });
  t.teardown(() => egress.close());
  return egress;
}

const isWiped = (buffer: Buffer): boolean => buffer.every((byte) => byte === 0);

t.test('a key with bytes that no header may carry is wiped, and nothing is sent', async (t) => {
  const hostile: [string, Buffer][] = [
    ['CR LF and a second request', Buffer.from('k\r\n\r\nPOST /admin HTTP/1.1\r\nhost: x\r\n\r\n')],
    ['LF', Buffer.from('sk-\nx')],
    ['NUL', Buffer.from('sk-\0x')],
    ['a space', Buffer.from('sk- x')],
    ['DEL', Buffer.from([0x73, 0x7f])],
    ['a high byte', Buffer.from([0x73, 0x6b, 0xff])],
    ['nothing', Buffer.alloc(0)],
  ];
  for (const tls of [false, true]) {
    const upstream = await scriptUpstream(t, { tls });
    const egress = egressFor(t);
    for (const [name, secret] of hostile) {
      const credential = credentialOf(secret);
      const { error } = await call(egress, { origin: upstream.origin, body: Buffer.from('{}'), credential });
      t.match(error, { code: 'KEY_INVALID', reachedUpstream: false, stale: false }, name);
      t.equal(credential.failures.length, 1);
      t.equal(credential.opened, 0);
      t.ok(credential.lent.every(isWiped), 'wiped');
    }
    t.equal(upstream.requests.length, 0);
  }
});

t.test('lengths that lie are refused: over the bound, over 8192, and not a number', async (t) => {
  const upstream = await scriptUpstream(t);
  const egress = egressFor(t);
  const lie = (length: number): TestCredential => {
    const honest = credentialOf();
    return { ...honest, openInto: (into, offset, place) => honest.openInto(into, offset, place) && length };
  };
  for (const credential of [lie(testKey.length + 1), lie(Number.NaN), lie(-1), lie(1.5), lie(0)])
    t.match((await call(egress, { origin: upstream.origin, credential })).error, { code: 'KEY_INVALID' });
  const long = credentialOf('k'.repeat(8193));
  t.match((await call(egress, { origin: upstream.origin, credential: long })).error, { code: 'KEY_INVALID' });
  t.same(long.places, [], 'not even opened');
  t.equal(upstream.requests.length, 0);
  const longest = credentialOf('k'.repeat(8192));
  t.equal((await call(egress, { origin: upstream.origin, credential: longest })).error, null);
});

t.test('a key shorter than its bound leaves nothing of its memory in the head', async (t) => {
  const upstream = await scriptUpstream(t, { key: testKey });
  const noisy = credentialOf(testKey, { maxBytes: 300 });
  const credential = {
    ...noisy,
    openInto(into: Buffer, offset: number, place: { origin: string; header: string }): number {
      into.fill(0x58);
      return noisy.openInto(into, offset, place);
    },
  };
  const body = Buffer.from('{"a":1}');
  const answer = await call(egressFor(t), {
    origin: upstream.origin,
    headers: ['x-a', 'b'],
    body,
    credential,
  });
  t.equal(answer.status, 200);
  t.same(upstream.requests[0]?.body, body);
  t.notMatch(upstream.requests[0]?.rawHeaders.join(' '), /XX/);
});

t.test(
  'a key for another origin: the socket’s own origin decides, and the refusal keeps its code',
  async (t) => {
    const upstream = await scriptUpstream(t);
    const credential = credentialOf(testKey, { origins: ['https://api.openai.com'] });
    const { error } = await call(egressFor(t), { origin: upstream.origin, credential });
    t.match(error, { code: 'KEY_ORIGIN', reachedUpstream: false });
    t.same(credential.places, [{ origin: upstream.origin, header: 'authorization' }]);
    t.match(credential.failures, [{ code: 'KEY_ORIGIN' }]);
    t.ok(credential.lent.every(isWiped));
    t.equal(upstream.requests.length, 0);
  },
);

t.test('an opener that throws in the middle: wiped, KEY_INVALID, and its words stay inside', async (t) => {
  const upstream = await scriptUpstream(t);
  const thrown = new Error(`tag differs, plaintext was ${testKey}`);
  const credential = credentialOf(testKey, { throws: thrown });
  const { error } = await call(egressFor(t), { origin: upstream.origin, credential });
  t.match(error, { code: 'KEY_INVALID' });
  t.notMatch(`${error?.message} ${String(error?.cause)} ${error?.stack}`, testKey);
  t.same(credential.failures, [thrown]);
  t.ok(credential.lent.every(isWiped));
  const told = credentialOf(testKey, {
    throws: new SallyportError('KEY_INVALID', 'The record does not open.'),
  });
  t.match((await call(egressFor(t), { origin: upstream.origin, credential: told })).error, {
    code: 'KEY_INVALID',
    message: 'The record does not open.',
  });
});

t.test(
  'headers that frame or route a message never carry a key, and never come from the caller',
  async (t) => {
    const upstream = await scriptUpstream(t);
    const egress = egressFor(t);
    for (const header of [
      'host',
      'content-length',
      'transfer-encoding',
      'connection',
      'cookie',
      'x-any',
      'Authorization',
    ]) {
      const credential = credentialOf(testKey, { header });
      t.match(
        (await call(egress, { origin: upstream.origin, credential })).error,
        { code: 'KEY_INVALID' },
        header,
      );
      t.same(credential.places, []);
    }
    const owned = [
      'host',
      'Host',
      'connection',
      'transfer-encoding',
      'expect',
      'upgrade',
      'te',
      'cookie',
      'x-sallyport-hop',
    ];
    for (const name of [...owned, 'authorization', 'X-Api-Key', 'x-goog-api-key']) {
      const credential = credentialOf();
      const headers = [name, 'api.openai.com'];
      const { error } = await call(egress, { origin: upstream.origin, headers, credential });
      t.match(error, { code: 'EGRESS_REFUSED', reachedUpstream: false }, name);
      t.same(credential.places, []);
    }
    for (const prefix of ['Bearer \r\nx: ', 'a'.repeat(33), '\0'])
      t.match(
        (await call(egress, { origin: upstream.origin, credential: credentialOf(testKey, { prefix }) }))
          .error,
        {
          code: 'KEY_INVALID',
        },
      );
    for (const ask of [
      { method: 'TRACE' },
      { method: 'CONNECT' },
      { path: 'http://169.254.169.254/' },
      { path: '/a b' },
      { path: '/a\r\nx: y' },
      { method: 'GET /x HTTP/1.1\r\n' },
      { headers: ['x', 'a\r\nb: c'] },
      { headers: ['x\r\ny', 'a'] },
      { headers: ['x', 'a\0'] },
      { body: Buffer.from('abc'), headers: ['content-length', '5'] },
    ]) {
      const credential = credentialOf();
      const { error } = await call(egress, { origin: upstream.origin, credential, ...ask });
      t.match(error, { code: 'EGRESS_REFUSED', reachedUpstream: false }, JSON.stringify(ask));
      t.same(credential.places, []);
    }
    t.equal(upstream.requests.length, 0);
  },
);

t.test('text like a placeholder in headers, path and body passes as text and opens nothing', async (t) => {
  const upstream = await scriptUpstream(t, { script: (request) => ({ body: request.body }) });
  const egress = egressFor(t);
  // The shape of a real one, of another process; in the body even one of ours.
  const foreign = `{{${'0'.repeat(32)}:1.${'0'.repeat(24)}}}`;
  const body = Buffer.from(`{"a":"${foreign}","b":"${newPlaceholder()}"}`);
  const credential = credentialOf();
  const answer = await call(egress, {
    origin: upstream.origin,
    path: '/v1/x?q=%7B%7B',
    headers: ['x-a', foreign, 'user-agent', foreign],
    body,
    credential,
  });
  t.ok(answer.body.equals(body));
  t.equal(upstream.requests[0]?.headers['x-a'], foreign);
  t.equal(credential.opened, 1);
});

t.test(
  'a placeholder of ours in another header, even of a call without a key, destroys the socket',
  async (t) => {
    const upstream = await scriptUpstream(t);
    const egress = egressFor(t);
    for (const credential of [null, credentialOf()]) {
      const headers = ['x-a', newPlaceholder()];
      const { error } = await call(egress, { origin: upstream.origin, headers, credential });
      t.match(error, { code: 'KEY_INVALID', reachedUpstream: false });
      t.same(credential?.places ?? [], []);
    }
    const named = await call(egress, {
      origin: upstream.origin,
      path: `/${placeholderMark}`,
      credential: credentialOf(),
    });
    t.match(named.error, { code: 'KEY_INVALID' });
    t.equal(upstream.requests.length, 0);
  },
);

t.test('placeholders of one process share a mark, and no two are alike', (t) => {
  const made = new Set(Array.from({ length: 5000 }, newPlaceholder));
  t.equal(made.size, 5000);
  for (const text of made) if (!text.startsWith(placeholderMark)) t.fail(text);
  t.end();
});

t.test('undici’s diagnostics never see the key', async (t) => {
  const seen: string[] = [];
  const dump = (value: unknown, depth: number): void => {
    if (typeof value === 'string') seen.push(value);
    else if (Buffer.isBuffer(value)) seen.push(value.toString('latin1'));
    else if (depth > 0 && typeof value === 'object' && value !== null)
      for (const key of Reflect.ownKeys(value)) {
        let part: unknown;
        try {
          part = (value as Record<PropertyKey, unknown>)[key];
        } catch {
          continue; // getters that want another receiver
        }
        dump(part, depth - 1);
      }
  };
  const channels = [
    'request:create',
    'request:bodySent',
    'request:bodyChunkSent',
    'client:sendHeaders',
    'request:headers',
  ];
  for (const name of [
    ...channels,
    'request:error',
    'request:trailers',
    'client:connected',
    'client:beforeConnect',
  ]) {
    const listen = (message: unknown): void => dump(message, 6);
    diagnostics.subscribe(`undici:${name}`, listen);
    t.teardown(() => diagnostics.unsubscribe(`undici:${name}`, listen));
  }
  const upstream = await scriptUpstream(t, { tls: true, key: testKey });
  const egress = egressFor(t);
  const body = Buffer.from('{"seen":"yes"}');
  for (let i = 0; i < 3; i += 1)
    t.equal((await call(egress, { origin: upstream.origin, body, credential: credentialOf() })).status, 200);
  t.ok(
    seen.some((text) => text.includes('{"seen":"yes"}')),
    'the listener works',
  );
  t.ok(
    seen.some((text) => text.includes(placeholderMark)),
    'what they see is the placeholder',
  );
  t.notOk(seen.some((text) => text.includes(testKey)));
});

interface Wire {
  readonly socket: Socket;
  /** All that arrived when the socket has closed. */
  readonly arrived: Promise<string>;
}

/** A bare connection with the injector on it, to write what undici never would. */
async function wire(t: Test, passage: Passage | null, origin = 'http://x.example.com'): Promise<Wire> {
  const arrived = Promise.withResolvers<string>();
  const server = createServer((peer) => {
    let text = '';
    peer.on('data', (chunk) => (text += chunk.toString('latin1')));
    peer.on('error', () => {});
    peer.once('close', () => arrived.resolve(text));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => {});
  t.teardown(() => {
    socket.destroy();
    server.close();
  });
  injectInto(socket, origin, () => passage);
  return { socket, arrived: arrived.promise };
}

function passageOf(credential: TestCredential | null = credentialOf()): Passage & { heads: number } {
  return {
    origin: 'http://x.example.com',
    credential,
    body: null,
    placeholder: credential === null ? null : newPlaceholder(),
    heads: 0,
    onKey() {},
    onHead() {
      this.heads += 1;
    },
  };
}

t.test('on the wire: one placeholder, in its header, once', async (t) => {
  const good = (text: string | null): string => `POST / HTTP/1.1\r\nauthorization: Bearer ${text}\r\n\r\n`;

  const passage = passageOf();
  const first = await wire(t, passage);
  const head = good(passage.placeholder);
  first.socket.cork();
  first.socket.write(head, 'latin1');
  first.socket.write(Buffer.from('body'));
  first.socket.uncork();
  await new Promise((resolve) => first.socket.write(Buffer.alloc(0), resolve));
  t.equal(first.socket.writableCorked, 0);
  first.socket.write(head, 'latin1'); // again: its call has used it
  t.ok(first.socket.destroyed);
  t.equal(await first.arrived, `${good(testKey)}body`);
  t.equal(passage.heads, 1);
  t.ok((passage.credential as TestCredential).lent.every(isWiped));

  const bad: [string, (own: string) => string][] = [
    ['in another header', (own) => `POST / HTTP/1.1\r\nx-a: Bearer ${own}\r\n\r\n`],
    ['twice', (own) => `POST / HTTP/1.1\r\nauthorization: Bearer ${own}\r\nx-a: ${own}\r\n\r\n`],
    ['in the path', (own) => `POST /${own} HTTP/1.1\r\n\r\n`],
    ['without its prefix', (own) => `POST / HTTP/1.1\r\nauthorization: ${own}\r\n\r\n`],
    ['with something behind it', (own) => `POST / HTTP/1.1\r\nauthorization: Bearer ${own}x\r\n\r\n`],
    [
      'beside another',
      (own) => `POST / HTTP/1.1\r\nauthorization: Bearer ${own}\r\nx: ${newPlaceholder()}\r\n\r\n`,
    ],
    ['of another call', () => `POST / HTTP/1.1\r\nauthorization: Bearer ${newPlaceholder()}\r\n\r\n`],
    ['missing', () => 'POST / HTTP/1.1\r\n\r\n'],
  ];
  for (const [name, text] of bad) {
    const passage = passageOf();
    const { socket, arrived } = await wire(t, passage);
    t.notOk(socket.write(text(passage.placeholder ?? ''), 'latin1'), name);
    t.ok(socket.destroyed);
    t.equal(await arrived, '');
    t.equal(passage.heads, 0);
    t.same((passage.credential as TestCredential).places, []);
  }

  const ended = await wire(t, null);
  ended.socket.write(good(newPlaceholder()), 'latin1');
  t.ok(ended.socket.destroyed, 'its call has ended');
  t.equal(await ended.arrived, '');
});

t.test(
  'on the wire: a short body leaves in one write with its head, once, and nothing else in its place',
  async (t) => {
    const head = ({ placeholder, body }: Passage): string =>
      `POST / HTTP/1.1\r\nauthorization: Bearer ${placeholder}\r\ncontent-length: ${body?.length}\r\n\r\n`;
    const told = `POST / HTTP/1.1\r\nauthorization: Bearer ${testKey}\r\ncontent-length: 4\r\n\r\n`;
    const withBody = (body: Buffer) => ({ ...passageOf(), body });

    const passage = withBody(Buffer.from('body'));
    const first = await wire(t, passage);
    first.socket.write(head(passage), 'latin1');
    t.ok(first.socket.write(passage.body), 'undici’s own write of it is taken as done');
    passage.placeholder = null;
    first.socket.end('more');
    t.equal(await first.arrived, `${told}bodymore`);

    const other = withBody(Buffer.from('body'));
    const second = await wire(t, other);
    second.socket.write(head(other), 'latin1');
    t.notOk(second.socket.write(Buffer.from('body')), 'equal bytes are not the same ones');
    t.ok(second.socket.destroyed);

    for (const body of [Buffer.alloc(0), Buffer.alloc(8193, 97)]) {
      const apart = withBody(body);
      const third = await wire(t, apart);
      third.socket.write(head(apart), 'latin1');
      third.socket.end(body);
      t.ok((await third.arrived).endsWith(`content-length: ${body.length}\r\n\r\n${body.toString()}`));
    }
  },
);

t.test('on the wire: a body’s text is never searched', async (t) => {
  const { socket, arrived } = await wire(t, passageOf(null));
  const text = newPlaceholder();
  socket.write(text);
  socket.write(text, 'utf8');
  socket.write(Buffer.from(text));
  socket.end();
  t.equal(await arrived, text.repeat(3));
});

t.test(
  'on the wire: behind bytes that still wait, and on another origin’s socket, nothing is opened',
  async (t) => {
    const busy = passageOf();
    const { socket, arrived } = await wire(t, busy);
    while (socket.write(Buffer.alloc(1 << 20)));
    t.ok(socket.writableLength > 0);
    socket.write(`POST / HTTP/1.1\r\nauthorization: Bearer ${busy.placeholder}\r\n\r\n`, 'latin1');
    t.ok(socket.destroyed);
    t.notMatch(await arrived, /POST/);
    t.same((busy.credential as TestCredential).places, []);

    const foreign = passageOf();
    const other = await wire(t, foreign, 'http://evil.example.com');
    other.socket.write(`POST / HTTP/1.1\r\nauthorization: Bearer ${foreign.placeholder}\r\n\r\n`, 'latin1');
    t.ok(other.socket.destroyed);
    t.equal(await other.arrived, '');
    t.same((foreign.credential as TestCredential).places, []);
    t.match((foreign.credential as TestCredential).failures, [{ code: 'KEY_ORIGIN' }]);
  },
);

t.test('a write that fails wipes what it was given', async (t) => {
  const passage = passageOf();
  const { socket } = await wire(t, passage);
  // The handle is gone under the socket's feet: the write is accepted and fails later.
  (
    socket as unknown as {
      _handle: { writeLatin1String: unknown; writeBuffer: (...args: unknown[]) => number };
    }
  )._handle.writeBuffer = () => -32;
  socket.write(`POST / HTTP/1.1\r\nauthorization: Bearer ${passage.placeholder}\r\n\r\n`, 'latin1');
  await new Promise((resolve) => socket.once('close', resolve));
  t.equal((passage.credential as TestCredential).lent.length, 1);
  t.ok((passage.credential as TestCredential).lent.every(isWiped));
});

t.test('many calls at once each carry their own key, and every lent byte is wiped', async (t) => {
  const upstream = await scriptUpstream(t, {
    tls: true,
    script: (request) => ({ body: `${String(request.headers['x-api-key'])} ${request.body.toString()}` }),
  });
  const egress = egressFor(t);
  const credentials = Array.from({ length: 200 }, (_, i) =>
    credentialOf(`key-${i}-${'z'.repeat(80)}`, { header: 'x-api-key', prefix: '', maxBytes: 400 }),
  );
  await Promise.all(
    credentials.map(async (credential, i) => {
      const answer = await call(egress, { origin: upstream.origin, body: Buffer.from(`n${i}`), credential });
      t.equal(answer.body.toString(), `key-${i}-${'z'.repeat(80)} n${i}`);
    }),
  );
  t.ok(credentials.every(({ lent, opened }) => opened === 1 && lent.every(isWiped)));
  const running = startCall(egress, { origin: upstream.origin, credential: credentialOf() });
  t.equal((await running.outcome).status, 200);
});
