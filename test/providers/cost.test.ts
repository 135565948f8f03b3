import t from 'tap';
import { recordableBilled, termsOf } from '../../src/dialects/billed.ts';
import type { JsonObject } from '../../src/dialects/dialect.ts';
import { createMeter } from '../../src/dialects/meter.ts';
import { spokenCharacters } from '../../src/dialects/spoken-text.ts';
import { providers } from '../../src/providers/catalogue.ts';
import { type Attempt, costOf } from '../../src/providers/cost.ts';
import { priceListOf } from '../../src/providers/price-lists.ts';
import { flawedUnit, ownPrice, type PriceOverride } from '../../src/providers/price-override.ts';
import { priceTable } from '../../src/providers/price-table.ts';
import { createPriceBook } from '../../src/providers/price.ts';
import type { Provider } from '../../src/providers/provider.ts';
import { type Recording, recordings } from '../golden/recordings.ts';

const book = createPriceBook(priceTable);
const at = Date.UTC(2026, 10, 1);

/** Origins of the recipes whose recordings are in a folder of their name. */
const origins: Readonly<Record<string, string>> = {
  azure: 'https://my-resource.openai.azure.com',
  cohere: 'https://api.cohere.com',
  deepseek: 'https://api.deepseek.com',
  mistral: 'https://api.mistral.ai',
  openrouter: 'https://openrouter.ai',
  together: 'https://api.together.xyz',
};

function attemptOf(recording: Recording): Attempt {
  const provider = providers.get(recording.provider) as Provider;
  const operation = recording.operation ?? '';
  const reader = provider.usageReader(operation);
  const meter =
    reader === null
      ? null
      : createMeter(reader, { isStream: recording.file.includes('stream'), contentEncoding: null });
  meter?.push(recording.bytes);
  const reading = meter?.finish(true) ?? null;
  const origin = origins[recording.file.split('/')[0] ?? ''] ?? provider.origin;
  return {
    method: recording.method ?? 'POST',
    operation,
    providerName: provider.name,
    priceList: priceListOf(provider.name, origin),
    model: recording.asked ?? reading?.model ?? null,
    answerModel: reading?.model ?? null,
    at,
    upstreamStatus: recording.status,
    isUnsent: false,
    usage: reading?.usage ?? null,
    usageSource: reading?.usageSource ?? 'unknown',
    billed: reading?.billed ?? {},
    providerUsage: reading?.providerUsage ?? null,
  };
}

/** `0.0123` → nano-dollars. */
function nano(dollars: string): bigint {
  const [whole = '0', fraction = ''] = dollars.split('.');
  return BigInt(whole + fraction.padEnd(9, '0'));
}

t.test('every recording costs what was worked out by hand, to the nano-dollar', async (t) => {
  let priced = 0;
  for (const recording of recordings) {
    const name = `${recording.provider}/${recording.file}`;
    if (recording.status !== 200) continue;
    const attempt = attemptOf(recording);
    if (recording.page !== undefined)
      t.same(recordableBilled(attempt.billed), recording.billed ?? null, `${name}: billed`);
    if (recording.cost === undefined) continue;
    const { nanoUsd, version } = costOf(book, [], attempt);
    t.equal(nanoUsd, recording.cost === null ? null : nano(recording.cost), `${name}: ${recording.work}`);
    if (nanoUsd !== null) {
      priced += 1;
      t.match(version, /^(?:genai-prices\/|xai:ticks$|openrouter:cost$)/, name);
    }
  }
  t.ok(priced > 40, `${priced} recordings with a price`);
});

const plain: Attempt = {
  method: 'POST',
  operation: 'openai.chat',
  providerName: 'openai',
  priceList: 'openai',
  model: 'gpt-4o',
  answerModel: null,
  at,
  upstreamStatus: 200,
  isUnsent: false,
  usage: {
    inputTokens: 1000,
    cachedInputTokens: 0,
    cacheWriteInputTokens: null,
    outputTokens: 100,
    reasoningTokens: 40,
  },
  usageSource: 'provider',
  billed: {},
  providerUsage: null,
};
const costs = (more: Partial<Attempt>, overrides: readonly PriceOverride[] = []): bigint | null =>
  costOf(book, overrides, { ...plain, ...more }).nanoUsd;
const usage = (more: Partial<NonNullable<Attempt['usage']>>): Pick<Attempt, 'usage'> => ({
  usage: { ...(plain.usage as NonNullable<Attempt['usage']>), ...more },
});

