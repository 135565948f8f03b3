import t from 'tap';
import type { Test } from 'tap';
import type { TestGateway } from '../support/gateway.ts';
import { scriptUpstream, type Upstream } from '../support/upstream.ts';
import { beginnings } from './beginnings.ts';
import type { Sdk } from './sdk.ts';
import { sdks } from './sdks.ts';
import { gatewayTo, providerKeys } from './stand-in.ts';

/** The record of the latest call. */
async function lastCall(gateway: TestGateway): Promise<unknown> {
  await gateway.shipped();
  return (await gateway.api('GET', '/usage/calls?limit=1')).body.data[0];
}

/** One upstream that takes one provider's key at a time: an SDK's own. */
async function start(t: Test, sdk: Sdk): Promise<{ upstream: Upstream; gateway: TestGateway }> {
  const upstream = await scriptUpstream(t, { key: providerKeys[sdk.provider] });
  return { upstream, gateway: await gatewayTo(t, upstream.origin) };
}

for (const sdk of sdks) {
  t.test(`${sdk.name}: what breaks off on one side breaks off on the other`, async (t) => {
    const { upstream, gateway } = await start(t, sdk);
    const session = sdk.connect(gateway);

    t.test('a stream aborted in the middle is aborted upstream within a second', async (t) => {
      upstream.respond([{ events: beginnings[sdk.provider], ending: 'stall' }]);
      const aborter = new AbortController();
      const pieces: string[] = [];
      let abortedAt = 0;
      const reading = (async () => {
        for await (const piece of session.stream('hello', aborter.signal)) {
          pieces.push(piece);
          if (piece === '') continue;
          abortedAt = performance.now();
          aborter.abort();
        }
      })().catch((error: unknown) => error);
      await upstream.received(1);
      await upstream.requests.at(-1)?.gone;
      t.ok(performance.now() - abortedAt < 1000, 'gone within a second');
      await reading;
      t.equal(pieces.join(''), 'Hel');
      t.match(await lastCall(gateway), {
        outcome: 'CLIENT_CLOSED',
        endReason: 'client_closed',
        status: 200,
        stream: true,
        final: true,
      });
    });

    t.test('an answer aborted before its first byte is aborted upstream within a second', async (t) => {
      let unhold = (): void => {};
      const hold = new Promise<void>((resolve) => {
        unhold = resolve;
      });
      upstream.respond([{ hold, body: {} }]);
      const before = upstream.requests.length;
      const aborter = new AbortController();
      const asking = session.ask('hello', aborter.signal).catch((error: unknown) => error as Error);
      await upstream.received(before + 1);
      const abortedAt = performance.now();
      aborter.abort();
      await upstream.requests.at(-1)?.gone;
      t.ok(performance.now() - abortedAt < 1000, 'gone within a second');
      t.match(await asking, Error);
      unhold();
      t.match(await lastCall(gateway), {
        outcome: 'CLIENT_CLOSED',
        endReason: 'client_closed',
        stream: false,
      });
    });

    t.test('a stream whose token is revoked ends within a second, with an error that says so', async (t) => {
      upstream.respond([{ events: beginnings[sdk.provider], ending: 'stall' }]);
      const minted = (await gateway.api('POST', '/tokens', { name: 'short-lived' })).body;
      const revocable = sdk.connect({ origin: gateway.origin, token: minted.token });
      const before = upstream.requests.length;
      let revokedAt = 0;
      let revoking: Promise<unknown> | null = null;
      let thrown: unknown = null;
      try {
        for await (const piece of revocable.stream('hello')) {
          if (piece === '' || revoking !== null) continue;
          revokedAt = performance.now();
          // Not waited for: a web stream throws away what nobody has read when its connection ends.
          revoking = gateway.api('DELETE', `/tokens/${minted.id}`);
        }
      } catch (error) {
        thrown = error;
      }
      t.ok(performance.now() - revokedAt < 1000, 'within a second');
      await revoking;
      t.match(textOf(thrown), /The token was revoked/);
      await upstream.requests.at(-1)?.gone;
      t.equal(upstream.requests.length, before + 1);
      t.match(await lastCall(gateway), { outcome: 'AUTH_INVALID', endReason: 'revoked' });
    });

    for (const ending of ['reset', 'truncate', 'end'] as const) {
      t.test(`a stream that breaks upstream (${ending}) is an error of the SDK, never an end`, async (t) => {
        upstream.respond([{ events: beginnings[sdk.provider], ending }]);
        const before = upstream.requests.length;
        const pieces: string[] = [];
        let thrown: unknown = null;
        try {
          for await (const piece of session.stream('hello')) pieces.push(piece);
        } catch (error) {
          thrown = error;
        }
        t.equal(pieces.join(''), 'Hel', 'what came before is not lost');
        t.match(textOf(thrown), /UPSTREAM_STREAM_BROKEN/, 'its code');
        t.match(textOf(thrown), /the stream before it was whole|answer broke off/, 'what happened');
        t.equal(upstream.requests.length, before + 1, 'no second request after the first byte');
        t.match(await lastCall(gateway), {
          outcome: 'UPSTREAM_STREAM_BROKEN',
          endReason: 'upstream_broken',
        });
      });
    }
  });
}

/** All that an error says of itself: SDKs keep the code and the message in different places. */
function textOf(error: unknown): string {
  if (error === null || typeof error !== 'object') return String(error);
  const { message } = error as Error;
  return `${message ?? ''} ${JSON.stringify(error)}`;
}
