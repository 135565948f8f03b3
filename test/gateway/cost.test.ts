import t from 'tap';
import { priceTable } from '../../src/providers/price-table.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { type Answer, scriptUpstream } from '../support/upstream.ts';

t.setTimeout(90_000);

const usage = { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100 };
const chat = (model: string): Answer => ({ body: { object: 'chat.completion', model, choices: [], usage } });
const upstream = await scriptUpstream(t, { script: [chat('gpt-4o-2024-11-20')] });
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin, groq: upstream.origin },
  settings: { SALLYPORT_ALLOW_ORIGINS: upstream.origin },
});
await gateway.addKey('openai', `sk-${'a'.repeat(40)}`);
await gateway.addKey('groq', `gsk_${'b'.repeat(40)}`);
await gateway.addKey('custom', 'c'.repeat(40), { name: 'local', origins: [upstream.origin] });

/** The record of one call's end, and its row as `/api` shows it. */
async function callOf(
  path: string,
  body: object | null,
): Promise<{
  readonly end: Record<string, unknown>;
  readonly view: Record<string, unknown>;
  readonly header: string | null;
}> {
  const answer = await ask(gateway.origin + path, {
    method: body === null ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${gateway.token}` },
    ...(body === null ? {} : { body }),
  });
  const id = answer.header('x-request-id') ?? '';
  await gateway.shipped();
  const { body: call } = await gateway.api('GET', `/usage/calls/${id}`);
  const { body: audit } = await gateway.api('GET', `/audit?callId=${id}&event=use.end`);
  const header = answer.header('x-sallyport-cost-nano-usd');
  return { end: audit.data[0].record, view: call.attempts[0], header };
}
const ask4o = { model: 'gpt-4o', messages: [] };

t.test(
  'a call’s record, its row, the sums and the metrics say what it cost, and by which price',
  async (t) => {
    const { end, view, header } = await callOf('/v1/chat/completions', ask4o);
    const cost = { costNanoUsd: '3500000', priceVersion: priceTable.version };
    t.match(end, { ...cost, model: 'gpt-4o', upstreamModel: 'gpt-4o', billed: null });
    t.match(view, cost);
    t.equal(header, null, 'not known before the answer');
    t.match((await gateway.api('GET', '/usage')).body.totals, {
      costNanoUsd: '3500000',
      unknownCostCalls: 0,
    });
    t.match(
      await gateway.metrics(),
      /^sallyport_cost_nano_usd_total\{provider="openai",model="gpt-4o"\} 3500000$/m,
    );
  },
);

t.test('the price is the sent model’s, not that of the name before it', async (t) => {
  upstream.respond([chat('openai/gpt-oss-120b')]);
  const { end } = await callOf('/v1/chat/completions', { model: 'groq/openai/gpt-oss-120b', messages: [] });
  t.match(end, {
    model: 'groq/openai/gpt-oss-120b',
    upstreamModel: 'openai/gpt-oss-120b',
    costNanoUsd: '210000',
  });
});

t.test('an unknown price is an unknown cost, and the sums count it', async (t) => {
  const { end, view } = await callOf('/custom/local/v1/chat/completions', { model: 'qwen3', messages: [] });
  t.match(end, { costNanoUsd: null, priceVersion: null, usageSource: 'provider' });
  t.equal(view['costNanoUsd'], null);
  t.equal((await gateway.api('GET', '/usage')).body.totals.unknownCostCalls, 1);
});

t.test('what nothing is charged for costs nothing, known as such', async (t) => {
  upstream.respond([
    { status: 429, headers: { 'retry-after': '600' }, body: { error: { message: 'slow down' } } },
  ]);
  t.match((await callOf('/v1/chat/completions', ask4o)).end, { costNanoUsd: '0', usageSource: 'unknown' });
  upstream.respond([
    {
      body: {
        object: 'response',
        id: 'resp_1',
        model: 'gpt-4o',
        output: [],
        usage: { input_tokens: 9, output_tokens: 9 },
      },
    },
  ]);
  // Whoever reads an answer that was made and paid for before does not pay again.
  const read = await callOf('/v1/responses/resp_1', null);
  t.match(read.end, { operation: 'openai.stored_responses', costNanoUsd: '0', usage: null });
  t.equal(read.header, '0', 'known before the answer');
});

t.test('a text to be spoken is counted as it was sent', async (t) => {
  upstream.respond([{ headers: { 'content-type': 'audio/mpeg' }, body: Buffer.from([0xff, 0xfb, 0, 1]) }]);
  const { end } = await callOf('/v1/audio/speech', {
    model: 'tts-1',
    input: 'Grüß Gott 👋\\',
    voice: 'alloy',
  });
  t.match(end, { billed: { characters: 12 }, costNanoUsd: '180000', usage: null });
});

t.test(
  'what was asked is guessed from its length where it is text, and from that of no picture',
  async (t) => {
    const delta = { choices: [{ index: 0, delta: { content: 'four' } }] };
    const broken = {
      events: Array.from({ length: 50 }, () => JSON.stringify(delta)),
      ending: 'reset',
    } as const;
    const words = 'It is a long way to Tipperary. '.repeat(2_000);
    const picture = Buffer.alloc(200_000, 'gateway').toString('base64');
    const parts = [{ type: 'image_url', image_url: { url: `data:image/png;base64,${picture}` } }];
    upstream.respond([broken]);
    const asked = (content: unknown) => ({ ...ask4o, stream: true, messages: [{ role: 'user', content }] });
    const text = await callOf('/v1/chat/completions', asked(words));
    t.match(text.end, { usageSource: 'estimated', outcome: 'UPSTREAM_STREAM_BROKEN' });
    const { inputTokens } = text.view;
    t.ok(Number(inputTokens) > 15_000 && Number(inputTokens) < 16_000, String(inputTokens));
    t.ok(Number(text.view['costNanoUsd']) > 0);
    const seen = await callOf('/v1/chat/completions', asked(parts));
    t.match(seen.end, {
      usageSource: 'estimated',
      usage: { inputTokens: null, outputTokens: Number },
      costNanoUsd: null,
    });
  },
);

t.test(
  'a price of the workspace’s own holds from the next call on, for nobody’s else, until it is gone',
  async (t) => {
    upstream.respond([chat('gpt-4o-2024-11-20')]);
    const set = async (price: object): Promise<string> =>
      (
        await gateway.api('POST', '/prices', {
          provider: 'openai',
          model: 'gpt-4*',
          prices: { input: '1', output: '0' },
          ...price,
        })
      ).body.id;
    const id = await set({});
    t.match((await callOf('/v1/chat/completions', ask4o)).end, { costNanoUsd: '1000000', priceVersion: id });
    const free = await set({ provider: 'local', model: '*', prices: {} });
    const local = await callOf('/custom/local/v1/chat/completions', { model: 'qwen3', messages: [] });
    t.match(local.end, { costNanoUsd: '0', priceVersion: free });
    await set({ model: 'gpt-4o', effectiveFrom: '2099-01-01' });
    t.match((await callOf('/v1/chat/completions', ask4o)).end, { priceVersion: id }, 'one of later');
    await gateway.api('DELETE', `/prices/${id}`);
    t.match((await callOf('/v1/chat/completions', ask4o)).end, { costNanoUsd: '3500000' });
  },
);

t.test('a price that was written round the gateway is no price', async (t) => {
  const { body } = await gateway.api('POST', '/prices', {
    provider: 'openai',
    model: 'gpt-4o',
    prices: { input: '1', output: '1' },
  });
  await gateway.database.owner(
    `begin; alter table price_overrides no force row level security;
     update price_overrides set prices = '{}' where id = '${body.id}'; update epoch set value = value + 1;
     alter table price_overrides force row level security; commit`,
  );
  await gateway.app.dataPlane.epoch.refresh();
  t.match((await callOf('/v1/chat/completions', ask4o)).end, { costNanoUsd: '3500000' });
  t.ok(gateway.logLines.some((line) => line.includes('forged-row') && line.includes(body.id)));
});