t.test('what is not sure has no cost, and never the cost of nothing', async (t) => {
  t.equal(costs({}), 3_500_000n, 'a thousand in at $2.50 and a hundred out at $10');
  t.equal(costs({ model: 'gpt-9-made-up' }), null, 'a model without a price');
  t.equal(
    costs({ model: 'gpt-9-made-up', answerModel: 'gpt-4o-2024-11-20' }),
    3_500_000n,
    'what ran has one',
  );
  t.equal(costs({ model: null }), null);
  t.equal(costs({ priceList: null }), null, 'an origin that nobody lists prices of');
  t.equal(costs({ usage: null, usageSource: 'unknown' }), null, 'nobody said what was used');
  t.equal(costs(usage({ outputTokens: null })), null, 'half of it');
  t.equal(costs({ upstreamStatus: null }), null, 'sent, and no answer came');
  t.equal(costs({ billed: { audioInputTokens: 10 } }), null, 'a list for text says nothing of audio');
  t.equal(costs({ billed: { terms: 'priority' } }), null, 'a tier without a price');
  t.equal(
    costs({ model: 'gpt-4o-2024-05-13', ...usage({ cachedInputTokens: 10 }) }),
    null,
    'cached at what?',
  );
  t.equal(costs(usage({ cachedInputTokens: 1001 })), null, 'more cached than came in');
  t.equal(costs({ model: 'gpt-4o-search-preview' }), null, 'it searches, for a price that the list lacks');
  t.equal(costs({ model: 'gemma-3-27b-it', priceList: 'google' }), 0n, 'free of charge is a price');
  t.equal(costs({ model: 'gemma-3-27b-it', priceList: 'google', billed: { webSearches: 1 } }), null);
  t.equal(
    costs(usage({ inputTokens: Number.MAX_SAFE_INTEGER, outputTokens: Number.MAX_SAFE_INTEGER })),
    null,
  );
  t.equal(costs(usage({ inputTokens: 1e12 + 1 })), null);
  t.equal(costs({ model: 'x'.repeat(1000) }), null);
  t.equal(costs({ model: 'mistral-ocr-2503', priceList: 'mistral' }), null, 'pages are not counted here');
  t.equal(
    costs({ model: 'gemini-2.5-flash-image', priceList: 'google' }),
    null,
    'text or picture? twelve times the price',
  );
  t.equal(
    costs({
      model: 'gemini-2.5-flash',
      priceList: 'google',
      ...usage({ cachedInputTokens: 500 }),
      billed: { audioInputTokens: 600 },
    }),
    null,
    'how much of what was cached is audio?',
  );
});

t.test('what nothing is charged for costs nothing, by the list of a provider that is known', async (t) => {
  t.equal(costs({ isUnsent: true, upstreamStatus: null }), 0n, 'no connection');
  for (const upstreamStatus of [400, 401, 429, 500, 529]) t.equal(costs({ upstreamStatus, usage: null }), 0n);
  t.equal(costs({ operation: 'openai.moderations', model: 'omni-moderation-latest', usage: null }), 0n);
  t.equal(costs({ operation: 'anthropic.count_tokens', priceList: 'anthropic', usage: null }), 0n);
  t.equal(costs({ method: 'GET', operation: 'openai.batches', usage: null, model: null }), 0n, 'looking');
  t.equal(costs({ operation: 'openai.batches', usage: null, model: null }), null, 'making a batch is not');
  t.equal(costs({ method: 'GET', operation: 'openai.realtime', usage: null }), null, 'nor is a WebSocket');
  const azure = { priceList: 'azure', usage: null };
  for (const upstreamStatus of [401, 403, 404, 429]) t.equal(costs({ ...azure, upstreamStatus }), 0n);
  for (const upstreamStatus of [400, 408, 500])
    t.equal(costs({ ...azure, upstreamStatus }), null, 'it has looked at the prompt, and charges for that');
  const moderation = { operation: 'openai.moderations', usage: null };
  t.equal(costs(moderation), 0n);
  t.equal(costs({ ...moderation, priceList: 'mistral', model: 'mistral-moderation-latest' }), null);
  t.equal(costs({ upstreamStatus: 429, priceList: null }), null, 'who knows, at an origin of somebody’s own');
});

