import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { rawConnection } from '../support/http-client.ts';
import { rawUpstream } from '../support/raw-upstream.ts';

const key = 'sk-test-pipelined-0123456789abcdef';
const json = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';
const size = 1024 * 1024;

const turn = { isOpen: Promise.withResolvers<void>(), hasty: 0 };
const upstream = await rawUpstream(t, (head) => ({
  async play(socket) {
    const [, what] = /\/files\/(\w+)/.exec(head) ?? [];
    if (what === 'first') {
      await turn.isOpen.promise;
      socket.write(`${json}content-length: 2\r\n\r\n{}`);
    } else if (what === 'hasty') {
      turn.hasty += 1;
      socket.write(`${json}content-length: 4\r\n\r\n"ok"`);
    } else if (what === 'broken')
      socket.write(`${json}content-length: 9\r\nconnection: close\r\n\r\n{`, () => socket.end());
    else if (what === 'big') socket.write(`${json}content-length: ${size}\r\n\r\n${'1'.repeat(size)}`);
    else socket.write(`${json}content-length: 4\r\n\r\n"ok"`);
  },
}));
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);
const hasty: string = (
  await gateway.api('POST', '/tokens', { name: 'hasty', policy: { timeouts: { writeIdleMs: 1000 } } })
).body.token;

t.beforeEach(() => {
  turn.isOpen = Promise.withResolvers<void>();
});

function request(what: string, more = '', method = 'GET', token = gateway.token): string {
  return `${method} /openai/v1/files/${what} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n${more}\r\n`;
}

/** A call has ended with this outcome. */
async function hasEnded(outcome: string): Promise<boolean> {
  await gateway.installation.shipper.flush();
  const calls = await gateway.api('GET', '/usage/calls');
  return calls.body.data.some((call: { outcome: string }) => call.outcome === outcome);
}

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isSo())) await new Promise((done) => void setTimeout(done, 20));
}

t.test('an answer that breaks before its turn ends its connection when the turn comes', async (t) => {
  const client = await rawConnection(gateway.origin, request('first') + request('broken') + request('third'));
  await until(() => hasEnded('UPSTREAM_STREAM_BROKEN'));
  turn.isOpen.resolve();
  const text = await client.closed();
  t.match(text, /^HTTP\/1\.1 200[^]*\r\n\r\n\{\}/, 'the first is whole');
  t.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
});

t.test('`100 Continue` waits for the turn of its answer', async (t) => {
  const expects = 'content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n';
  for (const second of [
    request('second', expects, 'POST'),
    // Of the administration, by fastify.
    request('second', expects, 'POST').replace('/openai/v1/files/second', '/api/nothing'),
  ]) {
    turn.isOpen = Promise.withResolvers<void>();
    const client = await rawConnection(gateway.origin, request('first') + second);
    await until(() => gateway.app.dataPlane.gateway.callsInFlight() > 0);
    turn.isOpen.resolve();
    await client.seen(/\r\n\r\n\{\}HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.socket.write('{}');
    const text = await client.seen(/100 Continue\r\n\r\nHTTP\/1\.1 [24]0\d [^]*\r\n\r\n./);
    t.equal(text.match(/100 Continue/g)?.length, 1);
    client.socket.destroy();
  }
});

t.test('it is not said inside an answer that was there before its turn', async (t) => {
  const { gateway: calls } = gateway.app.dataPlane;
  const expects = 'content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n';
  const client = await rawConnection(
    gateway.origin,
    `${request('first')}${request('hasty', expects, 'POST')}{}`,
  );
  await until(() => turn.hasty === 1 && calls.callsInFlight() === 1);
  turn.isOpen.resolve();
  const text = await client.seen(/"ok"$/);
  t.match(text, /\{\}HTTP\/1\.1 200/);
  t.notMatch(text, /100 Continue/);
  client.socket.destroy();
});

t.test('a client is not too slow for an answer whose turn has not come', async (t) => {
  const client = await rawConnection(
    gateway.origin,
    request('first', '', 'GET', hasty) + request('big', '', 'GET', hasty),
  );
  // Past his limit.
  await new Promise((done) => void setTimeout(done, 1500));
  t.notOk(await hasEnded('CLIENT_TOO_SLOW'));
  turn.isOpen.resolve();
  await until(() => client.text().length > size && client.text().endsWith('1'.repeat(size)));
  t.match(client.text().slice(0, 4096), /\{\}HTTP\/1\.1 200/);
  client.socket.destroy();
});
