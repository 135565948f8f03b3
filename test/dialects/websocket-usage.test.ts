import t from 'tap';
import { modelsInMessage } from '../../src/dialects/realtime-models.ts';
import { refusesKeyInBand } from '../../src/dialects/realtime-refusal.ts';
import { createSessionMeter } from '../../src/dialects/realtime-usage.ts';

const message = (event: unknown): Buffer => Buffer.from(JSON.stringify(event));

/** As platform.openai.com/docs/api-reference/realtime-server-events/response/done shows it. */
const done = {
  type: 'response.done',
  response: {
    status: 'completed',
    usage: {
      total_tokens: 275,
      input_tokens: 127,
      output_tokens: 148,
      input_token_details: {
        cached_tokens: 64,
        text_tokens: 119,
        audio_tokens: 8,
        cached_tokens_details: { text_tokens: 64, audio_tokens: 0 },
      },
      output_token_details: { text_tokens: 36, audio_tokens: 112 },
    },
  },
};
const transcribed = {
  type: 'conversation.item.input_audio_transcription.completed',
  transcript: 'Hello',
  usage: {
    type: 'tokens',
    total_tokens: 22,
    input_tokens: 13,
    input_token_details: { audio_tokens: 13 },
    output_tokens: 9,
  },
};

t.test('a session in which several models answered has no one’s price', async (t) => {
  const completed = (model: string) => ({
    type: 'response.completed',
    response: { model, usage: { input_tokens: 10, output_tokens: 5, total_tokens: 15 } },
  });
  const finish = (...models: string[]) => {
    const meter = createSessionMeter();
    for (const model of models) meter.read(message(completed(model)));
    return meter.finish();
  };
  t.match(finish('gpt-5-pro', 'gpt-5-nano'), {
    usage: { inputTokens: 20, outputTokens: 10 },
    billed: { terms: 'several-models' },
    model: null,
  });
  t.match(finish('gpt-5-nano', 'gpt-5-nano'), { billed: { terms: undefined }, model: 'gpt-5-nano' });
});

t.test('the counts of all responses and transcriptions of a session are added up', async (t) => {
  const meter = createSessionMeter();
  for (const event of [{ type: 'response.created' }, done, { type: 'response.created' }, done, transcribed])
    meter.read(message(event));
  const { usage, usageSource, providerUsage, billed } = meter.finish();
  t.equal(usageSource, 'provider');
  t.same(billed, {
    audioInputTokens: 16,
    audioOutputTokens: 224,
    cachedAudioInputTokens: 0,
    terms: 'transcription',
  });
  t.same(usage, {
    inputTokens: 2 * 127 + 13,
    cachedInputTokens: 128,
    cacheWriteInputTokens: null,
    outputTokens: 2 * 148 + 9,
    reasoningTokens: null,
  });
  t.match(providerUsage, {
    responses: 2,
    input_token_details: { audio_tokens: 16, cached_tokens_details: { text_tokens: 128 } },
    output_token_details: { audio_tokens: 224 },
    transcription: { input_token_details: { audio_tokens: 13 }, output_tokens: 9 },
  });
});

t.test(
  'a session that ended before a response did is estimated, and unknown where nothing was heard',
  async (t) => {
    const meter = createSessionMeter();
    meter.read(message(done));
    meter.read(message({ type: 'response.created' }));
    meter.read(message({ type: 'response.output_audio_transcript.delta', delta: 'x'.repeat(40) }));
    t.match(meter.finish(), {
      usageSource: 'estimated',
      usage: { inputTokens: 127, outputTokens: 148 + 10 },
    });

    const empty = createSessionMeter();
    empty.read(message({ type: 'response.created' }));
    t.match(empty.finish(), { usageSource: 'unknown', usage: null, providerUsage: null });

    const lossy = createSessionMeter();
    lossy.read(message(done));
    lossy.read(null);
    t.match(lossy.finish(), { usageSource: 'estimated', usage: { inputTokens: 127 } });
  },
);

t.test('whatever a provider sends, the meter neither throws nor grows', async (t) => {
  const meter = createSessionMeter();
  const names = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`n${i}`, 1]));
  for (const usage of [
    names,
    { a: { b: { c: { d: { e: 1 } } } } },
    { __proto__: null, input_tokens: -1 },
    7,
    [1],
  ])
    meter.read(message({ type: 'response.done', response: { usage } }));
  meter.read(
    Buffer.from('{"type":"response.done","usage":{"__proto__":{"x":1},"constructor":2},"response":null}'),
  );
  meter.read(Buffer.from('"usage" is not JSON'));
  meter.read(Buffer.from('["usage"]'));
  const { usage, providerUsage } = meter.finish();
  t.equal(usage, null);
  t.equal(providerUsage, null);
  t.equal(({} as { x?: number }).x, undefined);
});

t.test(
  'the models that a message names are found wherever they stand and however they are written',
  async (t) => {
    const found: readonly (readonly [string, readonly string[] | null])[] = [
      ['{"type":"session.update","session":{"model":"a"}}', ['a']],
      [
        '{"session":{"audio":{"input":{"transcription":{"model" : "whisper-1"}}},"model":"a"}}',
        ['whisper-1', 'a'],
      ],
      ['{"model":"a","model":"b"}', ['a', 'b']],
      [String.raw`{"\u006dodel":"\u0061"}`, ['a']],
      [String.raw`{"text":"say \"model\":\"b\" now","model":"a"}`, ['a']],
      [String.raw`{"text":"\\","model":"a"}`, ['a']],
      ['{"model":{"type":"string"},"models":"b","x":"model"}', []],
      ['["model","b"]', []],
      ['{"model":\n\t"a"}', ['a']],
      [String.raw`{"model":"\x"}`, null],
    ];
    for (const [text, models] of found) t.same(modelsInMessage(Buffer.from(text)), models, text);
    t.equal(modelsInMessage(Buffer.from('{"model":"a"}', 'utf16le')), null);
  },
);

t.test('a refusal of the key is told from other errors', async (t) => {
  const refusal = {
    type: 'error',
    error: { type: 'invalid_request_error', code: 'invalid_api_key', message: 'sk-…' },
  };
  t.ok(refusesKeyInBand(message(refusal)));
  for (const other of [
    { ...refusal, type: 'session.created' },
    { type: 'error', error: { code: 'x' } },
    null,
    'error',
  ])
    t.notOk(refusesKeyInBand(message(other)));
});
