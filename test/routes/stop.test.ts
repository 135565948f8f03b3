import { once } from 'node:events';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { ask, rawConnection, rawExchange, type RawConnection } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-stop-0123456789abcdef';
const graceMs = 60_000;
let goOn = Promise.withResolvers<void>();

async function start(t: Test): Promise<TestGateway> {
  goOn = Promise.withResolvers<void>();
  const upstream = await scriptUpstream(t, {
    key,
    script: ({ body }) =>
      body.toString().includes('"stream":true')
        ? { events: ['{"choices":[]}', goOn.promise, '[DONE]'] }
        : { body: { choices: [], text: 'x'.repeat(body.toString().includes('long') ? 24 * 1024 ** 2 : 10) } },
  });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  return gateway;
}

function callOf({ token }: TestGateway, more: object = {}): string {
  const body = JSON.stringify({ model: 'gpt-4o', ...more });
  return `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

/** A connection on which a first call has been answered. */
async function keptAlive(t: Test, gateway: TestGateway): Promise<RawConnection> {
  const kept = await rawConnection(gateway.origin, callOf(gateway));
  t.teardown(() => kept.socket.destroy());
  t.match(await kept.seen(/xxxxx"\}/), /connection: keep-alive/i);
  return kept;
}

t.test('while a stop waits for the load balancer all is served, and told to leave', async (t) => {
  const gateway = await start(t);
  const kept = await keptAlive(t, gateway);
  gateway.app.retire();
  const ready = await ask(`${gateway.origin}/readyz`);
  t.equal(ready.status, 503);
  t.same(ready.json(), { status: 'not_ready', reason: 'stopping' });
  t.equal((await ask(`${gateway.origin}/healthz`)).status, 200, 'it is alive, and nobody should kill it');
  t.match(await rawExchange(gateway.origin, callOf(gateway)), /^HTTP\/1\.1 200 [^]*connection: close/i);
  const from = kept.text().length;
  kept.socket.write(callOf(gateway));
  t.match((await kept.closed()).slice(from), /^HTTP\/1\.1 200 [^]*connection: close[^]*xxxxx"\}$/i);
});

t.test('a call that comes on a connection that is there finds the door open after the stop', async (t) => {
  const gateway = await start(t);
  const [busy, idle] = [await keptAlive(t, gateway), await keptAlive(t, gateway)];
  const stream = await rawConnection(gateway.origin, callOf(gateway, { stream: true }));
  await stream.seen(/choices/);
  const silent = await rawConnection(gateway.origin);
  const resets: unknown[] = [];
  for (const { socket } of [busy, idle, stream, silent]) socket.on('error', (error) => resets.push(error));

  const closed = gateway.app.close(graceMs);
  await until(async () => !(await connects(gateway)));
  // In two halves, between which every connection at rest is looked at.
  const from = busy.text().length;
  const call = callOf(gateway);
  busy.socket.write(call.slice(0, 60));
  await new Promise((resolve) => setTimeout(resolve, 200));
  busy.socket.write(call.slice(60));
  t.match((await busy.closed()).slice(from), /^HTTP\/1\.1 200 [^]*connection: close[^]*xxxxx"\}$/i);
  await Promise.all([idle.closed(), silent.closed()]);
  t.equal(stream.socket.readyState, 'open', 'what is under way is waited for');
  goOn.resolve();
  t.match(await stream.closed(), /\[DONE\][^]*\r\n0\r\n\r\n$/, 'and ends whole');
  await closed;
  t.same(resets, []);
});

t.test('an answer that its client has not taken yet is not lost', async (t) => {
  const gateway = await start(t);
  const slow = connect(Number(new URL(gateway.origin).port), '127.0.0.1');
  const pieces: Buffer[] = [];
  await once(slow, 'connect');
  slow.pause().write(callOf(gateway, { user: 'long' }));
  const { gateway: calls } = gateway.app.dataPlane;
  await until(async () => calls.callsInFlight() > 0);
  const closed = gateway.app.close(graceMs);
  await until(async () => !(await connects(gateway)));
  slow.on('data', (piece: Buffer) => pieces.push(piece)).resume();
  await once(slow, 'close');
  const text = Buffer.concat(pieces).toString('latin1');
  t.equal(text.length - text.indexOf('\r\n\r\n') - 4, Number(/content-length: (\d+)/i.exec(text)?.[1]));
  await closed;
});

t.test('requests sent one behind the other are all answered', async (t) => {
  const gateway = await start(t);
  const line = await rawConnection(gateway.origin, callOf(gateway, { stream: true }) + callOf(gateway));
  await line.seen(/choices/);
  gateway.app.retire();
  const closed = gateway.app.close(graceMs);
  goOn.resolve();
  t.match(await line.closed(), /\[DONE\][^]*HTTP\/1\.1 200 [^]*xxxxx"\}$/);
  await closed;
});

t.test('when patience ends, streams end in an error event, and what still comes is refused', async (t) => {
  const gateway = await start(t);
  const kept = await keptAlive(t, gateway);
  const stream = await rawConnection(gateway.origin, callOf(gateway, { stream: true }));
  await stream.seen(/choices/);
  const closed = gateway.app.close(graceMs);
  const from = kept.text().length;
  kept.socket.write(callOf(gateway).slice(0, 60));
  gateway.app.cut();
  kept.socket.write(callOf(gateway).slice(60));
  const text = await stream.closed();
  t.match(text, /data: \{"error":[^\n]*SHUTTING_DOWN/);
  t.notMatch(text, /\[DONE\]|\r\n0\r\n\r\n$/);
  await closed;
  t.match((await kept.closed()).slice(from), /^$|^HTTP\/1\.1 503 [^]*SHUTTING_DOWN/);
});

async function connects({ origin }: TestGateway): Promise<boolean> {
  const probe = connect(Number(new URL(origin).port), '127.0.0.1');
  const isIn = await once(probe, 'connect').then(
    () => true,
    () => false,
  );
  probe.destroy();
  return isIn;
}

async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise(setImmediate);
}
