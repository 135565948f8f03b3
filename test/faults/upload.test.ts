import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask, rawConnection } from '../support/http-client.ts';
import { scriptUpstream, type Respond } from '../support/upstream.ts';

/*
 * Uploads stream through the gateway unread. Whatever happens on the way, the client has to get the answer that says why, also one that
 * sends everything before it reads: a socket closed over unread bytes is reset, and the answer lost.
 */
t.setTimeout(60_000);

const key = 'sk-test-upload-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const closed = await scriptUpstream(t);
await closed.close();
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin, xai: closed.origin },
  settings: { MAX_UPLOAD_BYTES: '2MiB', MAX_JSON_BYTES: '1MiB' },
});
await gateway.addKey('openai', key);
await gateway.addKey('xai', key);

const type = 'multipart/form-data; boundary=x';
const big = Buffer.alloc(1_500_000, 'u');

/** Sends head and body whole, and only then reads, until the gateway closes. */
async function sendThenRead(
  path: string,
  body: Buffer,
  contentType = type,
  isChunked = false,
): Promise<string> {
  const framing = isChunked ? 'transfer-encoding: chunked' : `content-length: ${body.length}`;
  const connection = await rawConnection(gateway.origin);
  connection.socket.pause();
  connection.socket.write(
    `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\ncontent-type: ${contentType}\r\nconnection: close\r\n${framing}\r\n\r\n`,
  );
  const bytes = isChunked
    ? Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')])
    : body;
  await new Promise<void>((resolve) => {
    connection.socket.write(bytes, () => resolve());
  });
  connection.socket.resume();
  return connection.closed();
}

for (const isChunked of [false, true]) {
  const how = isChunked ? 'in chunks' : 'with its length';
  t.test(`an upload ${how} to a provider that cannot be reached is answered 502`, async (t) => {
    const at = performance.now();
    t.match(
      await sendThenRead('/xai/v1/files', big, type, isChunked),
      /^HTTP\/1\.1 502 [^]*UPSTREAM_UNREACHABLE[^]*\}\s*(?:0\s*)?$/,
    );
    t.ok(performance.now() - at < 4000, 'as soon as the body is in');
  });

  t.test(
    `an upload ${how} without a stored key is answered 409, and the provider sees nothing`,
    async (t) => {
      const before = upstream.requests.length;
      const at = performance.now();
      t.match(
        await sendThenRead('/groq/openai/v1/audio/transcriptions', big, type, isChunked),
        /^HTTP\/1\.1 409 [^]*KEY_MISSING/,
      );
      t.ok(performance.now() - at < 4000, 'as soon as the body is in');
      t.equal(upstream.requests.length, before);
    },
  );

  t.test(`an upload ${how} that is too large is answered 413`, async (t) => {
    t.match(
      await sendThenRead('/openai/v1/files', Buffer.alloc(3_000_000, 'x'), type, isChunked),
      /^HTTP\/1\.1 413 [^]*BODY_TOO_LARGE/,
    );
    t.match(
      await sendThenRead(
        '/openai/v1/chat/completions',
        Buffer.alloc(1_500_000, ' '),
        'application/json',
        isChunked,
      ),
      /^HTTP\/1\.1 413 [^]*BODY_TOO_LARGE/,
    );
  });

  t.test(`a provider that answers before it has read an upload ${how} is heard`, async (t) => {
    upstream.respond([{ isEarly: true, status: 413, body: { error: { message: 'too much for us' } } }]);
    t.match(
      await sendThenRead('/openai/v1/files', big, type, isChunked),
      /^HTTP\/1\.1 413 [^]*too much for us/,
    );
  });

  t.test(`a provider that resets in the middle of an upload ${how} is answered 502`, async (t) => {
    const reset: Respond = (_seen, answer) => void answer.socket?.resetAndDestroy();
    upstream.respond(reset);
    t.match(
      await sendThenRead('/openai/v1/files', big, type, isChunked),
      /^HTTP\/1\.1 502 [^]*UPSTREAM_ERROR/,
    );
  });
}

t.test('an upload is not repeated, for it has gone through unkept', async (t) => {
  upstream.respond([{ body: { ok: true } }]);
  const send = () =>
    ask(`${gateway.origin}/openai/v1/files`, {
      headers: { 'x-api-key': gateway.token, 'content-type': type },
      body: big,
    });
  t.equal((await send()).status, 200);
  const before = upstream.requests.length;
  const reset: Respond = (_seen, answer) => void answer.socket?.resetAndDestroy();
  upstream.respond(reset);
  const answer = await send();
  t.equal(answer.status, 502);
  t.equal(answer.header('x-sallyport-attempts'), '1');
  t.equal(upstream.requests.length, before + 1);
});

t.test('a connection whose upload was answered early serves the next request', async (t) => {
  upstream.respond([{ isEarly: true, body: { early: 1 } }, { body: { second: 2 } }]);
  const head = `POST /openai/v1/files HTTP/1.1\r\nhost: x\r\nx-api-key: ${gateway.token}\r\ncontent-type: ${type}\r\ncontent-length: ${big.length}\r\n\r\n`;
  const connection = await rawConnection(gateway.origin, head);
  // More than is looked at for a model.
  connection.socket.write(big.subarray(0, 100_000));
  await connection.seen(/"early":1/);
  connection.socket.write(big.subarray(100_000));
  connection.socket.write(`GET /openai/v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: ${gateway.token}\r\n\r\n`);
  t.match(await connection.seen(/"second":2/), /"early":1[^]*"second":2/);
  connection.socket.destroy();
});

t.test('every upload that was begun has its end', async (t) => {
  await gateway.shipped();
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
  const events = await gateway.database.store.asSystem((tx) =>
    tx
      .selectFrom('journal')
      .select(['event', 'call_id'])
      .where('event', 'in', ['use.begin', 'use.end'])
      .execute(),
  );
  const ids = (event: string) => events.filter((row) => row.event === event).map((row) => row.call_id);
  t.equal(ids('use.end').length, ids('use.begin').length);
  t.same(new Set(ids('use.end')), new Set(ids('use.begin')));
});
