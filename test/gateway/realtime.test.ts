import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { pipeline } from 'node:stream';
import { createServer } from 'node:tls';
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { startGateway } from '../support/gateway.ts';
import { rawConnection, rawExchange } from '../support/http-client.ts';
import { storeSeal } from '../support/sealed-key.ts';
import { socketUpstream } from '../support/socket-upstream.ts';
import { testCa } from '../support/upstream.ts';

const key = 'sk-the-stored-key-0123456789abcdef';
const done = {
  type: 'response.done',
  response: {
    usage: {
      input_tokens: 10,
      output_tokens: 5,
      total_tokens: 15,
      input_token_details: {
        text_tokens: 6,
        audio_tokens: 4,
        cached_tokens: 3,
        cached_tokens_details: { text_tokens: 3, audio_tokens: 0 },
      },
      output_token_details: { text_tokens: 2, audio_tokens: 3 },
    },
  },
};

/** https before the gateway: the SDK speaks WebSocket over TLS only. @returns the port. */
async function tlsFront(t: Pick<Test, 'teardown'>, origin: string): Promise<number> {
  const folder = new URL('../support/tls/', import.meta.url);
  const [cert, key] = ['leaf.pem', 'leaf.key'].map((name) => readFileSync(new URL(name, folder)));
  const front = createServer({ cert, key }, (socket) => {
    const onward = connect(Number(new URL(origin).port), '127.0.0.1');
    pipeline(socket, onward, socket, () => {});
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  t.teardown(() => front.close());
  return (front.address() as AddressInfo).port;
}

/** A handshake by node:http, for what no WebSocket client sends. */
async function shake(url: string, headers: Record<string, string | string[]>, method = 'GET') {
  const outgoing = httpRequest(url, {
    method,
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      ...headers,
    },
  });
  outgoing.end(headers['content-length'] === undefined ? undefined : '{}');
  const [kind, answer] = await Promise.race([
    once(outgoing, 'response').then(([message]) => ['response', message]),
    once(outgoing, 'upgrade').then(([message, socket]) => [socket.destroy() && 'upgrade', message]),
  ]);
  answer.resume();
  return {
    kind,
    status: answer.statusCode,
    code: answer.headers['x-sallyport-code'],
    headers: answer.headers,
  };
}

t.test('sessions over a WebSocket', async (t) => {
  const upstream = await socketUpstream(t);
  const other = await socketUpstream(t);
  const gateway = await startGateway(t, {
    upstreams: { openai: upstream.origin, xai: other.origin },
    settings: { CORS_ORIGINS: 'https://app.example', SALLYPORT_ALLOW_ORIGINS: other.origin },
  });
  const keyId = await gateway.addKey('openai', key);
  await gateway.addKey('xai', 'xai-the-other-key-0123456789abcdef');
  await gateway.addKey('custom', 'custom-key-0123456789abcdef', { name: 'local', origins: [other.origin] });
  const wire = gateway.origin.replace('http', 'ws');
  const bearer = { authorization: `Bearer ${gateway.token}` };

  t.test(
    'the official SDK talks to the provider, whose key is in the head and nothing else of the client',
    async (t) => {
      const client = new OpenAI({
        apiKey: gateway.token,
        baseURL: `https://127.0.0.1:${await tlsFront(t, gateway.origin)}/v1`,
      });
      const next = upstream.next();
      const realtime = new OpenAIRealtimeWS(
        {
          model: 'gpt-realtime',
          options: {
            perMessageDeflate: true,
            ca: testCa,
            headers: {
              'openai-organization': 'org-of-the-caller',
              cookie: 'a=b',
              'x-forwarded-for': '10.0.0.1',
            },
          },
        },
        client,
      );
      const created = new Promise((resolve) => realtime.on('session.created', resolve));
      const ended = new Promise((resolve) => realtime.on('response.done', resolve));
      const [head] = await once(realtime.socket, 'upgrade');
      const { request, socket } = await next;
      t.equal(request.url, '/v1/realtime?model=gpt-realtime');
      t.equal(request.headers.authorization, `Bearer ${key}`);
      t.equal(request.headers['openai-organization'], 'org-of-the-caller', 'it is the caller’s own key');
      t.equal(request.headers['sec-websocket-extensions'], undefined);
      t.equal(head.headers['sec-websocket-extensions'], undefined);
      t.notOk(request.rawHeaders.join('\n').includes(gateway.token));
      for (const name of ['cookie', 'x-forwarded-for', 'origin'])
        t.equal(request.headers[name], undefined, name);
      t.match(head.headers, {
        'x-request-id': /^call_/,
        'x-sallyport-provider': 'openai',
        'x-sallyport-key': keyId,
        'x-sallyport-receipt': /^node_/,
      });
      socket.send(JSON.stringify({ type: 'session.created', session: {} }));
      await created;
      const said = once(socket, 'message');
      realtime.send({ type: 'response.create' });
      t.same(JSON.parse(String((await said)[0])), { type: 'response.create' });
      socket.send(JSON.stringify(done));
      socket.send(JSON.stringify(done));
      await ended;
      const closed = once(socket, 'close');
      const answered = once(realtime.socket, 'close');
      realtime.close({ code: 4000, reason: 'enough' });
      t.same((await closed).map(String), ['4000', 'enough']);
      t.same((await answered).map(String), ['4000', 'enough']);

      await gateway.shipped();
      const { body } = await gateway.api('GET', `/usage/calls/${head.headers['x-request-id']}`);
      const [row] = body.attempts ?? [body];
      t.match(row, {
        provider: 'openai',
        operation: 'openai.realtime',
        model: 'gpt-realtime',
        stream: true,
        status: 101,
        outcome: 'ok',
        endReason: 'complete',
        inputTokens: 20,
        cachedInputTokens: 6,
        outputTokens: 10,
        usageSource: 'provider',
        // $ a million: 6 of text at 4, 6 cached at 0.4, 8 of audio at 32; out 4 at 16 and 6 of audio at 64.
        costNanoUsd: '730400',
        final: true,
      });
      t.ok(row.requestBytes > 0 && row.responseBytes > 0);
      t.match(await gateway.metrics(), /sallyport_calls_total\{[^}]*operation="openai.realtime"[^}]*\} 1/);
    },
  );

  t.test('browsers bring the token as a sub-protocol, which is neither forwarded nor answered', async (t) => {
    const next = upstream.next();
    // Node's own follows the browsers' rules.
    const page = new globalThis.WebSocket(`${wire}/v1/realtime?model=openai/gpt-realtime&x=a%20b`, [
      'realtime',
      `openai-insecure-api-key.${gateway.token}`,
      'openai-organization.org-x',
      'openai-project.proj-x',
      'openai-beta.realtime-v1',
    ]);
    const { request, socket } = await next;
    t.equal(request.url, '/v1/realtime?model=gpt-realtime&x=a%20b', 'the prefix is cut out of the query');
    t.equal(
      request.headers['sec-websocket-protocol'],
      'realtime, openai-organization.org-x, openai-project.proj-x, openai-beta.realtime-v1',
    );
    t.notOk(request.rawHeaders.join('\n').includes(gateway.token));
    await new Promise((resolve) => page.addEventListener('open', resolve));
    t.equal(page.protocol, 'realtime');
    const closed = new Promise<{ code: number }>((resolve) => page.addEventListener('close', resolve));
    socket.close(1000, 'done');
    t.equal((await closed).code, 1000);
  });

  t.test('xAI’s sub-protocol is understood, and its silence is no failure in a browser', async (t) => {
    other.choose(null);
    const next = other.next();
    const page = new globalThis.WebSocket(`${wire}/xai/v1/realtime?model=grok-voice-latest`, [
      `xai-client-secret.${gateway.token}`,
      'realtime',
    ]);
    const { request, socket } = await next;
    t.equal(request.url, '/v1/realtime?model=grok-voice-latest');
    t.equal(request.headers.authorization, 'Bearer xai-the-other-key-0123456789abcdef');
    t.equal(request.headers['sec-websocket-protocol'], 'realtime');
    await new Promise((resolve) => page.addEventListener('open', resolve));
    t.equal(page.protocol, 'realtime');
    const closed = new Promise((resolve) => page.addEventListener('close', resolve));
    socket.close(1000);
    await closed;
    other.choose('realtime');
  });

  t.test('a custom origin’s own messages go through as they are, binary ones too', async (t) => {
    const next = other.next();
    const client = new WebSocket(`${wire}/custom/local/speak?voice=a`, { headers: bearer });
    const { request, socket } = await next;
    t.equal(request.url, '/speak?voice=a');
    t.equal(request.headers.authorization, 'Bearer custom-key-0123456789abcdef');
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    await once(client, 'open');
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => i & 255));
    const echoed = once(client, 'message');
    client.send(bytes);
    t.same((await echoed)[0], bytes);
    const pong = once(client, 'pong');
    client.ping('are you there');
    t.equal(String((await pong)[0]), 'are you there');
    const closed = once(client, 'close');
    socket.close(3000, 'mine');
    t.same((await closed).map(String), ['3000', 'mine']);
    await gateway.shipped();
    const { body } = await gateway.api('GET', '/usage/calls?limit=1');
    t.match(body.data[0], { outcome: 'UPSTREAM_ERROR', endReason: 'complete', usageSource: 'unknown' });
  });

  t.test('a handshake that is not one, or not for here, is refused in words', async (t) => {
    const begun = upstream.sessions.length;
    const url = `${gateway.origin}/v1/realtime?model=gpt-realtime`;
    const invalid = { kind: 'response', status: 400, code: 'REQUEST_INVALID' };
    const wrongs: readonly (readonly [string, Record<string, string | string[]>, object, string?])[] = [
      ['no key', { ...bearer, 'sec-websocket-key': '' }, invalid],
      ['a key of another length', { ...bearer, 'sec-websocket-key': 'aGVsbG8=' }, invalid],
      ['version 8', { ...bearer, 'sec-websocket-version': '8' }, invalid],
      ['two protocols to change to', { ...bearer, upgrade: 'h2c, websocket' }, invalid],
      ['a body', { ...bearer, 'content-length': '2' }, invalid],
      ['a POST', bearer, invalid, 'POST'],
      ['no connection: Upgrade', { ...bearer, connection: 'keep-alive' }, invalid],
      ['one sub-protocol twice', { ...bearer, 'sec-websocket-protocol': 'a, a' }, invalid],
      ['an empty sub-protocol', { ...bearer, 'sec-websocket-protocol': 'a,,b' }, invalid],
      [
        'a token in another sub-protocol',
        { ...bearer, 'sec-websocket-protocol': `x.${gateway.token}` },
        invalid,
      ],
      ['a page of nobody', { ...bearer, origin: 'https://evil.example' }, { status: 403, code: 'FORBIDDEN' }],
      ['no token', {}, { status: 401, code: 'AUTH_MISSING' }],
      ['a provider key', { 'sec-websocket-protocol': `openai-insecure-api-key.${key}` }, { status: 401 }],
      [
        'two tokens',
        { ...bearer, 'sec-websocket-protocol': `openai-insecure-api-key.${gateway.adminToken}` },
        invalid,
      ],
    ];
    for (const [name, headers, answer, method] of wrongs) {
      const refused = await shake(url, headers, method);
      t.match(refused, answer, name);
      if (name === 'version 8') t.equal(refused.headers['sec-websocket-version'], '13');
      if (name !== 'no connection: Upgrade' && name !== 'a body')
        t.equal(refused.headers.connection, 'close', name);
    }
    t.equal(upstream.sessions.length, begun, 'none of them reached the provider');
    t.match(await shake(url, { ...bearer, origin: 'https://app.example' }), { kind: 'upgrade', status: 101 });
    t.match(await shake(`${url}&model=b`, bearer), invalid, 'two models');
    t.match(await shake(`${url};model=b`, bearer), invalid, 'two models for a router that splits at ;');
    for (const path of ['/openai/v1/realtime/client_secrets', '/openai/v1/realtime/sessions'])
      t.match(await shake(gateway.origin + path, bearer), { status: 403, code: 'ENDPOINT_FORBIDDEN' }, path);
    t.match(await shake(`${gateway.origin}/v1//realtime`, bearer), invalid);
    t.match(
      await shake(`${gateway.origin}/healthz`, {}),
      { kind: 'response', status: 200 },
      'elsewhere it is HTTP',
    );
  });

  t.test('a token for certain models runs no others, whatever a message says', async (t) => {
    const { body } = await gateway.api('POST', '/tokens', {
      name: 'one',
      models: ['openai/gpt-realtime*', 'whisper-1'],
    });
    const headers = { authorization: `Bearer ${body.token}` };
    const forbidden = { status: 403, code: 'MODEL_FORBIDDEN' };
    t.match(await shake(`${gateway.origin}/v1/realtime?model=gpt-4o`, headers), forbidden);
    t.match(await shake(`${gateway.origin}/v1/realtime?%6Dodel=gpt-4o`, headers), forbidden);
    t.match(await shake(`${gateway.origin}/v1/realtime?intent=transcription`, headers), forbidden);
    const next = upstream.next();
    const client = new WebSocket(`${wire}/v1/realtime?model=openai/gpt-realtime`, { headers });
    const { socket } = await next;
    const heard: string[] = [];
    socket.on('message', (data) => heard.push((data as Buffer).toString()));
    await once(client, 'open');
    const allowed = ['{"session":{"model":"gpt-realtime"}}', '{"session":{"input":{"model":"whisper-1"}}}'];
    for (const message of allowed) client.send(message);
    const event = once(client, 'message');
    const closed = once(client, 'close');
    const gone = once(socket, 'close');
    client.send('{"session":{"model":"gpt-4o-realtime-preview"}}', { fin: false });
    client.send('   ', { fin: true });
    t.match(JSON.parse(String((await event)[0])), {
      type: 'error',
      event_id: /^event_call_/,
      error: { type: 'permission_error', code: 'MODEL_FORBIDDEN', event_id: null },
    });
    t.equal((await closed)[0], 1008);
    await gone;
    t.same(heard, allowed);
  });

  t.test('a sealed key opens with its seal behind a browser’s token', async (t) => {
    const seal = await storeSeal(gateway);
    const more = { name: 'sealed', origins: [other.origin], protection: 'sealed', sealId: seal.id };
    await gateway.addKey('custom', 'sealed-key-0123456789abcdef', more);
    const next = other.next();
    const client = new WebSocket(`${wire}/custom/sealed/ws`, [
      'realtime',
      `openai-insecure-api-key.${gateway.token}.${seal.secret}`,
    ]);
    const { request, socket } = await next;
    t.equal(request.headers.authorization, 'Bearer sealed-key-0123456789abcdef');
    t.notOk(request.rawHeaders.join('\n').includes('sps_'));
    await once(client, 'open');
    const closed = once(client, 'close');
    socket.close(1000);
    await closed;
    const without = await shake(`${gateway.origin}/custom/sealed/ws`, bearer);
    t.match(without, { status: 403, code: 'SEAL_REQUIRED' });
  });

  t.test('the limits of time of a token hold for its sessions', async (t) => {
    for (const [timeouts, outcome, code] of [
      [{ betweenBytesMs: 100 }, 'UPSTREAM_IDLE_TIMEOUT', 1001],
      // The handshake is within it.
      [{ totalMs: 1500 }, 'CALL_TIMEOUT', 1008],
    ] as const) {
      const { body } = await gateway.api('POST', '/tokens', { name: 'timed', policy: { timeouts } });
      const next = upstream.next();
      const client = new WebSocket(`${wire}/openai/v1/realtime?model=gpt-realtime`, {
        headers: { authorization: `Bearer ${body.token}` },
      });
      const closed = once(client, 'close');
      const { socket } = await next;
      const gone = once(socket, 'close');
      t.equal((await closed)[0], code, outcome);
      await gone;
      await gateway.shipped();
      const { body: page } = await gateway.api('GET', '/usage/calls?limit=1');
      t.match(page.data[0], { outcome, endReason: 'timeout', status: 101 });
    }
  });

  t.test('Responses over a WebSocket are metered by what ends them', async (t) => {
    const next = upstream.next();
    const client = new WebSocket(`${wire}/openai/v1/responses`, { headers: bearer });
    const { request, socket } = await next;
    t.equal(request.url, '/v1/responses');
    await once(client, 'open');
    const heard = once(client, 'message');
    const usage = { input_tokens: 7, output_tokens: 4, total_tokens: 11 };
    socket.send(JSON.stringify({ type: 'response.completed', response: { model: 'gpt-5.4', usage } }));
    await heard;
    const closed = once(client, 'close');
    client.close();
    await closed;
    await gateway.shipped();
    const { body } = await gateway.api('GET', '/usage/calls?limit=1');
    t.match(body.data[0], {
      operation: 'openai.responses',
      inputTokens: 7,
      outputTokens: 4,
      usageSource: 'provider',
    });
  });

  t.test(
    'what a client says before it may is passed on, and a request in the way of another’s answer is not',
    async (t) => {
      const head = (path: string): string =>
        `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n` +
        'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
      const masked = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
      const next = upstream.next();
      const early = await rawConnection(
        gateway.origin,
        Buffer.concat([Buffer.from(head('/openai/v1/realtime?model=a')), masked]),
      );
      const { socket } = await next;
      t.equal(String((await once(socket, 'message'))[0]), 'hi');
      await early.seen(/^HTTP\/1.1 101 /);
      early.socket.destroy();

      const begun = upstream.sessions.length;
      const pipelined = await rawExchange(
        gateway.origin,
        `GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\n\r\n${head('/openai/v1/realtime?model=a')}`,
      );
      t.equal(pipelined, '');
      t.equal(upstream.sessions.length, begun);
      const both = await rawExchange(
        gateway.origin,
        head('/v1/realtime').replace('host: x', 'host: x\r\nhost: y'),
      );
      t.match(both, /^HTTP\/1.1 400 /);
      const none = await rawExchange(
        gateway.origin,
        'CONNECT api.openai.com:443 HTTP/1.1\r\nhost: x\r\n\r\n',
      );
      t.match(none, /^HTTP\/1.1 405 /);
      const h2c = head('/healthz').replace('websocket', 'h2c').replace('Upgrade', 'Upgrade, close');
      t.match(await rawExchange(gateway.origin, h2c), /^HTTP\/1.1 200 /, 'another offer is passed over');
    },
  );

  t.test('a colleague’s call is not joined on a shared key', async (t) => {
    const { body: user } = await gateway.api('POST', '/users', { name: 'colleague' });
    await gateway.api('PATCH', `/api-keys/${keyId}`, { sharedWith: 'workspace' });
    const { body } = await gateway.api('POST', '/tokens', { name: 'his', userId: user.id });
    const headers = {
      authorization: `Bearer ${body.token}`,
      'sec-websocket-protocol': 'realtime, openai-project.proj-x',
    };
    const url = `${gateway.origin}/openai/v1/realtime`;
    t.match(await shake(`${url}?c%61ll_id=rtc_1`, headers), { status: 403, code: 'ENDPOINT_FORBIDDEN' });
    const next = upstream.next();
    t.match(await shake(`${url}?model=gpt-realtime`, headers), { status: 101 });
    const { request } = await next;
    t.equal(request.headers['sec-websocket-protocol'], 'realtime', 'nor does he choose whose project pays');
  });
});
