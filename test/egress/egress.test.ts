import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { createEgress, type Egress, type EgressOptions } from '../../src/egress/egress.ts';
import { call, credentialOf, startCall, testKey } from '../support/egress-call.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';

function egressFor(t: Test, options: EgressOptions = {}): Egress {
  const egress = createEgress({ ca: testCa, ...options });
  t.teardown(() => egress.close());
  return egress;
}

for (const tls of [false, true]) {
  const scheme = tls ? 'https' : 'http';

  t.test(
    `${scheme}: a call carries the key, its own headers and body, and the answer comes back whole`,
    async (t) => {
      const upstream = await scriptUpstream(t, { tls, key: testKey });
      const egress = egressFor(t);
      const credential = credentialOf();
      const body = Buffer.from('{"model":"gpt-4o"}');
      const answer = await call(egress, {
        origin: upstream.origin,
        headers: ['content-type', 'application/json', 'user-agent', 'x/1'],
        body,
        credential,
      });
      t.equal(answer.error, null);
      t.equal(answer.status, 200);
      t.same(JSON.parse(answer.body.toString()), { ok: true });
      t.same(
        answer.headers.find(([name]) => name === 'content-type'),
        ['content-type', 'application/json'],
      );
      const [seen] = upstream.requests;
      t.equal(seen?.path, '/v1/chat/completions');
      t.same(seen?.body, body);
      t.equal(seen?.headers.authorization, `Bearer ${testKey}`);
      t.equal(seen?.headers['user-agent'], 'x/1');
      t.equal(seen?.headers.host, new URL(upstream.origin).host);
      t.equal(seen?.headers['x-sallyport-hop'], egress.hop);
      t.same(credential.places, [{ origin: upstream.origin, header: 'authorization' }]);
      t.equal(credential.opened, 1);
      t.ok(
        credential.lent[0]?.every((byte) => byte === 0),
        'the lent memory is wiped',
      );
    },
  );

  t.test(
    `${scheme}: calls without a body, with an empty one and with a large one each carry the key`,
    async (t) => {
      const upstream = await scriptUpstream(t, {
        tls,
        key: testKey,
        script: (request) => ({ body: `${request.body.length}` }),
      });
      const egress = egressFor(t);
      const sizes: [string, Buffer | null, string][] = [
        ['GET', null, '0'],
        ['POST', null, '0'],
        ['POST', Buffer.alloc(0), '0'],
        ['DELETE', null, '0'],
        ['POST', Buffer.alloc(3_000_000, 97), '3000000'],
      ];
      for (const [method, body, length] of sizes) {
        const answer = await call(egress, {
          origin: upstream.origin,
          method,
          body,
          credential: credentialOf(),
        });
        t.equal(answer.error, null);
        t.equal(answer.body.toString(), length);
      }
      t.equal(upstream.connections, 1, 'all on one connection');
    },
  );

  t.test(`${scheme}: a stream as body goes chunked, or by its content-length`, async (t) => {
    const upstream = await scriptUpstream(t, {
      tls,
      key: testKey,
      script: (request) => ({ body: request.body }),
    });
    const egress = egressFor(t);
    const parts = [Buffer.from('one '), Buffer.from('two '), Buffer.alloc(200_000, 120)];
    const whole = Buffer.concat(parts);
    for (const headers of [[], ['content-length', String(whole.length)]]) {
      const answer = await call(egress, {
        origin: upstream.origin,
        headers,
        body: Readable.from(parts, { objectMode: false }),
        credential: credentialOf(),
      });
      t.equal(answer.error, null);
      t.ok(answer.body.equals(whole));
    }
    t.equal(upstream.requests[0]?.headers['transfer-encoding'], 'chunked');
    t.equal(upstream.requests[1]?.headers['content-length'], String(whole.length));
    t.equal(upstream.connections, 1);
  });

  t.test(`${scheme}: events arrive one by one, while the stream is open`, async (t) => {
    const gate = Promise.withResolvers<void>();
    const upstream = await scriptUpstream(t, {
      tls,
      script: [{ events: ['{"a":1}', gate.promise, '[DONE]'] }],
    });
    const running = startCall(egressFor(t), { origin: upstream.origin, credential: credentialOf() });
    await running.bytes(15);
    t.equal(Buffer.concat(running.chunks).toString(), 'data: {"a":1}\n\n');
    gate.resolve();
    t.equal((await running.outcome).body.toString(), 'data: {"a":1}\n\ndata: [DONE]\n\n');
  });

  for (const ending of ['reset', 'truncate'] as const)
    t.test(
      `${scheme}: a stream that ends by ${ending} is an error that reached the provider, never an end`,
      async (t) => {
        const upstream = await scriptUpstream(t, { tls, script: [{ events: ['{"a":1}'], ending }] });
        const egress = egressFor(t);
        const running = startCall(egress, { origin: upstream.origin, credential: credentialOf() });
        const { error } = await running.outcome;
        t.match(error, { code: 'UPSTREAM_ERROR', reachedUpstream: true, stale: false });
      },
    );

  t.test(`${scheme}: a body shorter than its content-length is an error`, async (t) => {
    const upstream = await scriptUpstream(t, {
      tls,
      script: [{ body: '12345', contentLength: 10, ending: 'truncate' }],
    });
    const { error, body } = await call(egressFor(t), { origin: upstream.origin });
    t.match(error, { code: 'UPSTREAM_ERROR', reachedUpstream: true });
    t.equal(body.toString(), '12345');
  });

  t.test(
    `${scheme}: an answer framed by its connection's end is an error when that end is a reset`,
    async (t) => {
      const upstream = await scriptUpstream(t, {
        tls,
        script: (_request, answer) => {
          const { socket } = answer;
          socket?.write('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf of it', () => {
            const below = (socket as unknown as { _parent?: typeof socket })._parent ?? socket;
            // After the client has the bytes: a reset may overtake them.
            setImmediate(() => below.resetAndDestroy());
          });
        },
      });
      const { error } = await call(egressFor(t), { origin: upstream.origin });
      t.match(error, { code: 'UPSTREAM_ERROR', reachedUpstream: true });
    },
  );

  t.test(
    `${scheme}: aborting before the head and in mid-stream cuts the upstream and ends the call once`,
    async (t) => {
      const never = new Promise<never>(() => {});
      const upstream = await scriptUpstream(t, {
        tls,
        script: [{ hold: never }, { events: ['x'], ending: 'stall' }],
      });
      const egress = egressFor(t);
      const early = startCall(egress, { origin: upstream.origin, credential: credentialOf() });
      await upstream.received(1);
      early.control.abort();
      t.match((await early.outcome).error, { code: 'ABORTED', reachedUpstream: true });
      await upstream.requests[0]?.gone;
      const late = startCall(egress, { origin: upstream.origin, credential: credentialOf() });
      await late.bytes(1);
      late.control.abort(new Error('the client left'));
      late.control.abort();
      t.match((await late.outcome).error, { code: 'ABORTED', reachedUpstream: true });
      await upstream.requests[1]?.gone;
    },
  );
}

