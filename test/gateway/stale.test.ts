import t, { type Test } from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream, type Respond, type SeenRequest } from '../support/upstream.ts';

t.setTimeout(60_000);

const key = 'sk-test-stale-0123456789abcdef';

async function start(t: Test) {
  const upstream = await scriptUpstream(t, { key, script: [{ body: { ok: true } }] });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  await gateway.addKey('openai', key);
  const call = () =>
    ask(`${gateway.origin}/v1/chat/completions`, {
      headers: { 'x-api-key': gateway.token },
      body: { model: 'gpt-4o' },
    });
  /** begin and end of each attempt, in order. */
  async function records() {
    await gateway.shipped();
    const rows = await gateway.database.store.asSystem((tx) =>
      tx
        .selectFrom('journal')
        .select('line')
        .where('event', 'in', ['use.begin', 'use.end'])
        .orderBy('seq')
        .execute(),
    );
    return rows.map(({ line }) => JSON.parse(line));
  }
  return { upstream, gateway, call, records };
}

const socketOf = (answer: Parameters<Respond>[1]): { resetAndDestroy(): void } =>
  answer.socket as { resetAndDestroy(): void };

t.test(
  'a connection that died while it was idle is repeated on another, with a record for each attempt',
  async (t) => {
    const { upstream, gateway, call, records } = await start(t);
    t.equal((await call()).status, 200);
    // The provider closes the used connection on the next request, before a byte of its answer.
    const die: Respond = (seen: SeenRequest, answer) => {
      if (seen.connection === 1) socketOf(answer).resetAndDestroy();
      else return { body: { second: true } };
      return undefined;
    };
    upstream.respond(die);
    const answer = await call();
    t.equal(answer.status, 200);
    t.same(answer.json(), { second: true });
    t.equal(answer.header('x-sallyport-attempts'), '2');
    const callId = answer.header('x-request-id');
    const own = (await records()).filter((record) => record.callId === callId);
    t.same(
      own.map(({ event, attempt, final = null, outcome = null }) => ({ event, attempt, final, outcome })),
      [
        { event: 'use.begin', attempt: 1, final: null, outcome: null },
        { event: 'use.begin', attempt: 2, final: null, outcome: null },
        { event: 'use.end', attempt: 1, final: false, outcome: 'UPSTREAM_ERROR' },
        { event: 'use.end', attempt: 2, final: true, outcome: 'ok' },
      ],
    );
    t.match(
      await gateway.metrics(),
      /^sallyport_upstream_retries_total\{[^}]*reason="stale_socket"[^}]*\} 1$/m,
    );
    const usage = await gateway.api('GET', '/usage');
    t.match(usage.body.totals, { calls: 2, attempts: 3 });
    const { body: calls } = await gateway.api('GET', `/usage/calls/${callId}`);
    t.same(
      calls.attempts
        .map((one: { attempt: number; final: boolean }) => [one.attempt, one.final])
        .toSorted((a: number[], b: number[]) => Number(a[0]) - Number(b[0])),
      [
        [1, false],
        [2, true],
      ],
    );
  },
);

t.test('a new connection that dies is not repeated: the request may have been seen', async (t) => {
  const { upstream, call } = await start(t);
  const die: Respond = (_seen, answer) => socketOf(answer).resetAndDestroy();
  upstream.respond(die);
  const answer = await call();
  t.match(
    {
      status: answer.status,
      attempts: answer.header('x-sallyport-attempts'),
      retry: answer.header('x-should-retry'),
    },
    { status: 502, attempts: '1', retry: null },
  );
  t.equal(upstream.requests.length, 1);
});

t.test('an answer that had begun is not repeated', async (t) => {
  const { upstream, call } = await start(t);
  t.equal((await call()).status, 200);
  const die: Respond = (_seen, answer) => {
    answer.socket?.write('HTTP/1.1 2', () => socketOf(answer).resetAndDestroy());
  };
  upstream.respond(die);
  const answer = await call();
  t.equal(answer.status, 502);
  t.equal(answer.header('x-sallyport-attempts'), '1');
  t.equal(upstream.requests.length, 2);
});

