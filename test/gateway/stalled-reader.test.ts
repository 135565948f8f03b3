import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import t from 'tap';
import { Relay } from '../../src/gateway/relay.ts';
import type { RelayResult } from '../../src/gateway/relay-result.ts';
import { resolve } from '../../src/gateway/resolve.ts';
import { readPlace } from '../../src/gateway/base-url.ts';
import { callerOf, keyOf, resolver } from './callers-fixture.ts';

/** Sends to a client that reads nothing, until nothing more goes; `isWhole`: the provider's answer ends there. */
async function stall(
  isWhole: boolean,
): Promise<{ result: RelayResult; isAborted: boolean; isDestroyed: boolean }> {
  const target = resolve(resolver, callerOf([keyOf('openai')]), {
    place: readPlace('/openai/v1/files/f/content'),
    method: 'GET',
    model: null,
    providerHint: null,
    isOpaque: false,
    isPassThrough: false,
    hasSeal: true,
    renames: null,
  });
  const ended = Promise.withResolvers<{ result: RelayResult; isAborted: boolean; isDestroyed: boolean }>();
  const server = createServer((request, response) => {
    const flow = { isPaused: false };
    let isAborted = false;
    const relay = new Relay({
      target,
      response,
      method: 'GET',
      requestId: 'call_1',
      dialect: 'openai',
      ownHeaders: () => [],
      holdsUsage: false,
      resultsBase: null,
      textBytes: null,
      stalledMs: 50,
      now: Date.now,
    });
    relay.onStart({
      abort: () => {
        isAborted = true;
      },
      pause: () => {
        flow.isPaused = true;
      },
      resume: () => {
        flow.isPaused = false;
        more();
      },
      forgetBody: () => false,
      keyEchoes: 0,
    });
    relay.onHeaders(200, [['content-type', 'audio/mpeg']]);
    // What ends there has to be more than the two sockets take.
    const chunk = Buffer.alloc(isWhole ? 32 * 1024 * 1024 : 64 * 1024);
    const more = (): void => {
      while (!flow.isPaused) relay.onData(chunk);
    };
    more();
    if (isWhole) relay.onEnd();
    void relay.done.then(async (result) => {
      if (!response.destroyed) await once(response, 'close');
      ended.resolve({ result, isAborted, isDestroyed: response.destroyed });
    });
    request.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.on('error', () => {});
  client.pause();
  client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  const seen = await ended.promise;
  client.destroy();
  server.close();
  return seen;
}

t.test('a client that takes nothing for too long is left, and its provider’s call is aborted', async (t) => {
  const { result, isAborted, isDestroyed } = await stall(false);
  t.match(result, { outcome: 'CLIENT_TOO_SLOW', endReason: 'client_closed' });
  t.ok(isAborted && isDestroyed);
});

t.test(
  'so is one that leaves the end of a whole answer waiting: its socket is not his to keep',
  async (t) => {
    const { result, isDestroyed } = await stall(true);
    t.match(result, { outcome: 'ok', endReason: 'complete' });
    t.ok(isDestroyed);
  },
);