t.test('halves of a nano-dollar are rounded up, once, over all that a call used', async (t) => {
  // gpt-5-nano: $0.05 and $0.005 a million, so that 50 and 5 nano-dollars are a token; gpt-image-1-mini has no such.
  const nano = { model: 'gpt-oss-20b', ...usage({ inputTokens: 1, outputTokens: 0 }) };
  t.equal(costs(nano), 29n);
  const llama = { priceList: 'groq', model: 'openai/gpt-oss-20b' };
  t.equal(
    costs({ ...llama, ...usage({ inputTokens: 1, cachedInputTokens: 1, outputTokens: 0 }) }),
    38n,
    '37.5',
  );
  t.equal(costs({ ...llama, ...usage({ inputTokens: 2, cachedInputTokens: 2, outputTokens: 0 }) }), 75n);
});

t.test('prices change by date, by the time of day and with the length of the input', async (t) => {
  const o3 = (at: string): bigint | null => costs({ model: 'o3', at: Date.parse(at) });
  t.equal(o3('2025-06-09T23:59:59.999Z'), 14_000_000n);
  t.equal(o3('2025-06-10T00:00:00.000Z'), 2_800_000n);
  const deepseek = (at: string): bigint | null =>
    costs({ priceList: 'deepseek', model: 'deepseek-v4-flash', at: Date.parse(at) });
  t.equal(deepseek('2026-11-01T00:59:59.999Z'), 286_000n);
  t.equal(deepseek('2026-11-01T01:00:00.000Z'), 572_000n, 'peak');
  t.equal(deepseek('2026-11-01T03:59:59.999Z'), 572_000n);
  t.equal(deepseek('2026-11-01T04:00:00.000Z'), 286_000n);
  t.equal(deepseek('2026-08-01T02:00:00.000Z'), 572_000n, 'as the list has it: hours go before dates');
  const gemini = (inputTokens: number): bigint | null =>
    costs({ priceList: 'google', model: 'gemini-2.5-pro', ...usage({ inputTokens, outputTokens: 1 }) });
  t.equal(gemini(200_000), 250_010_000n);
  t.equal(gemini(200_001), 500_017_500n, 'all of it at the higher price');
  const session = { model: 'gpt-5.5', providerUsage: { responses: 2 } };
  t.equal(costs({ ...session, ...usage({ inputTokens: 271_999 }) }), 1_362_995_000n);
  t.equal(costs({ ...session, ...usage({ inputTokens: 272_000 }) }), null, 'sums of several have no length');
});

t.test('names match as the list has them, and a date written without dashes is that date', async (t) => {
  const price = (list: string, model: string): unknown =>
    book.priceOf(list, model, at)?.rates.get('input')?.base ?? null;
  t.equal(price('openai', 'GPT-4o-Mini'), 150_000_000n);
  t.equal(price('openai', 'gpt-4o-2024-08-06'), price('openai', 'gpt-4o'));
  t.equal(price('openai', 'gpt-4o-20240806'), price('openai', 'gpt-4o'), 'as some write it');
  t.equal(price('azure', 'gpt-4.1'), price('openai', 'gpt-4.1'), 'Azure lists what differs');
  t.equal(price('openai', 'gpt-4o-mini-2024-07-18.ft-0'), 300_000_000n);
  t.equal(price('nobody', 'gpt-4o'), null);
  t.equal(price('openai', '__proto__'), null);
  t.equal(price('__proto__', 'gpt-4o'), null);
  for (let i = 0; i < 5000; i += 1) price('openai', `made-up-${i}`);
  t.equal(price('openai', 'gpt-4o'), 2_500_000_000n, 'many names push nothing out for good');
});