t.test('connections that all died are given up after three attempts', async (t) => {
  const { upstream, call, records } = await start(t);
  const gate = Promise.withResolvers<void>();
  upstream.respond([{ hold: gate.promise, body: { ok: true } }]);
  const many = Array.from({ length: 5 }, call);
  await upstream.received(5);
  gate.resolve();
  await Promise.all(many);
  const die: Respond = (_seen, answer) => socketOf(answer).resetAndDestroy();
  upstream.respond(die);
  const answer = await call();
  t.equal(answer.status, 502);
  t.equal(answer.header('x-sallyport-attempts'), '3');
  t.equal(upstream.requests.length, 8);
  const own = (await records()).filter(
    (record) => record.callId === answer.header('x-request-id') && record.event === 'use.end',
  );
  t.same(
    own.map(({ final }) => final),
    [false, false, true],
  );
});

t.test('a client that leaves between two attempts gets no second one', async (t) => {
  const { upstream, gateway, call, records } = await start(t);
  t.equal((await call()).status, 200);
  const controller = new AbortController();
  const gone = Promise.withResolvers<void>();
  const die: Respond = (_seen, answer) => {
    controller.abort();
    answer.socket?.once('close', () => gone.resolve());
  };
  upstream.respond(die);
  await fetch(`${gateway.origin}/v1/chat/completions`, {
    method: 'POST',
    signal: controller.signal,
    headers: { 'x-api-key': gateway.token, 'content-type': 'application/json' },
    body: '{"model":"gpt-4o"}',
  }).catch(() => {});
  await gone.promise;
  t.equal(upstream.requests.length, 2);
  const ends = (await records()).filter(({ event }) => event === 'use.end');
  t.match(ends.at(-1), { final: true, attempt: 1, outcome: 'CLIENT_CLOSED', endReason: 'client_closed' });
});

t.test('what a provider sends that is no HTTP is a 502 and nothing of it is told', async (t) => {
  const { upstream, gateway } = await start(t);
  const answers = [
    'garbage\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!',
    'HTTP/1.1 200 OK\r\nx-ratelimit-a: b\u0001c\r\ncontent-length: 0\r\n\r\n',
    `HTTP/1.1 200 OK\r\nx-big: ${'x'.repeat(20_000)}\r\ncontent-length: 0\r\n\r\n`,
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200\u0000 OK\r\n\r\n',
    'HTTP/1.1 999 \r\ncontent-length: 0\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
    '',
  ];
  const raw: Respond = ({ path }, answer) => {
    const n = Number(new URL(path, 'http://x').searchParams.get('case'));
    answer.socket?.end(answers[n] as string);
  };
  upstream.respond(raw);
  // Side by side, because each is asked again after pauses.
  const told = await Promise.all(
    answers.map(async (bytes, n) => {
      const headers = { 'x-api-key': gateway.token };
      return { bytes, answer: await ask(`${gateway.origin}/openai/v1/models?case=${n}`, { headers }) };
    }),
  );
  for (const { bytes, answer } of told) {
    t.ok(
      answer.status >= 502 || answer.status === 200,
      `${answer.status} for ${JSON.stringify(bytes.slice(0, 60))}`,
    );
    if (answer.status === 502) t.equal(answer.header('x-sallyport-code'), 'UPSTREAM_ERROR');
    t.notMatch(answer.body.toString(), /garbage|hello/);
  }
  await gateway.app.dataPlane.settled();
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
  upstream.respond([{ body: { ok: true } }]);
  const after = await ask(`${gateway.origin}/openai/v1/models`, { headers: { 'x-api-key': gateway.token } });
  t.equal(after.status, 200);
});
