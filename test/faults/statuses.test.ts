import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { codes } from './status-faults.ts';

t.setTimeout(60_000);

/** Requests that one key gets of one call by the default policy: what was not charged is asked again where no long wait is wanted. */
const requests = { 429: [3, 1], 500: [1, 1], 502: [1, 1], 503: [3, 1], 529: [3, 1] } as const;

const error = { error: { message: 'Come back later.', type: 'server_error' } };
const upstream = await scriptUpstream(t, ({ body }) => {
  const { status, after } = JSON.parse(body.toString());
  return { status, body: error, headers: after === null ? {} : { 'retry-after': after } };
});
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });

// Each with a key of its own: what is known of one is not of another.
const cases = Object.entries(requests).flatMap(([status, counts]) =>
  [null, '7'].map((after, i) => ({
    status: Number(status) as keyof typeof codes,
    after,
    count: counts[i] as number,
  })),
);
const tokens = await Promise.all(
  cases.map(async ({ status, after }) => {
    const id = await gateway.addKey('openai', `sk-test-${status}-${after}-0123456789abcdef`, {
      name: `${status} ${after}`,
    });
    const { body } = await gateway.api('POST', '/tokens', { name: 'one', keyIds: [id] });
    return body.token as string;
  }),
);

t.jobs = cases.length;
for (const [i, { status, after, count }] of cases.entries())
  t.test(
    `a ${status} ${after === null ? 'without' : 'with'} retry-after is asked for ${count === 1 ? 'once' : `${count} times`} and told as it is`,
    { buffered: true },
    async (t) => {
      const model = `gpt-${status}-${after}`;
      const answer = await ask(`${gateway.origin}/v1/chat/completions`, {
        headers: { authorization: `Bearer ${tokens[i]}` },
        body: { model, status, after },
      });
      t.equal(answer.status, status);
      t.equal(answer.header('x-sallyport-code'), codes[status]);
      t.equal(answer.header('retry-after'), after);
      t.equal(answer.header('x-sallyport-attempts'), String(count));
      t.same(answer.json(), error);
      t.equal(upstream.requests.filter(({ body }) => body.includes(model)).length, count);
    },
  );
t.jobs = 1;

t.test('each attempt has one end, and the last of a call alone is final', async (t) => {
  await gateway.shipped();
  const rows = await gateway.database.store.asSystem((tx) =>
    tx
      .selectFrom('usage_events')
      .select(['model', 'attempt', 'final', 'outcome', 'end_reason'])
      .orderBy('attempt')
      .execute(),
  );
  for (const { status, after, count } of cases)
    t.same(
      rows.filter(({ model }) => model === `gpt-${status}-${after}`),
      Array.from({ length: count }, (_, i) => ({
        model: `gpt-${status}-${after}`,
        attempt: i + 1,
        final: i + 1 === count,
        outcome: codes[status],
        end_reason: 'complete',
      })),
    );
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
});