t.test('aborting while the connection is made opens no key', async (t) => {
  const upstream = await scriptUpstream(t, { tls: true });
  const credential = credentialOf();
  const running = startCall(egressFor(t), { origin: upstream.origin, credential });
  running.control.abort();
  t.match((await running.outcome).error, { code: 'ABORTED', reachedUpstream: false });
  t.same(credential.places, []);
  t.equal(upstream.requests.length, 0);
});

t.test('a call aborted inside onStart never leaves', async (t) => {
  const upstream = await scriptUpstream(t);
  const egress = egressFor(t);
  const error = await new Promise((resolve) => {
    egress.dispatch(
      {
        origin: upstream.origin,
        reach: 'operator',
        method: 'GET',
        path: '/',
        headers: [],
        body: null,
        credential: null,
        searchFrom: null,
        timeouts: { connectMs: 0, headersMs: 0, bodyMs: 0 },
      },
      { onStart: (control) => control.abort(), onHeaders() {}, onData() {}, onEnd() {}, onError: resolve },
    );
  });
  t.match(error, { code: 'ABORTED', reachedUpstream: false });
  t.equal(upstream.connections, 0);
});

t.test('pausing holds the provider back, resuming goes on, and every byte arrives', async (t) => {
  const block = Buffer.alloc(1 << 20, 98);
  const blocks = 32;
  let isDrained = false;
  const upstream = await scriptUpstream(t, async (_request, answer) => {
    answer.writeHead(200);
    for (let i = 0; i < blocks; i += 1)
      if (!answer.write(block)) await new Promise((resolve) => answer.once('drain', resolve));
    isDrained = true;
    answer.end();
  });
  const running = startCall(egressFor(t), { origin: upstream.origin });
  running.control.pause();
  await running.started;
  // Whatever the kernel's buffers take has been taken when nothing moves for a hundred turns of the loop.
  for (let i = 0; i < 100; i += 1) await new Promise(setImmediate);
  t.notOk(isDrained, 'the provider still waits to write');
  t.ok(Buffer.concat(running.chunks).length < 2 * block.length);
  running.control.resume();
  t.equal((await running.outcome).body.length, blocks * block.length);
});

