import { randomBytes } from 'node:crypto';
import t from 'tap';
import { createEgress, type Egress } from '../../src/egress/egress.ts';
import { credentialOf, startCall, testKey } from '../support/egress-call.ts';
import { collectGarbage } from '../support/garbage.ts';
import { scriptUpstream } from '../support/upstream.ts';

/** With memory of its own. */
function bodyOf(bytes: number): Buffer {
  const body = Buffer.allocUnsafeSlow(bytes);
  randomBytes(bytes).copy(body);
  return body;
}

for (const tls of [false, true]) {
  t.test(
    `a body that has gone is forgotten while its answer comes, ${tls ? 'by TLS' : 'in clear'}`,
    async (t) => {
      const rest = Promise.withResolvers<void>();
      const upstream = await scriptUpstream(t, { tls, script: [{ events: ['one', rest.promise, 'two'] }] });
      const egress = createEgress({ ca: upstream.ca });
      t.teardown(() => egress.close());
      const body = bodyOf(3_000_000);
      const sent = Buffer.from(body);
      const running = startCall(egress, {
        origin: upstream.origin,
        headers: ['content-length', String(body.length)],
        body,
        credential: credentialOf(),
      });
      await running.bytes(10);
      t.equal(running.control.forgetBody(), true);
      t.equal(body.length, 0);
      // Whoever still sent from there would send this.
      randomBytes(sent.length).fill(0);
      rest.resolve();
      const { error, body: answer } = await running.outcome;
      t.equal(error, null);
      t.equal(answer.toString(), 'data: one\n\ndata: two\n\n');
      t.ok(upstream.requests[0]?.body.equals(sent));
    },
  );
}

t.test('a body of which the provider has not taken all stays', async (t) => {
  const upstream = await scriptUpstream(t, {
    script: [{ isEarly: true, events: ['one'], ending: 'stall' }],
  });
  const egress = createEgress({});
  t.teardown(() => egress.close());
  const body = bodyOf(30_000_000);
  const running = startCall(egress, {
    origin: upstream.origin,
    headers: ['content-length', String(body.length)],
    body,
  });
  await running.bytes(10);
  t.equal(running.control.forgetBody(), false);
  t.equal(body.length, 30_000_000);
  running.control.abort();
  t.match((await running.outcome).error, { code: 'ABORTED' });
});

t.test('a body that is a part of more stays, and so does what it is a part of', async (t) => {
  const upstream = await scriptUpstream(t, { script: [{ body: 'ok' }] });
  const egress = createEgress({});
  t.teardown(() => egress.close());
  const page = Buffer.alloc(1000, 'a');
  const body = page.subarray(0, 999);
  const running = startCall(egress, { origin: upstream.origin, headers: ['content-length', '999'], body });
  await running.bytes(2);
  t.equal(running.control.forgetBody(), false);
  t.equal(page.length, 1000);
  t.equal((await running.outcome).error, null);
});

/** Nothing of what it was asked with is held by anybody but the call. */
function startStream(egress: Egress, origin: string) {
  const [begun, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<string>()];
  const headers = ['content-type', 'application/json'];
  const credential = credentialOf();
  let text = '';
  egress.dispatch(
    {
      origin,
      reach: 'operator',
      method: 'POST',
      path: '/v1/chat/completions',
      headers,
      body: null,
      credential,
      searchFrom: 400,
      timeouts: { connectMs: 5000, headersMs: 5000, bodyMs: 5000 },
    },
    {
      onStart() {},
      onHeaders: () => begun.resolve(),
      onData: (chunk) => void (text += chunk.toString()),
      onEnd: () => ended.resolve(text),
      onError: ended.reject,
    },
  );
  return {
    begun: begun.promise,
    ended: ended.promise,
    asked: [new WeakRef(headers), new WeakRef(credential)],
  };
}

t.test('a stream holds neither the headers that it was asked with nor the way to its key', async (t) => {
  const rest = Promise.withResolvers<void>();
  const upstream = await scriptUpstream(t, {
    key: testKey,
    script: [{ events: ['one', rest.promise, 'two'] }],
  });
  const egress = createEgress({});
  t.teardown(() => egress.close());
  const { begun, ended, asked } = startStream(egress, upstream.origin);
  await begun;
  // A reference that was made in this turn holds until its end.
  await new Promise(setImmediate);
  collectGarbage();
  t.same(
    asked.map((one) => one.deref()),
    [undefined, undefined],
  );
  rest.resolve();
  t.equal(await ended, 'data: one\n\ndata: two\n\n');
});