t.test('a workspace’s own price goes before the list and before the provider’s own figure', async (t) => {
  const own = (model: string, prices: Record<string, string>, more: Partial<PriceOverride> = {}) => ({
    provider: 'openai',
    model,
    effectiveFrom: 0,
    price: ownPrice(prices, `price_${model}`),
    ...more,
  });
  const halves = own('gpt-4o', { input: '1.25', output: '5' });
  t.same(costOf(book, [halves], plain), { nanoUsd: 1_750_000n, version: 'price_gpt-4o' });
  t.equal(
    costs({}, [own('gpt-4o', { input: '1.25', output: '5' }, { effectiveFrom: at + 1 })]),
    3_500_000n,
    'later',
  );
  t.equal(costs({}, [{ ...halves, provider: 'groq' }]), 3_500_000n, 'another provider’s');
  t.equal(costs(usage({ cachedInputTokens: 500 }), [halves]), 1_750_000n, 'parts cost what the whole does');
  t.equal(costs({ billed: { webSearches: 1 } }, [halves]), null, 'what it does not name is not known');
  t.equal(
    costs({}, [own('gpt-4o', { input: '1', output: '1' }), own('gpt-*', { input: '9', output: '9' })]),
    1_100_000n,
  );
  t.equal(
    costs({}, [own('*', { input: '9' }), own('gpt-4*', { input: '1', output: '0' })]),
    1_000_000n,
    'the longer',
  );
  t.equal(
    costs({}, [halves, { ...halves, effectiveFrom: 5, price: ownPrice({}, 'price_free') }]),
    0n,
    'the later',
  );
  t.equal(
    costs({ priceList: null, providerName: 'ollama' }, [{ ...halves, provider: 'ollama' }]),
    1_750_000n,
  );
  const images = own('dall-e-3', { images: '0.04' });
  t.equal(costs({ model: 'dall-e-3', usage: null, billed: { images: 2 } }, [images]), 80_000_000n);
  t.equal(costs({ model: 'dall-e-3', usage: null }, [images]), null, 'how many?');
  const speech = { operation: 'openai.speech', usage: null, usageSource: 'unknown', model: 'tts-1' } as const;
  t.equal(costs({ ...speech, billed: { characters: 1000 } }), 15_000_000n, 'by the list: $15 for a million');
  t.equal(
    costs({ ...speech, billed: { characters: 3 } }, [own('tts-1', { characters: '0.0005' })]),
    2n,
    '1.5',
  );
  const ticks = { priceList: 'xai', providerName: 'xai', providerUsage: { cost_in_usd_ticks: 15 } } as const;
  t.equal(costs({ ...ticks, model: 'grok-4' }), 2n, '1.5 nano-dollars');
  t.equal(costs({ ...ticks, model: 'gpt-4o' }, [{ ...halves, provider: 'xai' }]), 1_750_000n);
  t.equal(costs({ ...ticks, priceList: 'groq', model: 'nobody' }), null, 'nobody else’s figure is taken');
  t.equal(
    costs({ ...ticks, usageSource: 'estimated', model: 'grok-4' }),
    4_500_000n,
    'a figure in mid-stream',
  );
});

t.test('a price of nothing holds for every end of a call, also where nobody lists prices', async (t) => {
  const price = { provider: 'ollama', model: '*', effectiveFrom: 0, price: ownPrice({}, 'price_0') };
  const local = { providerName: 'ollama', priceList: null } as const;
  const ends = [{}, { upstreamStatus: null }, { upstreamStatus: 500 }, { usage: null }, { isUnsent: true }];
  for (const end of ends) t.equal(costs({ ...local, ...end }, [price]), 0n, JSON.stringify(end));
  t.equal(costs({ ...local, billed: { webSearches: 1 } }, [price]), null, 'tools are another matter');
  const dear = { ...price, price: ownPrice({ input: '1', output: '1' }, 'price_1') };
  t.equal(costs({ ...local, upstreamStatus: 500 }, [dear]), 0n);
  t.equal(costs({ ...local, upstreamStatus: null }, [dear]), null);
});

t.test(
  'OpenRouter’s figure is taken in dollars, and what the maker charges for one’s own key is added',
  async (t) => {
    const told = (providerUsage: JsonObject): bigint | null =>
      costs({ priceList: 'openrouter', model: 'nobody/nothing', providerUsage });
    t.equal(told({ cost: 0.95 }), 950_000_000n);
    t.equal(told({ cost: 1.42e-5, is_byok: false, cost_details: { upstream_inference_cost: 19 } }), 14_200n);
    t.equal(told({ cost: 5e-10 }), 1n, 'half a nano-dollar');
    t.equal(told({ cost: 4.9e-10 }), 0n);
    t.equal(
      told({ cost: 0.05, is_byok: true, cost_details: { upstream_inference_cost: 0.5 } }),
      550_000_000n,
    );
    t.equal(told({ cost: 0.05, is_byok: true }), null, 'its fee is not all');
    for (const cost of [-1, '1', null, 1e6, Number.MAX_VALUE]) t.equal(told({ cost }), null, String(cost));
  },
);