t.test(
  'a provider that cannot be reached, refuses the handshake or is unknown: unreachable, and no key is opened',
  async (t) => {
    const gone = await scriptUpstream(t);
    await gone.close();
    const plain = await scriptUpstream(t);
    const foreign = await scriptUpstream(t, { tls: true });
    const egress = egressFor(t);
    const untrusting = createEgress();
    t.teardown(() => untrusting.close());
    const cases: [Egress, string][] = [
      [egress, gone.origin],
      [egress, plain.origin.replace('http:', 'https:')],
      [egress, 'http://nowhere.invalid'],
      [untrusting, foreign.origin],
    ];
    for (const [via, origin] of cases) {
      const credential = credentialOf();
      const { error } = await call(via, { origin, credential });
      t.match(error, { code: 'UPSTREAM_UNREACHABLE', reachedUpstream: false, stale: false }, origin);
      t.same(credential.places, []);
    }
  },
);

t.test('a certificate for another name is refused, and no key is opened', async (t) => {
  const upstream = await scriptUpstream(t, { tls: true });
  const lookup = (_name: string, options: { all?: boolean }, done: (...args: unknown[]) => void): void =>
    options.all === true ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
  const egress = egressFor(t, { lookup: lookup as never });
  const credential = credentialOf();
  const wrong = await call(egress, { origin: `https://api.elsewhere.dev:${upstream.port}`, credential });
  t.match(wrong.error, { code: 'UPSTREAM_UNREACHABLE', reachedUpstream: false });
  t.same(credential.places, []);
  const right = await call(egress, { origin: `https://api.sallyport.test:${upstream.port}`, credential });
  t.equal(right.error, null);
});

t.test('no connection in time, no head in time, no next byte in time', async (t) => {
  const silent = await scriptUpstream(t, [
    { hold: new Promise(() => {}) },
    { events: ['x'], ending: 'stall' },
  ]);
  const egress = egressFor(t, { lookup: () => {} });
  const slow = await call(egress, {
    origin: 'http://slow.example.com',
    timeouts: { connectMs: 20, headersMs: 0, bodyMs: 0 },
  });
  t.match(slow.error, { code: 'UPSTREAM_CONNECT_TIMEOUT', reachedUpstream: false });
  const timeouts = { connectMs: 1000, headersMs: 50, bodyMs: 50 };
  const head = await call(egress, { origin: silent.origin, timeouts });
  t.match(head.error, { code: 'UPSTREAM_FIRST_BYTE_TIMEOUT', reachedUpstream: true, stale: false });
  const body = await call(egress, { origin: silent.origin, timeouts });
  t.match(body.error, { code: 'UPSTREAM_IDLE_TIMEOUT', reachedUpstream: true, stale: false });
  t.equal(body.status, 200);
});

