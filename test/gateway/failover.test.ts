import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream, type Answer, type Respond, type SeenRequest } from '../support/upstream.ts';

t.setTimeout(120_000);

/** How the provider answers, by the name of the key; a list is one answer after the other, the last repeats. */
const plans = new Map<string, readonly Answer[] | Respond>();
const asked = new Map<string, SeenRequest[]>();
const nameIn = (seen: SeenRequest): string =>
  /sk-test-([\w-]+)-0123456789abcdef/.exec(String(seen.headers.authorization))?.[1] ?? 'none';

const upstream = await scriptUpstream(t, {
  script: (seen, answer) => {
    const name = nameIn(seen);
    const mine = asked.getOrInsertComputed(name, () => []);
    mine.push(seen);
    const plan = plans.get(name) ?? [{ body: { by: name } }];
    return typeof plan === 'function' ? plan(seen, answer) : (plan[mine.length - 1] ?? plan.at(-1));
  },
});
/** Refuses connections: nobody listens there any more. */
const closed = createServer().listen(0, '127.0.0.1');
await once(closed, 'listening');
const nowhere = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`;
closed.close();
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin, groq: upstream.origin },
  settings: { SALLYPORT_ALLOW_ORIGINS: `${upstream.origin},${nowhere}` },
});

const store = (name: string, provider = 'openai', more: object = {}): Promise<string> =>
  gateway.addKey(provider, `sk-test-${name}-0123456789abcdef`, { name, ...more });

async function mint(keyIds: readonly string[], policy: object = {}, more: object = {}): Promise<string> {
  const made = await gateway.api('POST', '/tokens', {
    name: 'x',
    keyIds,
    policy,
    requestsPerMinute: 1_000_000,
    ...more,
  });
  if (made.status !== 201) throw new Error(JSON.stringify(made.body));
  return made.body.token;
}

const call = (
  token: string,
  more: Parameters<typeof ask>[1] = {},
  path = '/v1/chat/completions',
): Promise<Answered> =>
  ask(gateway.origin + path, {
    body: { model: 'gpt-4o', n: 1 },
    ...more,
    headers: { 'x-api-key': token, ...more.headers },
  });

const times = (...names: string[]): number[] => names.map((name) => asked.get(name)?.length ?? 0);
const told = (answer: Answered): unknown[] => [
  answer.status,
  answer.header('x-sallyport-code'),
  answer.header('x-sallyport-attempts'),
];

/** Records of one call, begins first, each by its attempt. */
async function recordsOf(answer: Answered) {
  await gateway.shipped();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx
      .selectFrom('journal')
      .select('line')
      .where('call_id', '=', answer.header('x-request-id'))
      .orderBy('seq')
      .execute(),
  );
  const records = rows.map(({ line }) => JSON.parse(line));
  const of = (event: string) =>
    records.filter((record) => record.event === event).toSorted((a, b) => a.attempt - b.attempt);
  return { begins: of('use.begin'), ends: of('use.end') };
}

t.test(
  'a key that is limited, or a provider that is overloaded, is passed over for the next key',
  async (t) => {
    for (const [name, status, outcome, provider] of [
      ['limited', 429, 'UPSTREAM_RATE_LIMITED', 'openai'],
      ['busy', 503, 'UPSTREAM_OVERLOADED', 'openai'],
      ['heavy', 529, 'UPSTREAM_OVERLOADED', 'openai'],
      ['flex', 498, 'UPSTREAM_OVERLOADED', 'groq'],
    ] as const) {
      plans.set(name, [{ status, body: { error: { message: name } } }]);
      const first = await store(name, provider, { weight: 1000 });
      const second = await store(`${name}-2`, provider, { weight: 0 });
      const token = await mint([first, second]);
      const model = provider === 'groq' ? 'groq/llama' : 'gpt-4o';
      const answer = await call(token, { body: { model, messages: [] } });
      t.same(told(answer), [200, null, '2'], name);
      t.same(answer.json(), { by: `${name}-2` });
      t.equal(answer.header('x-sallyport-key'), second, 'the one that answered');
      t.same(times(name, `${name}-2`), [1, 1]);
      const [one, two] = [asked.get(name)?.[0], asked.get(`${name}-2`)?.[0]];
      t.same(one?.body, two?.body, 'the same bytes');

      const { begins, ends } = await recordsOf(answer);
      t.match(begins, [
        { attempt: 1, keyId: first },
        { attempt: 2, keyId: second },
      ]);
      t.not(begins[0].keyFingerprint, begins[1].keyFingerprint, 'each with its own');
      t.match(ends, [
        { attempt: 1, keyId: first, final: false, outcome, status: null },
        { attempt: 2, keyId: second, final: true, outcome: 'ok', status: 200 },
      ]);
    }
    const metrics = await gateway.metrics();
    t.match(metrics, /^sallyport_upstream_retries_total\{provider="openai",reason="rate_limited"\} 1$/m);
    t.match(metrics, /^sallyport_upstream_retries_total\{provider="openai",reason="overloaded"\} 2$/m);
    t.match(metrics, /^sallyport_calls_in_flight\{provider="openai"\} 0$/m);
  },
);

t.test('an origin that cannot be reached is passed over, and left alone for a while', async (t) => {
  const away = await store('away', 'custom', { origins: [nowhere], basePath: '/v9' });
  const here = await store('here');
  const token = await mint([away, here], { fallbackModels: ['gpt-4o-mini'] });
  const answer = await call(token, { body: { model: 'away/m' } });
  t.same(told(answer), [200, null, '2']);
  t.match(asked.get('here'), [{ path: '/v1/chat/completions' }]);
  t.same(JSON.parse(String(asked.get('here')?.[0]?.body)), { model: 'gpt-4o-mini' });
  const { ends } = await recordsOf(answer);
  t.match(ends, [{ outcome: 'UPSTREAM_UNREACHABLE' }, { outcome: 'ok' }]);
  const again = await call(token, { body: { model: 'm' } }, '/custom/away/v9/chat/completions');
  t.same(told(again), [200, null, '1'], 'by whatever way');
  t.equal(asked.get('here')?.[1]?.path, '/v1/chat/completions');
  t.match(await gateway.metrics(), /^sallyport_targets_cooling [1-9]/m);
});

t.test(
  'when every key has failed the models of the policy follow, renamed and with their own provider',
  async (t) => {
    plans.set('down', [{ status: 503, body: {} }]);
    const down = await store('down');
    const spare = await store('spare', 'groq');
    const token = await mint([down, spare], { fallbackModels: ['claude-x', 'groq/llama-3'] });
    const answer = await call(token, {
      body: '{"n":1, "model" : "gpt-4o","x":[1]}',
      headers: { 'content-type': 'application/json' },
    });
    t.same(told(answer), [200, null, '2']);
    t.equal(answer.header('x-sallyport-provider'), 'groq');
    t.match(asked.get('spare'), [{ path: '/openai/v1/chat/completions' }]);
    t.equal(asked.get('spare')?.[0]?.body.toString(), '{"n":1, "model" : "llama-3","x":[1]}');
    const { ends } = await recordsOf(answer);
    t.match(ends, [
      { provider: 'openai', model: 'gpt-4o', final: false },
      { provider: 'groq', model: 'groq/llama-3', final: true },
    ]);
    const metrics = await gateway.metrics();
    t.match(metrics, /^sallyport_upstream_retries_total\{provider="openai",reason="fallback"\} 1$/m);
    for (const name of ['openai', 'groq'])
      t.match(metrics, new RegExp(`^sallyport_calls_in_flight\\{provider="${name}"\\} 0$`, 'm'));
    const { body: usage } = await gateway.api('GET', `/usage/calls/${answer.header('x-request-id')}`);
    t.equal(usage.attempts.length, 2);
  },
);

t.test('what may have run, or what the client got wrong, is never sent twice', async (t) => {
  const first = await store('first', 'openai', { weight: 1000 });
  const second = await store('second', 'openai', { weight: 0 });
  const token = await mint([first, second], { timeouts: { firstByteMs: 50 } });
  const reset: Respond = (_seen, answer) => void answer.socket?.resetAndDestroy();
  const stalled: Respond = () => ({ hold: new Promise(() => {}) });
  for (const [plan, code] of [
    [[{ status: 400, body: {} }], 'UPSTREAM_REJECTED'],
    [[{ status: 404, body: {} }], 'UPSTREAM_REJECTED'],
    [[{ status: 500, body: {} }], 'UPSTREAM_ERROR'],
    [[{ status: 502, body: {} }], 'UPSTREAM_ERROR'],
    [[{ status: 504, body: {} }], 'UPSTREAM_TIMEOUT'],
    [[{ status: 503, body: 'x'.repeat(70_000) }], 'UPSTREAM_OVERLOADED'],
    [stalled, 'UPSTREAM_FIRST_BYTE_TIMEOUT'],
    [reset, 'UPSTREAM_ERROR'],
  ] as const) {
    asked.clear();
    plans.set(
      'first',
      typeof plan === 'function' ? plan : [{ ...plan[0], headers: { connection: 'close' } }],
    );
    const answer = await call(token);
    t.same(told(answer).slice(1), [code, '1'], code);
    t.same(times('first', 'second'), [1, 0]);
  }
  asked.clear();
  plans.set('first', [{ events: ['{"choices":[1]}'], ending: 'reset' }]);
  const stream = await call(token, { body: { model: 'gpt-4o', stream: true } });
  t.match(stream.body.toString(), /"choices":\[1\][\s\S]*UPSTREAM_STREAM_BROKEN/);
  t.notOk(stream.isWhole);
  t.same(times('first', 'second'), [1, 0], 'nor after the first byte');
  asked.clear();
  plans.set('first', [{ status: 503, body: {} }]);
  const upload = await call(
    token,
    { method: 'POST', body: Buffer.alloc(200_000), headers: { 'content-type': 'application/octet-stream' } },
    '/openai/v1/files',
  );
  t.same(told(upload), [503, 'UPSTREAM_OVERLOADED', '1'], 'nor a body that streamed through');
  t.same(times('first', 'second'), [1, 0]);
});

t.test('what changes nothing is asked again after a reset and a bad gateway, too', async (t) => {
  const first = await store('list', 'openai', { weight: 1000 });
  const second = await store('list-2', 'openai', { weight: 0 });
  const token = await mint([first, second]);
  const get = (): Promise<Answered> =>
    ask(`${gateway.origin}/openai/v1/models`, { headers: { 'x-api-key': token } });
  for (const plan of [
    [{ status: 502, body: {} }],
    [{ status: 504, body: {} }],
    ((_seen, answer) => void answer.socket?.resetAndDestroy()) as Respond,
  ]) {
    plans.set('list', plan);
    const answer = await get();
    // A kept connection that is reset is stale before it is a failure.
    t.match(told(answer), [200, null, /^[23]$/]);
    t.same(answer.json(), { by: 'list-2' });
  }
  plans.set('list', [{ status: 500, body: {} }]);
  t.same(told(await get()), [500, 'UPSTREAM_ERROR', '1']);
});

t.test(
  'with no other target the same is asked again, when and as often as the provider lets us',
  async (t) => {
    const only = await store('only');
    const token = await mint([only]);
    const limited = (headers: Record<string, string>): Answer => ({
      status: 429,
      headers,
      body: { error: { message: 'slow' } },
    });
    const plan = async (...answers: Answer[]): Promise<Answered> => {
      asked.clear();
      plans.set('only', answers);
      return call(token);
    };
    let answer = await plan(limited({ 'retry-after-ms': '30' }), limited({}), { body: { ok: true } });
    t.same(told(answer), [200, null, '3']);
    t.same(times('only'), [3]);
    answer = await plan(limited({ 'retry-after-ms': '20' }));
    t.equal(answer.json().error.message, 'slow', 'the last one is told, in the provider’s words');
    t.same(times('only'), [answer.header('x-sallyport-attempts')].map(Number));
    t.equal(answer.status, 429);
    await gateway.api('PATCH', `/api-keys/${only}`, { value: 'sk-test-only-0123456789abcdef', force: true });
    answer = await plan(limited({ 'retry-after': '30' }));
    t.same(told(answer), [429, 'UPSTREAM_RATE_LIMITED', '1'], 'too long to be kept waiting');
    t.equal(answer.header('retry-after'), '30');
    answer = await plan({ status: 429, headers: { 'x-should-retry': 'false' }, body: {} });
    t.same(told(answer), [429, 'UPSTREAM_RATE_LIMITED', '1'], 'the provider knows that it is no use');
  },
);

t.test(
  'a call that waits for its next attempt ends when its client, its token or its time does',
  async (t) => {
    const waiting: Answer = { status: 503, headers: { 'retry-after': '4' }, body: {} };
    const keys = await Promise.all(['left', 'cut', 'late'].map((name) => store(name)));
    for (const name of ['left', 'cut', 'late']) plans.set(name, [waiting]);
    const [left, cut, late] = keys.map((id) => [id]) as [string[], string[], string[]];
    const seen = (name: string): Promise<void> =>
      new Promise((resolve) => {
        plans.set(name, () => {
          setImmediate(resolve);
          return waiting;
        });
      });

    const one = { concurrentCalls: 1 };
    const leaving = await mint(left, {}, one);
    const wasSeen = seen('left');
    const controller = new AbortController();
    const gone = fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      signal: controller.signal,
      headers: { 'x-api-key': leaving, 'content-type': 'application/json' },
      body: '{"model":"gpt-4o"}',
    }).catch(() => 'gone');
    await wasSeen;
    controller.abort();
    t.equal(await gone, 'gone');
    await gateway.app.dataPlane.settled();
    plans.delete('left');
    t.equal((await call(leaving)).status, 200, 'its place is free again');
    t.same(times('left'), [2]);

    const { body: token } = await gateway.api('POST', '/tokens', { name: 'x', keyIds: cut });
    const isHere = seen('cut');
    const started = performance.now();
    const running = call(token.token);
    await isHere;
    await gateway.api('DELETE', `/tokens/${token.id}`);
    const revoked = await running;
    t.same(told(revoked), [401, 'AUTH_INVALID', '1']);
    t.ok(performance.now() - started < 3000);
    t.match((await recordsOf(revoked)).ends, [
      { outcome: 'AUTH_INVALID', endReason: 'revoked', final: true, status: 401 },
    ]);

    const hasty = await mint(late, { timeouts: { totalMs: 1000 } });
    const answer = await call(hasty);
    t.same(told(answer), [503, 'UPSTREAM_OVERLOADED', '1'], 'no wait is begun that cannot end in time');
  },
);

t.test(
  'a key that is disabled meanwhile is not used, and one that a token may not have neither',
  async (t) => {
    const gate = Promise.withResolvers<void>();
    plans.set('slow', [{ status: 429, hold: gate.promise, body: {} }]);
    const slow = await store('slow', 'openai', { weight: 1000 });
    const taken = await store('taken', 'openai', { weight: 0 });
    await store('foreign', 'openai', { weight: 0 });
    const token = await mint([slow, taken]);
    const running = call(token);
    await new Promise<void>((resolve) => {
      const poll = (): unknown => (times('slow')[0] === 1 ? resolve() : setImmediate(poll));
      poll();
    });
    await gateway.api('PATCH', `/api-keys/${taken}`, { isActive: false });
    plans.set('slow', [{ status: 429, headers: { 'x-should-retry': 'false' }, body: {} }]);
    gate.resolve();
    const answer = await running;
    t.equal(answer.header('x-sallyport-key'), slow);
    t.same(times('taken', 'foreign'), [0, 0]);
  },
);

t.test('a stale connection is not tried again where the token says so', async (t) => {
  const key = await store('kept');
  const [bold, careful] = [await mint([key]), await mint([key], { retryStale: false })];
  for (const [token, expected] of [
    [bold, [200, null, '2']],
    [careful, [502, 'UPSTREAM_ERROR', '1']],
  ] as const) {
    plans.delete('kept');
    t.equal((await call(token)).status, 200);
    let dead = 0;
    plans.set('kept', (seen, answer) => {
      dead ||= seen.connection;
      if (seen.connection !== dead) return { body: {} };
      answer.socket?.resetAndDestroy();
      return undefined;
    });
    t.same(told(await call(token)), expected);
  }
});

/** So many calls, six at a time. */
async function storm(token: string, count: number): Promise<Answered[]> {
  const answers: Answered[] = [];
  let left = count;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      answers.push(await call(token));
    }
  };
  await Promise.all(Array.from({ length: 6 }, worker));
  return answers;
}

async function checkStorm(t: Test, name: string, plan: Answer, expected: number): Promise<void> {
  const names = [1, 2, 3].map((i) => `${name}-${i}`);
  const keys: string[] = [];
  for (const each of names) {
    plans.set(each, [plan]);
    keys.push(await store(each));
  }
  const token = await mint(keys, {}, { concurrentCalls: 6 });
  const first = await call(token);
  t.same(times(...names), [1, 1, 1], 'the first one looks everywhere');
  t.equal(first.header('x-sallyport-attempts'), '3');
  const answers = [first, ...(await storm(token, 18))];
  for (const answer of answers)
    t.same(
      [answer.status, answer.header('retry-after')],
      [plan.status, plan.headers?.['retry-after'] ?? null],
    );
  const sent = times(...names).reduce((sum, count) => sum + count, 0);
  t.equal(sent, expected, 'requests at the provider');
  const attempts = answers.reduce((sum, answer) => sum + Number(answer.header('x-sallyport-attempts')), 0);
  t.equal(attempts, sent, 'as many as the clients were told of');
  await gateway.shipped();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx.selectFrom('usage_events').select(['attempt', 'final']).where('key_id', 'in', keys).execute(),
  );
  t.equal(rows.length, sent, 'a row for each attempt');
  t.equal(rows.filter(({ final }) => final).length, answers.length, 'a final one for each call');
  for (const each of names) plans.delete(each);
  // None of the six places is still taken: with one that was not given back these would be refused.
  const freed = await Promise.all(Array.from({ length: 6 }, () => call(token)));
  t.same(
    freed.map(({ status }) => status),
    [200, 200, 200, 200, 200, 200],
  );
}

t.test('in a storm of 429 that say how long, each key is asked once and then each call asks once', (t) =>
  checkStorm(t, 'storm-a', { status: 429, headers: { 'retry-after': '30' }, body: {} }, 3 + 18),
);

t.test('in a storm of 503 with and without a time, likewise', async (t) => {
  await checkStorm(t, 'storm-b', { status: 503, headers: { 'retry-after': '30' }, body: {} }, 3 + 18);
});

t.test('a 429 without a time may be about the one request: each call asks every key', (t) =>
  checkStorm(t, 'storm-c', { status: 429, body: {} }, 3 + 3 * 18),
);
