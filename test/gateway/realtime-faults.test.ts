import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { WebSocket } from 'ws';
import { startGateway } from '../support/gateway.ts';
import { type SeenSession, socketUpstream } from '../support/socket-upstream.ts';

t.setTimeout(60_000);

const key = 'sk-the-stored-key-0123456789abcdef';
const upstream = await socketUpstream(t);
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin },
  settings: { SALLYPORT_ALLOW_ORIGINS: upstream.origin },
});
await gateway.addKey('openai', key);
await gateway.addKey('custom', 'custom-key-0123456789abcdef', { name: 'local', origins: [upstream.origin] });
const url = `${gateway.origin.replace('http', 'ws')}/v1/realtime?model=gpt-realtime`;

interface Heard {
  readonly client: WebSocket;
  readonly messages: readonly string[];
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
}

let opened = 0;

/** A client and what the provider sees of it. */
async function open(at = url, token = gateway.token): Promise<Heard & SeenSession> {
  opened += 1;
  const mark = `n=${opened}.`;
  const next = upstream.next(mark);
  const client = new WebSocket(`${at}${at.includes('?') ? '&' : '?'}${mark}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const messages: string[] = [];
  client.on('message', (data: Buffer) => messages.push(data.toString()));
  client.on('error', () => {});
  const closed = once(client, 'close').then(([code, reason]: unknown[]) => ({
    code: code as number,
    reason: String(reason),
  }));
  const session = await next;
  await once(client, 'open');
  return { client, messages, closed, ...session };
}

/** A client's bytes as they are, from behind the handshake on. */
async function openRaw(
  path = '/v1/realtime?model=gpt-realtime',
): Promise<{ readonly raw: Socket } & SeenSession> {
  const next = upstream.next();
  const { hostname, port } = new URL(gateway.origin);
  const raw = connect({ host: hostname, port: Number(port), noDelay: true });
  raw.on('error', () => {});
  raw.write(
    `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n` +
      'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  const session = await next;
  await new Promise<void>((resolve) => {
    let head = '';
    const take = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      raw.off('data', take);
      raw.pause();
      resolve();
    };
    raw.on('data', take);
  });
  return { raw, ...session };
}

async function lastRow() {
  await gateway.shipped();
  const { body } = await gateway.api('GET', '/usage/calls?limit=1');
  return body.data[0];
}

const gone = (socket: Socket): Promise<unknown> =>
  socket.destroyed ? Promise.resolve() : once(socket, 'close');
const event = (text: string) => Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]);

t.test(
  'a provider’s connection that breaks between messages is told by an event and a close frame',
  async (t) => {
    for (const how of ['reset', 'fin'] as const) {
      const { wire, messages, closed } = await open();
      await new Promise((resolve) => wire.write(event('{"type":"session.created"}'), resolve));
      if (how === 'reset') wire.resetAndDestroy();
      else wire.end();
      t.match(await closed, { code: 1011, reason: 'UPSTREAM_STREAM_BROKEN' }, how);
      t.equal(messages.length, 2);
      t.match(JSON.parse(messages[1] as string), {
        type: 'error',
        error: { code: 'UPSTREAM_STREAM_BROKEN' },
      });
      t.match(await lastRow(), {
        outcome: 'UPSTREAM_STREAM_BROKEN',
        endReason: 'upstream_broken',
        status: 101,
      });
    }
  },
);

t.test(
  'in the middle of a message there is no event, and in the middle of a frame no word at all',
  async (t) => {
    const between = await openRaw();
    // The first message of a session is kept back until it is whole: this is about the second.
    const first = event('{"type":"session.created"}');
    for (const [name, rest, end] of [
      ['between fragments', Buffer.from([0x01, 3, 0x61, 0x62, 0x63]), Buffer.from([0x88, 24, 0x03, 0xf3])],
      ['within a frame', Buffer.from([0x81, 100, 0x61, 0x62, 0x63]), Buffer.alloc(0)],
    ] as const) {
      const { raw, wire } = name === 'between fragments' ? between : await openRaw();
      const chunks: Buffer[] = [];
      const heard = once(raw, 'data');
      raw.on('data', (chunk: Buffer) => chunks.push(chunk));
      raw.resume();
      const closed = once(raw, 'close');
      wire.write(Buffer.concat([first, rest]));
      await heard;
      wire.resetAndDestroy();
      await closed;
      const all = Buffer.concat(chunks);
      const sent = Buffer.concat([first, rest]);
      t.same(all.subarray(0, sent.length), sent, name);
      t.same(all.subarray(sent.length, sent.length + 4), end, `${name}: what follows`);
      t.notMatch(all.toString('latin1'), /"error"/, name);
      t.match(await lastRow(), { outcome: 'UPSTREAM_STREAM_BROKEN', endReason: 'upstream_broken' });
    }
  },
);

t.test('a close frame goes through with its code and reason, from either side', async (t) => {
  const one = await open();
  one.socket.close(1001, 'session expired');
  t.same(await one.closed, { code: 1001, reason: 'session expired' });
  t.match(await lastRow(), { outcome: 'ok', endReason: 'complete' });

  const two = await open();
  const seen = once(two.socket, 'close');
  two.client.close(4001, 'enough');
  t.same((await seen).map(String), ['4001', 'enough']);
  t.same(await two.closed, { code: 4001, reason: 'enough' });

  const three = await open();
  const ended = once(three.socket, 'close');
  three.client.close(1000, 'and gone');
  // Leaves at once behind its close frame: the provider still gets it.
  three.client.terminate();
  t.equal((await ended)[0], 1000);
  t.match(await lastRow(), { outcome: 'ok', endReason: 'complete' });
});

t.test('frames of a provider that break the rules end the session, and go on not at all', async (t) => {
  for (const [name, bytes] of [
    ['a masked frame', Buffer.from([0x81, 0x81, 1, 2, 3, 4, 5])],
    ['a compressed one', Buffer.from([0xc1, 0x01, 0x61])],
    ['1 GB announced', Buffer.from([0x82, 127, 0, 0, 0, 0, 0x40, 0, 0, 0, 0x61])],
  ] as const) {
    const { wire, socket, messages, closed } = await open();
    const said = once(socket, 'close');
    wire.write(bytes);
    t.match(await closed, { code: 1011 }, name);
    t.equal((await said)[0], name.startsWith('1 GB') ? 1009 : 1002, `${name}: the provider is told`);
    t.match(
      messages.map((text) => JSON.parse(text)),
      [{ error: { code: 'UPSTREAM_STREAM_BROKEN' } }],
    );
  }
});

t.test(
  'frames of a client that break the rules end the session, and the provider sees none of them',
  async (t) => {
    for (const [name, bytes, code, outcome] of [
      ['an unmasked frame', Buffer.from([0x81, 0x01, 0x61]), 1002, 'REQUEST_INVALID'],
      ['a reserved opcode', Buffer.from([0x83, 0x80, 1, 2, 3, 4]), 1002, 'REQUEST_INVALID'],
      [
        '1 GB announced',
        Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]),
        1009,
        'BODY_TOO_LARGE',
      ],
    ] as const) {
      const { raw, wire, socket: provider } = await openRaw();
      const heard: unknown[] = [];
      provider.on('message', (data) => heard.push(data));
      const ended = once(provider, 'close');
      const chunks: Buffer[] = [];
      raw.on('data', (chunk: Buffer) => chunks.push(chunk)).resume();
      const closed = once(raw, 'close');
      raw.write(bytes);
      await closed;
      const all = Buffer.concat(chunks);
      const close = all.subarray(all.lastIndexOf(0x88));
      t.equal(close.readUInt16BE(2), code, name);
      t.match(all.toString('latin1'), new RegExp(`"code":"${outcome}"`), name);
      await ended;
      await gone(wire);
      t.same(heard, []);
      t.match(await lastRow(), { outcome, endReason: 'client_closed' });
    }
  },
);

t.test('what a provider answers instead of changing protocols is an answer of HTTP', async (t) => {
  const text = (status: string, body: string, more = ''): string =>
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n${more}content-length: ${body.length}\r\n\r\n${body}`;
  const accept = (given: string | undefined): string =>
    createHash('sha1').update(`${given}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  const change = (acceptance: string, more = ''): string =>
    `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${acceptance}\r\n${more}\r\n`;
  const answers: readonly (readonly [string, (key: string | undefined) => string | null, object])[] = [
    ['401', () => text('401 Unauthorized', `{"error":"${key}"}`), { status: 502, code: 'UPSTREAM_AUTH' }],
    ['403', () => text('403 Forbidden', `{"error":"${key}"}`), { status: 502, code: 'UPSTREAM_AUTH' }],
    [
      '429',
      () => text('429 Too Many Requests', '{"error":{"code":"slow"}}', 'retry-after: 7\r\n'),
      { status: 429, code: 'UPSTREAM_RATE_LIMITED', retryAfter: '7', body: /slow/ },
    ],
    [
      '500',
      () => text('500 Oops', `{"key":"${key}"}`),
      { status: 500, code: 'UPSTREAM_ERROR', body: /\*\*\*/ },
    ],
    ['a wrong accept', () => change(accept('x')), { status: 502, code: 'UPSTREAM_ERROR' }],
    ['no accept', () => change(''), { status: 502, code: 'UPSTREAM_ERROR' }],
    [
      'an extension',
      (asked) => change(accept(asked), 'sec-websocket-extensions: permessage-deflate\r\n'),
      { status: 502, code: 'UPSTREAM_ERROR' },
    ],
    [
      'a sub-protocol that nobody offered',
      (asked) => change(accept(asked), 'sec-websocket-protocol: mqtt\r\n'),
      { status: 502, code: 'UPSTREAM_ERROR' },
    ],
    [
      'another protocol',
      (asked) => change(accept(asked)).replace('upgrade: w', 'upgrade: x-w'),
      { status: 502 },
    ],
    ['nothing', () => null, { status: 502, code: 'UPSTREAM_ERROR' }],
  ];
  for (const [name, answer, expected] of answers) {
    upstream.instead((request, wire) => {
      const words = answer(request.headers['sec-websocket-key']);
      if (words === null) wire.resetAndDestroy();
      else wire.end(words);
    });
    const client = new WebSocket(url, ['realtime', `openai-insecure-api-key.${gateway.token}`]);
    client.on('error', () => {});
    const [, message] = await once(client, 'unexpected-response');
    let body = '';
    for await (const chunk of message) body += String(chunk);
    const { statusCode, headers } = message;
    t.match(
      { status: statusCode, code: headers['x-sallyport-code'], retryAfter: headers['retry-after'], body },
      expected,
      name,
    );
    t.equal(headers.connection, 'close');
    t.notOk(body.includes(key), `${name}: without the key`);
    client.terminate();
  }
  upstream.instead(null);
  await gateway.shipped();
  const { body } = await gateway.api('GET', `/usage/calls?limit=${answers.length}`);
  t.equal(new Set(body.data.map(({ id }: { id: string }) => id)).size, answers.length, 'one row each');
  t.ok(
    body.data.every(({ outcome, final }: { outcome: string; final: boolean }) => outcome !== 'ok' && final),
  );
});

t.test('a refusal of the key in the first message is told without its words', async (t) => {
  const { socket, messages, closed } = await open();
  const message = `Incorrect API key provided: ${key.slice(0, 8)}****cdef`;
  socket.send(JSON.stringify({ type: 'error', error: { code: 'invalid_api_key', message } }));
  t.match(await closed, { code: 1011, reason: 'UPSTREAM_AUTH' });
  t.match(
    messages.map((text) => JSON.parse(text)),
    [{ error: { code: 'UPSTREAM_AUTH' } }],
  );
  t.notMatch(messages.join(''), /Incorrect/);
  t.match(await lastRow(), { outcome: 'UPSTREAM_AUTH', endReason: 'complete' });

  const other = await open();
  other.socket.send(JSON.stringify({ type: 'error', error: { code: 'session_expired' } }));
  other.socket.close(1000);
  await other.closed;
  t.match(other.messages, [/session_expired/], 'other errors go through');
});

t.test('a custom origin’s echo of the key is replaced, and nothing waits for ever', async (t) => {
  const { socket, client, messages } = await open(`${gateway.origin.replace('http', 'ws')}/custom/local/ws`);
  const heard = once(client, 'message');
  socket.send('your key is custom-key-0123456789abcdef, is it not');
  await heard;
  t.equal(messages[0], `your key is ${'*'.repeat('custom-key-0123456789abcdef'.length)}, is it not`);
  // Ends as the key begins: the search keeps the tail, and lets it go though nothing follows.
  const tail = once(client, 'message');
  socket.send('cust');
  await tail;
  t.equal(messages[1], 'cust');
  socket.close(1000);
  await once(client, 'close');
  t.ok(gateway.logLines.some((line) => line.includes('key.echoed')));
});

t.test('a revoked token ends its sessions within a second, with an event and 1008', async (t) => {
  const { body } = await gateway.api('POST', '/tokens', { name: 'short', concurrentCalls: 1 });
  const { client, wire, messages, closed } = await open(url, body.token);
  const second = new WebSocket(url, { headers: { authorization: `Bearer ${body.token}` } }).on(
    'error',
    () => {},
  );
  t.equal((await once(second, 'unexpected-response'))[1].statusCode, 429, 'a session holds its place');
  second.terminate();
  const at = performance.now();
  await gateway.api('DELETE', `/tokens/${body.id}`);
  t.match(await closed, { code: 1008, reason: 'AUTH_INVALID' });
  t.ok(performance.now() - at < 1000);
  t.match(JSON.parse(messages[0] as string), { type: 'error', error: { code: 'invalid_api_key' } });
  await gone(wire);
  t.match(await lastRow(), { outcome: 'AUTH_INVALID', endReason: 'revoked' });
  client.terminate();
});

t.test('a client that goes takes the provider’s session with it at once', async (t) => {
  for (const how of ['reset', 'fin'] as const) {
    const { raw, wire } = await openRaw();
    const at = performance.now();
    if (how === 'reset') raw.resetAndDestroy();
    else raw.end();
    await gone(wire);
    t.ok(performance.now() - at < 1000, how);
    t.match(await lastRow(), { outcome: 'CLIENT_CLOSED', endReason: 'client_closed' });
  }
  // Before the provider has answered.
  const asked = new Promise<Socket>((resolve) => upstream.instead((_request, wire) => resolve(wire)));
  const client = new WebSocket(url, { headers: { authorization: `Bearer ${gateway.token}` } }).on(
    'error',
    () => {},
  );
  const wire = await asked;
  client.terminate();
  await gone(wire);
  upstream.instead(null);
  t.match(await lastRow(), { outcome: 'CLIENT_CLOSED', endReason: 'client_closed', status: 499 });
});

t.test('a slow reader slows whoever speaks, either way, and nothing gathers in between', async (t) => {
  const size = 64 * 1024 - 1;
  const total = 1500;
  const bound = 32 * 1024 * 1024;
  const plain = Buffer.concat([Buffer.from([0x82, 126, 0xff, 0xff]), Buffer.alloc(size, 0x61)]);
  const masked = Buffer.concat([Buffer.from([0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0]), Buffer.alloc(size, 0x61)]);
  for (const way of ['down', 'up'] as const) {
    const { raw, wire } = await openRaw();
    // Of the raw bytes nothing is for the WebSocket server.
    wire.removeAllListeners('data');
    const [from, to, frame] = way === 'down' ? [wire, raw, plain] : [raw, wire, masked];
    let read = 0;
    to.on('data', (chunk: Buffer) => {
      read += chunk.length;
    });
    to.pause();
    let most = 0;
    for (let n = 1; n <= total; n += 1) {
      const isTaken = from.write(frame);
      most = Math.max(most, n * frame.length - read);
      if (isTaken) continue;
      // Reads only while the writer is blocked: without back-pressure the writer would hardly ever be.
      to.resume();
      await once(from, 'drain');
      to.pause();
    }
    to.resume();
    while (read < total * frame.length) await once(to, 'data');
    t.ok(most < bound, `${way}: at most ${most} bytes were on the way`);
    t.equal(read, total * frame.length);
    raw.destroy();
    await gone(wire);
  }
});

t.test('200 sessions, begun and broken in every way, leave nothing behind', async (t) => {
  const { body } = await gateway.api('POST', '/tokens', {
    name: 'many',
    concurrentCalls: 20,
    requestsPerMinute: 6000,
  });
  const sessions = gateway.app.dataPlane.gateway;
  await sessions.idle();
  const breaks: readonly ((session: Heard & SeenSession) => void)[] = [
    ({ client }) => client.terminate(),
    ({ client }) => client.close(1000),
    ({ wire }) => void wire.resetAndDestroy(),
    ({ wire }) => void wire.end(),
    ({ socket }) => socket.close(1000),
    ({ wire }) => void wire.write(Buffer.from([0xff, 0xff])),
    ({ wire }) => {
      wire.write(Buffer.from([0x81, 100, 0x61]));
      wire.resetAndDestroy();
    },
    ({ client }) => client.send('{"type":"x"}', () => client.terminate()),
  ];
  for (let round = 0; round < 10; round += 1) {
    await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const session = await open(url, body.token);
        breaks[(round + n) % breaks.length]?.(session);
        await session.closed;
        await gone(session.wire);
      }),
    );
    await sessions.idle();
  }
  t.equal(sessions.callsInFlight(), 0);
  // One that is destroyed has still to say so.
  await Promise.all(
    [...upstream.sockets].filter(({ destroyed }) => destroyed).map((wire) => once(wire, 'close')),
  );
  t.equal(upstream.sockets.size, 0);
  // All 20 places are free again.
  const last = await Promise.all(Array.from({ length: 20 }, () => open(url, body.token)));
  t.equal(sessions.callsInFlight(), 20);
  for (const { client } of last) client.close();
  await Promise.all(last.map(({ closed }) => closed));
  await sessions.idle();
  await gateway.shipped();
  const { begins, ends } = await counts();
  t.equal(begins, ends, 'one end for each begin');
});

async function counts() {
  const uses = await gateway.installation.store.asSystem((tx) =>
    tx
      .selectFrom('journal')
      .select((eb) => ['event', eb.fn.countAll<string>().as('count')])
      .where('event', 'in', ['use.begin', 'use.end'])
      .groupBy('event')
      .execute(),
  );
  const of = (wanted: string): number => Number(uses.find((use) => use.event === wanted)?.count);
  return { begins: of('use.begin'), ends: of('use.end') };
}

t.test('a gateway that stops tells its sessions so', async (t) => {
  const { closed, messages } = await open();
  await gateway.stop();
  t.match(await closed, { code: 1012, reason: 'SHUTTING_DOWN' });
  t.match(JSON.parse(messages[0] as string), { error: { code: 'SHUTTING_DOWN' } });
});