t.test('a connection that is given up while it is being made is closed at once', async (t) => {
  const sockets: Socket[] = [];
  const heard = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  /** Takes the client's hello and says nothing. */
  const mute = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {}).once('data', () => heard[sockets.length - 1]?.resolve());
  }).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.teardown(() => mute.close());
  const egress = egressFor(t);
  const origin = `https://127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const late = await call(egress, { origin, timeouts: { connectMs: 50, headersMs: 0, bodyMs: 0 } });
  t.match(late.error, { code: 'UPSTREAM_CONNECT_TIMEOUT' });
  const left = startCall(egress, { origin });
  await heard[1]?.promise;
  left.control.abort();
  t.match((await left.outcome).error, { code: 'ABORTED' });
  for (const socket of sockets) if (!socket.destroyed) await once(socket, 'close');
  t.equal(sockets.length, 2);
});

t.test('a redirect is an answer like any other: nobody follows it', async (t) => {
  const other = await scriptUpstream(t);
  const upstream = await scriptUpstream(t, [{ status: 307, headers: { location: `${other.origin}/steal` } }]);
  const answer = await call(egressFor(t), { origin: upstream.origin, credential: credentialOf() });
  t.equal(answer.status, 307);
  t.equal(other.connections, 0);
});

t.test('informational answers are passed over', async (t) => {
  const upstream = await scriptUpstream(t, (_request, answer) => {
    answer.writeEarlyHints({ link: '</x>; rel=preload' });
    return { body: 'done' };
  });
  const answer = await call(egressFor(t), { origin: upstream.origin });
  t.equal(answer.status, 200);
  t.equal(answer.body.toString(), 'done');
});

t.test('a head of more than 16 KiB is refused', async (t) => {
  const upstream = await scriptUpstream(t, [{ headers: { 'x-long': 'a'.repeat(20_000) } }]);
  t.match((await call(egressFor(t), { origin: upstream.origin })).error, { code: 'UPSTREAM_ERROR' });
});

t.test(
  'an answer before a large body is read is relayed, and its connection is not used again',
  async (t) => {
    for (const tls of [false, true]) {
      const upstream = await scriptUpstream(t, {
        tls,
        script: [{ status: 413, isEarly: true, body: { error: 'too large' } }, { body: 'fine' }],
      });
      const egress = egressFor(t);
      const first = await call(egress, {
        origin: upstream.origin,
        body: Buffer.alloc(40_000_000, 99),
        credential: credentialOf(),
      });
      // An upstream that stops reading may also reset: then it is an error of the provider, but never somebody else's answer.
      if (first.error === null) t.equal(first.status, 413);
      else t.match(first.error, { code: 'UPSTREAM_ERROR' });
      const credential = credentialOf();
      const second = await call(egress, { origin: upstream.origin, body: Buffer.from('small'), credential });
      t.equal(second.error, null);
      t.equal(second.body.toString(), 'fine');
      t.equal(upstream.connections, 2);
    }
  },
);

t.test('an early answer to a stream destroys what is left of the stream', async (t) => {
  const upstream = await scriptUpstream(t, [{ status: 413, isEarly: true }, {}]);
  const egress = egressFor(t);
  const body = new Readable({ read() {} });
  body.push(Buffer.alloc(1000));
  const first = await call(egress, { origin: upstream.origin, body, credential: credentialOf() });
  t.equal(first.status, 413);
  t.ok(body.destroyed);
  t.equal((await call(egress, { origin: upstream.origin, credential: credentialOf() })).error, null);
  t.equal(upstream.connections, 2);
});

t.test('a body that breaks off aborts the call, and is never taken for a stale connection', async (t) => {
  const upstream = await scriptUpstream(t, { script: [{}] });
  const egress = egressFor(t);
  await call(egress, { origin: upstream.origin });
  const body = new Readable({ read() {} });
  body.push(Buffer.alloc(1000));
  const running = startCall(egress, { origin: upstream.origin, body });
  await new Promise(setImmediate);
  body.destroy(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }));
  t.match((await running.outcome).error, { code: 'ABORTED', stale: false });
});

t.test('a stream as body is read no faster than the provider reads, and is destroyed by abort', async (t) => {
  const upstream = await scriptUpstream(t, [{ isEarly: true, hold: new Promise(() => {}) }]);
  let given = 0;
  const body = new Readable({
    read() {
      given += 65_536;
      this.push(Buffer.alloc(65_536));
    },
  });
  const running = startCall(egressFor(t), { origin: upstream.origin, body });
  await upstream.received(1);
  for (let i = 0; i < 200; i += 1) await new Promise(setImmediate);
  t.ok(given < 64 << 20, `${given} bytes were asked for`);
  running.control.abort();
  t.match((await running.outcome).error, { code: 'ABORTED' });
  await new Promise((resolve) => (body.closed ? resolve(null) : body.once('close', resolve)));
});

t.test('closing the way out ends what is on it, and refuses what comes', async (t) => {
  const upstream = await scriptUpstream(t, [{ hold: new Promise(() => {}) }]);
  const egress = createEgress();
  const running = startCall(egress, { origin: upstream.origin });
  await upstream.received(1);
  await egress.close();
  t.match((await running.outcome).error, { code: 'ABORTED' });
  t.match((await call(egress, { origin: upstream.origin })).error, {
    code: 'UPSTREAM_UNREACHABLE',
    reachedUpstream: false,
  });
});
