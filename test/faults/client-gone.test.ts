import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { rawConnection } from '../support/http-client.ts';
import { scriptUpstream, type SeenRequest } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-gone-0123456789abcdef';
const upstream = await scriptUpstream(t, { key });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);

function post(path: string, body: string, more = ''): string {
  return `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\ncontent-type: application/json\r\n${more}content-length: ${body.length}\r\n\r\n${body}`;
}

const streaming = JSON.stringify({ model: 'gpt-4o', stream: true });

/** The request that the provider gets for what is written, once it is there. */
async function seenFor(send: () => Promise<unknown>): Promise<SeenRequest> {
  const before = upstream.requests.length;
  await send();
  await upstream.received(before + 1);
  return upstream.requests[before] as SeenRequest;
}

/** Milliseconds until the provider's side of the call is closed. */
async function msUntilGone(seen: SeenRequest, leave: () => void): Promise<number> {
  const at = performance.now();
  leave();
  await seen.gone;
  return performance.now() - at;
}

for (const [how, leave] of [
  ['closes', (socket: { end(): void }) => socket.end()],
  ['resets', (socket: { resetAndDestroy(): void }) => socket.resetAndDestroy()],
] as const) {
  t.test(`a client that ${how} in mid-stream aborts the provider’s call within a second`, async (t) => {
    upstream.respond([{ events: ['{"choices":[]}'], ending: 'stall' }]);
    const connection = await rawConnection(gateway.origin);
    const seen = await seenFor(async () => connection.socket.write(post('/v1/chat/completions', streaming)));
    await connection.seen(/choices/);
    t.ok((await msUntilGone(seen, () => leave(connection.socket))) < 1000);
  });

  t.test(
    `a client that ${how} before the answer began aborts the provider’s call within a second`,
    async (t) => {
      upstream.respond([{ hold: new Promise(() => {}) }]);
      const connection = await rawConnection(gateway.origin);
      const seen = await seenFor(async () =>
        connection.socket.write(post('/v1/chat/completions', '{"model":"gpt-4o"}')),
      );
      t.ok((await msUntilGone(seen, () => leave(connection.socket))) < 1000);
    },
  );
}

t.test('a client that leaves in the middle of an upload takes the provider’s call with it', async (t) => {
  const gone = Promise.withResolvers<void>();
  const server = await scriptUpstream(t, { script: [{ isEarly: true, ending: 'stall', events: [] }] });
  const other = await startGateway(t, { upstreams: { openai: server.origin } });
  await other.addKey('openai', key);
  const connection = await rawConnection(
    other.origin,
    `POST /openai/v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${other.token}\r\ncontent-type: application/octet-stream\r\ncontent-length: 1000000\r\n\r\n${'a'.repeat(5000)}`,
  );
  await server.received(1);
  void (server.requests[0] as SeenRequest).gone.then(() => gone.resolve());
  const at = performance.now();
  connection.socket.resetAndDestroy();
  await gone.promise;
  t.ok(performance.now() - at < 1000);
  await other.shipped();
  const [row] = await rows(other);
  t.match(row, { outcome: 'CLIENT_CLOSED', end_reason: 'client_closed' });
});

t.test('requests that are pipelined behind a call end with their connection, too', async (t) => {
  upstream.respond([{ hold: new Promise(() => {}) }]);
  const before = upstream.requests.length;
  const connection = await rawConnection(gateway.origin);
  const one = post('/v1/chat/completions', '{"model":"gpt-4o"}');
  connection.socket.write(one.repeat(3));
  await upstream.received(before + 3);
  const gone = upstream.requests.slice(before).map((seen) => seen.gone);
  const at = performance.now();
  connection.socket.resetAndDestroy();
  await Promise.all(gone);
  t.ok(performance.now() - at < 1000);
});

t.test('answers to pipelined requests come in the order of the requests', async (t) => {
  const first = Promise.withResolvers<void>();
  upstream.respond((seen) => {
    const { n } = JSON.parse(seen.body.toString());
    if (n === 2) first.resolve();
    return { ...(n === 1 ? { hold: first.promise } : {}), body: { n } };
  });
  const bodies = [1, 2, 3].map((n) => post('/v1/chat/completions', JSON.stringify({ model: 'gpt-4o', n })));
  const connection = await rawConnection(gateway.origin, bodies.join(''));
  const text = await connection.seen(/\{"n":3\}/);
  t.ok(
    text.indexOf('{"n":1}') < text.indexOf('{"n":2}') && text.indexOf('{"n":2}') < text.indexOf('{"n":3}'),
  );
  connection.socket.destroy();
});

t.test(
  'whoever left has one end on record, as closed by the client, and nothing is left running',
  async (t) => {
    await gateway.shipped();
    t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
    const ended = (await rows(gateway)).filter(({ outcome }) => outcome !== 'ok');
    t.equal(ended.length, 7);
    for (const row of ended) t.match(row, { outcome: 'CLIENT_CLOSED', end_reason: 'client_closed' });
    t.equal(
      [...upstream.sockets].filter((socket) => !socket.destroyed).length <= 3,
      true,
      'connections are not kept for them',
    );
  },
);

function rows({ database }: typeof gateway) {
  return database.store.asSystem((tx) =>
    tx.selectFrom('usage_events').select(['outcome', 'end_reason']).execute(),
  );
}