t.test('Gemini’s Interactions are counted by their own names', async (t) => {
  const interaction = {
    id: 'i1',
    model: 'gemini-2.5-flash',
    status: 'completed',
    service_tier: 'standard',
    usage: {
      total_input_tokens: 1000,
      input_tokens_by_modality: [
        { modality: 'text', tokens: 400 },
        { modality: 'audio', tokens: 600 },
      ],
      total_cached_tokens: 0,
      total_output_tokens: 100,
      output_tokens_by_modality: [{ modality: 'text', tokens: 100 }],
      total_thought_tokens: 50,
      total_tool_use_tokens: 30,
      total_tokens: 1180,
    },
  };
  const event = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;
  const whole = { file: 'interaction.json', bytes: Buffer.from(JSON.stringify(interaction)) };
  const stream = {
    file: 'interaction-stream.sse',
    bytes: Buffer.from(
      event({ event_type: 'interaction.created', interaction: { id: 'i1' } }) +
        event({ event_type: 'step.delta', delta: { type: 'text', text: 'Hi.' } }) +
        event({ event_type: 'interaction.completed', interaction }) +
        'event: done\ndata: [DONE]\n\n',
    ),
  };
  for (const { file, bytes } of [whole, stream]) {
    const attempt = attemptOf({
      provider: 'google',
      operation: 'google.interactions',
      status: 200,
      file,
      bytes,
    });
    t.match(attempt, {
      usageSource: 'provider',
      usage: { inputTokens: 1030, outputTokens: 150, reasoningTokens: 50 },
      billed: { audioInputTokens: 600 },
    });
    // 430 × $0.30 + 600 × $1 + 150 × $2.50, for a million each.
    t.equal(costOf(book, [], attempt).nanoUsd, 1_104_000n, file);
  }
  const searching = {
    ...interaction,
    usage: { ...interaction.usage, grounding_tool_count: [{ type: 'google_search', count: 2 }] },
  };
  const searched = attemptOf({
    ...whole,
    provider: 'google',
    operation: 'google.interactions',
    status: 200,
    bytes: Buffer.from(JSON.stringify(searching)),
  });
  t.same(costOf(book, [], searched).nanoUsd, null, 'searches have a price that no list has');
});

t.test('what a provider writes where its terms belong goes into no record', async (t) => {
  for (const name of ['service_tier', 'speed', 'inference_geo']) {
    const body = {
      type: 'message',
      model: 'm',
      usage: { input_tokens: 1, output_tokens: 1, [name]: 'sk-or-v1-0123456789' },
    };
    const bytes = Buffer.from(JSON.stringify(body));
    const attempt = attemptOf({
      provider: 'anthropic',
      operation: 'anthropic.messages',
      status: 200,
      file: 'x.json',
      bytes,
    });
    t.equal(recordableBilled(attempt.billed)?.['terms'], 'other', name);
  }
  t.same(termsOf(['flex', null, 'batch', 'flex', 'x'.repeat(100)]), { terms: 'batch+flex+other' });
  t.same(termsOf([null]), {});
  t.equal(spokenCharacters(Buffer.from('{"input":"a\\ud83d\\udc4b"}')), 2);
  t.equal(spokenCharacters(Buffer.from(`{"input":"${'a'.repeat(1024 * 1024)}"}`)), null);
  for (const body of ['{}', '{"input":null}', '{"input":["a"]}'])
    t.equal(spokenCharacters(Buffer.from(body)), null, body);
});

t.test('prices of one’s own are decimal dollars of units that exist', async (t) => {
  t.equal(flawedUnit({ input: '2.5', output: '10', webSearches: '10', images: '0.000000001' }), null);
  t.equal(flawedUnit({}), null);
  for (const text of ['', '-1', '1e3', '1.', '.5', '0.0000000001', '1000000', '1,5', ' 1', 'NaN'])
    t.equal(flawedUnit({ input: text }), 'input', text);
  for (const name of ['inputs', '__proto__x', 'constructor']) t.equal(flawedUnit({ [name]: '1' }), name);
});

t.test('hosts of custom keys have the prices of whoever answers there, and of nobody alike', async (t) => {
  const list = (origin: string): string | null => priceListOf('custom', origin);
  t.equal(list('https://api.mistral.ai'), 'mistral');
  t.equal(list('https://me.openai.azure.com'), 'azure');
  t.equal(list('https://openrouter.ai'), 'openrouter');
  for (const origin of [
    'https://api.mistral.ai.evil.com',
    'https://evil.com/api.mistral.ai',
    'https://openai.azure.com',
    'https://a.b.openai.azure.com',
    'https://api.openai.com:8443',
    'http://127.0.0.1:11434',
    'nonsense',
  ])
    t.equal(list(origin), null, origin);
  t.equal(priceListOf('openai', 'http://127.0.0.1:9'), 'openai', 'wherever the operator reaches it');
});
