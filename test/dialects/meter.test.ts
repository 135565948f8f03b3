import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { createMeter, type Reading } from '../../src/dialects/meter.ts';
import { googleReader } from '../../src/dialects/google-usage.ts';
import { openaiReader } from '../../src/dialects/openai-usage.ts';
import type { UsageReader } from '../../src/dialects/usage-reader.ts';
import { providers } from '../../src/providers/catalogue.ts';
import { type Recording, recordings } from '../golden/recordings.ts';

const metered = recordings.filter(({ status, unmetered }) => status === 200 && unmetered !== true);
const readerOf = ({ provider, operation }: Recording): UsageReader =>
  providers.get(provider)?.usageReader(operation as string) as UsageReader;

function meter(
  reader: UsageReader,
  chunks: readonly Buffer[],
  complete: boolean,
  encoding: string | null = null,
): Reading {
  const made = createMeter(reader, { isStream: true, contentEncoding: encoding, requestBytes: 400 });
  for (const chunk of chunks) made.push(chunk);
  return made.finish(complete);
}

function piecesOf(text: string, size: number): Buffer[] {
  const bytes = Buffer.from(text);
  if (size >= bytes.length) return [bytes];
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) =>
    bytes.subarray(n * size, (n + 1) * size),
  );
}

const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
const delta = (content: string): string => event({ choices: [{ index: 0, delta: { content } }] });
const usageChunk = event({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 } });

for (const recording of metered) {
  t.test(
    `${recording.provider}/${recording.file}, cut at every byte, never claims what it can't know`,
    async (t) => {
      const reader = readerOf(recording);
      const { bytes } = recording;
      for (let at = 0; at < bytes.length; at += 1) {
        const cut = meter(reader, [bytes.subarray(0, at)], false);
        const closed = meter(reader, [bytes.subarray(0, at)], true);
        const isWhole = bytes.subarray(at).toString().trim() === '';
        if (cut.isComplete !== false) t.fail(`complete when the message broke off at ${at}`);
        // A failure that the provider reports itself ends a stream before its end marker.
        if (closed.isComplete !== isWhole && closed.errorInBand === null)
          t.fail(`complete is ${closed.isComplete} at ${at}`);
        for (const { usage, usageSource, billed } of [cut, closed]) {
          const isCounted = usage !== null || Object.values(billed).some(Number);
          if (isCounted === (usageSource === 'unknown')) t.fail(`${usageSource} at ${at}`);
          if (usageSource === 'provider' && JSON.stringify(usage) !== JSON.stringify(recording.usage)) {
            t.fail(`wrong counts claimed for the provider at ${at}`);
          }
          if (usageSource === 'estimated' && (usage?.outputTokens ?? 0) < 1)
            t.fail(`an estimate of nothing at ${at}`);
        }
      }
    },
  );

  t.test(`${recording.provider}/${recording.file} reads the same in any chunking and coding`, async (t) => {
    const reader = readerOf(recording);
    const { bytes } = recording;
    const whole = meter(reader, [bytes], true);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 40 }), (cuts) => {
        const at = [...new Set([0, ...cuts, bytes.length])].toSorted((a, b) => a - b);
        const chunks = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
        return JSON.stringify(meter(reader, chunks, true)) === JSON.stringify(whole);
      }),
      { numRuns: 60 },
    );
    t.same(
      meter(
        reader,
        [...bytes].map((byte) => Buffer.from([byte])),
        true,
      ),
      whole,
      'byte by byte',
    );
    const codings = {
      gzip: gzipSync(bytes),
      br: brotliCompressSync(bytes),
      deflate: deflateSync(bytes),
      zstd: zstdCompressSync(bytes),
    };
    for (const [name, coded] of Object.entries(codings)) {
      t.same(meter(reader, [coded.subarray(0, 20), coded.subarray(20)], true, name), whole, name);
      for (let at = 0; at < coded.length; at += 7) {
        const cut = meter(reader, [coded.subarray(0, at)], false, name);
        if (cut.usageSource === 'provider') t.same(cut.usage, recording.usage, `${name} cut at ${at}`);
        if (cut.isComplete === true) t.fail(`complete at ${at} of ${name}`);
      }
    }
    t.same(meter(reader, [deflateRawSync(bytes)], true, 'deflate'), whole, 'bare deflate');
  });
}

t.test('the counts at the end of a long stream are found, however its chunks fall', async (t) => {
  const text = Buffer.from(delta('hello').repeat(20_000) + usageChunk + 'data: [DONE]\n\n');
  for (const size of [100, 1448, 16_384, 65_536, text.length]) {
    const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, n) =>
      text.subarray(n * size, (n + 1) * size),
    );
    const reading = meter(openaiReader, chunks, true);
    t.match(
      reading,
      { usageSource: 'provider', isComplete: true, usage: { inputTokens: 3, outputTokens: 4 } },
      `${size}`,
    );
  }
});

t.test('a long stream that breaks off is estimated from what was relayed', async (t) => {
  const chunks = Array.from({ length: 1000 }, () => Buffer.from(delta('four')));
  const reading = meter(openaiReader, chunks, false);
  t.match(reading, {
    usageSource: 'estimated',
    isComplete: false,
    usage: { inputTokens: 100, cachedInputTokens: null },
  });
  t.ok(Math.abs((reading.usage?.outputTokens ?? 0) - 1000) < 20, '4000 characters are about 1000 tokens');
  t.match(meter(openaiReader, [], false), { usage: null, usageSource: 'unknown', isComplete: false });
  t.match(meter(openaiReader, [Buffer.from(': ping\n\n')], false), { usage: null, usageSource: 'unknown' });
});

t.test('what pictures of megabytes cost is read behind them', async (t) => {
  const picture = 'A'.repeat(3_000_000);
  const tokens = { input_tokens: 50, output_tokens: 1056, total_tokens: 1106 };
  const response = {
    id: 'resp_1',
    status: 'completed',
    model: 'gpt-5.1-2025-11-13',
    output: [
      { type: 'web_search_call', action: { type: 'search' } },
      { type: 'image_generation_call', status: 'completed', result: picture },
    ],
    service_tier: 'priority',
    usage: tokens,
  };
  const candidates = [{ content: { parts: [{ inlineData: { data: picture } }] }, finishReason: 'STOP' }];
  const gemini = {
    candidates,
    usageMetadata: { promptTokenCount: 50, candidatesTokenCount: 1056, totalTokenCount: 1106 },
  };
  const partial = event({ type: 'response.image_generation_call.partial_image', partial_image_b64: picture });
  const drawn = { type: 'image_generation.completed', b64_json: picture, usage: tokens };
  const searched = { webSearches: 1, terms: 'image-generation+priority' };
  const answers: Readonly<Record<string, readonly [UsageReader, string, object]>> = {
    'Responses, a stream': [
      openaiReader,
      delta('a').repeat(20) + partial.repeat(3) + event({ type: 'response.completed', response }),
      searched,
    ],
    'Responses, whole': [openaiReader, JSON.stringify(response), searched],
    'images, a stream': [openaiReader, event(drawn), { imageOutputTokens: 1056 }],
    'images, whole': [
      openaiReader,
      JSON.stringify({ data: [{ b64_json: picture }, { b64_json: picture }], usage: tokens }, null, 2),
      { images: 2, imageOutputTokens: 1056 },
    ],
    'Gemini, a stream': [googleReader, event(gemini), {}],
    'Gemini, an array': [googleReader, JSON.stringify([gemini]), {}],
    'Gemini, whole': [googleReader, JSON.stringify(gemini, null, 2), {}],
  };
  for (const [name, [reader, text, billed]] of Object.entries(answers)) {
    for (const size of [65_536, 1400, 2_000_000, Infinity]) {
      const reading = meter(reader, piecesOf(text, size), true);
      t.match(
        reading,
        { usageSource: 'provider', isComplete: true, usage: { inputTokens: 50, outputTokens: 1056 }, billed },
        `${name}, in pieces of ${size}`,
      );
    }
  }
});

t.test('a stream that breaks off behind a picture is estimated without it', async (t) => {
  const picture = event({
    type: 'response.image_generation_call.partial_image',
    partial_image_b64: 'A'.repeat(3_000_000),
  });
  const text = event({ type: 'response.output_text.delta', delta: 'four' });
  const reading = meter(openaiReader, piecesOf(picture + text.repeat(4), 65_536), false);
  t.match(reading, { usageSource: 'estimated', isComplete: false });
  t.ok((reading.usage?.outputTokens ?? 0) < 100, `${reading.usage?.outputTokens}`);
});

t.test('an event of more than a MiB of short texts is let go: unknown, not wrong', async (t) => {
  const words = JSON.stringify(Array.from({ length: 200_000 }, () => 'word'));
  const big = Buffer.from(`data: {"type":"response.completed","response":{"x":${words}`);
  const end = Buffer.from(`,"usage":{"input_tokens":1,"output_tokens":2}}}\n\n`);
  t.match(meter(openaiReader, [Buffer.from(delta('a')), big, end], true), {
    usage: null,
    usageSource: 'unknown',
    isComplete: null,
  });
  const after = Buffer.from(delta('b') + usageChunk + 'data: [DONE]\n\n');
  t.match(
    meter(openaiReader, [big, end, after], true),
    { usageSource: 'provider', isComplete: true },
    'later ones count',
  );
});

t.test('a bomb costs a bounded decode and gives unknown', async (t) => {
  const zeros = Buffer.alloc(64 * 1024 * 1024);
  for (const [name, bomb] of [
    ['gzip', gzipSync(zeros)],
    ['br', brotliCompressSync(zeros)],
    ['zstd', zstdCompressSync(zeros)],
  ] as const) {
    t.match(
      meter(openaiReader, [bomb], true, name),
      { usage: null, usageSource: 'unknown', isComplete: null },
      name,
    );
  }
  t.match(meter(openaiReader, [Buffer.from('not gzip')], true, 'gzip'), { usageSource: 'unknown' });
  t.match(meter(openaiReader, [Buffer.from(usageChunk)], true, 'gzip, br'), { usageSource: 'unknown' });
});

t.test('counts behind megabytes of vectors are found, and only at top level', async (t) => {
  const vectors = `"data":[${Array.from({ length: 3000 }, () => `{"embedding":"${'A'.repeat(1000)}"}`).join(',')}]`;
  const split = (text: string): Buffer[] => piecesOf(text, 65_536);
  const counts = '"usage":{"prompt_tokens":8,"total_tokens":8}';
  t.match(meter(openaiReader, split(`{${vectors},"model":"m",${counts}}\n`), true), {
    usageSource: 'provider',
    usage: { inputTokens: 8, outputTokens: 0 },
  });
  for (const text of [
    `{${vectors},"last":{${counts}}}`,
    `{${vectors},"last":"\\"usage\\":{\\"prompt_tokens\\":8}"}`,
    `{${vectors},"a\\"usage":{"prompt_tokens":8}}`,
    `{${vectors},${counts}`,
    `{${vectors},${counts},`,
  ]) {
    t.match(meter(openaiReader, split(text), true), { usage: null, usageSource: 'unknown' }, text.slice(-60));
  }
});

t.test('what is charged for stands in an answer with megabytes of pictures as in one without', async (t) => {
  const picture = Buffer.alloc(900_000, 'gateway').toString('base64');
  const google = providers.get('google')?.usageReader('google.generate_content') as UsageReader;
  const answers = (data: string, text: string) =>
    [
      [
        openaiReader,
        {
          object: 'response',
          model: 'gpt-5',
          output: [
            { type: 'message', content: [{ type: 'output_text', text: `"\\${text}` }] },
            { type: 'web_search_call', action: { type: 'search' } },
            { type: 'image_generation_call', result: data },
          ],
          service_tier: 'flex',
          usage: { input_tokens: 10, output_tokens: 20, total_tokens: 30 },
        },
      ],
      [
        google,
        {
          candidates: [
            {
              content: { parts: [{ text }, { inlineData: { mimeType: 'image/png', data } }] },
              finishReason: 'STOP',
              groundingMetadata: { webSearchQueries: ['rain'] },
            },
          ],
          usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 1290, totalTokenCount: 1300 },
        },
      ],
    ] as const;
  const short = answers('', 'It rains.');
  for (const [n, [reader, long]] of answers(picture, `It\t${'rains \\" '.repeat(300)}`).entries()) {
    const expected = meter(reader, [Buffer.from(JSON.stringify(short[n]?.[1]))], true);
    t.ok(Object.keys(expected.billed).length > 0);
    for (const size of [1_448, 16_384, 65_536, Infinity]) {
      t.same(meter(reader, piecesOf(JSON.stringify(long), size), true), expected, `${size}`);
    }
  }
  const words = Array.from({ length: 60_000 }, () => ({ type: 'output_text', text: 'line' }));
  const response = { ...answers('', '')[0][1], output: words };
  t.match(
    meter(openaiReader, [Buffer.from(JSON.stringify(response))], true),
    { usageSource: 'provider', usage: { inputTokens: 10 }, billed: { terms: 'cut' } },
    'of many texts, what stood before the counts is not known',
  );
});

t.test('Gemini’s searches for pictures are searches', async (t) => {
  const google = providers.get('google')?.usageReader('google.generate_content') as UsageReader;
  const searchesOf = (groundingMetadata: object) => {
    const body = {
      candidates: [{ finishReason: 'STOP', groundingMetadata }],
      usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 1290, totalTokenCount: 1300 },
    };
    return meter(google, [Buffer.from(JSON.stringify(body))], true).billed.webSearches;
  };
  t.equal(searchesOf({ imageSearchQueries: ['a heron', 'a crane'] }), 2);
  t.equal(searchesOf({ webSearchQueries: ['heron'], imageSearchQueries: ['a heron'] }), 2);
  t.equal(searchesOf({ webSearchQueries: [] }), undefined);
  t.equal(searchesOf({ webSearchQueries: 'heron', imageSearchQueries: {} }), undefined, 'no lists');
});

t.test('nonsense from a provider stops the meter and nothing else', async (t) => {
  const nasty = [
    'data: {"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}\n\ndata: [DONE]\n\n',
    'data: {"usage":{"prompt_tokens":"7"},"choices":null}\n\ndata: [DONE]\n\n',
    'data: {"choices":[null,7,{"delta":null}],"usage":[]}\n\n',
    'data: {"error":null,"x_groq":7,"response":[]}\n\n',
    `data: {"usage":${'{"a":'.repeat(9000)}1${'}'.repeat(9000)}}\n\n`,
    '['.repeat(500_000),
    '{"__proto__":{"usage":{"prompt_tokens":1}}}',
    '\0\xff\xfe',
  ];
  for (const provider of providers.values()) {
    for (const operation of ['openai.chat', 'anthropic.messages', 'google.generate_content']) {
      const reader = provider.usageReader(operation);
      if (reader === null) continue;
      for (const text of nasty) {
        const reading = meter(reader, [Buffer.from(text, 'latin1')], true);
        t.equal(reading.usage, null, `${provider.name} ${text.slice(0, 30)}`);
      }
    }
  }
  const throwing: UsageReader = {
    fromStream: () => {
      throw new Error('bug');
    },
    fromBody: () => {
      throw new Error('bug');
    },
    textLength: () => 0,
  };
  t.match(meter(throwing, [Buffer.from('data: {}\n\n')], true), { usageSource: 'unknown', isComplete: null });
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom(null, 'gzip', 'br', 'deflate', 'zstd', 'x'),
      (bytes, coding) => {
        return meter(openaiReader, [Buffer.from(bytes)], true, coding).usageSource !== 'provider';
      },
    ),
    { numRuns: 300 },
  );
});

t.test('a key that an origin echoes into its counts or error goes into no record', async (t) => {
  const key = `sk-proj-${'Zk9'.repeat(20)}`;
  const answer = {
    usage: {
      prompt_tokens: 1,
      completion_tokens: 2,
      tier: 'default',
      note: key,
      [key]: 1,
      in: { note: key },
    },
    error: { code: key },
  };
  const reading = meter(openaiReader, [Buffer.from(JSON.stringify(answer))], true);
  t.notMatch(JSON.stringify(reading), key);
  t.match(reading.providerUsage, { tier: 'default', note: null });
  t.equal(reading.errorInBand, 'error');
  const huge = {
    usage: { prompt_tokens: 1, completion_tokens: 2, list: Array.from({ length: 9000 }, (_, n) => n) },
  };
  t.match(meter(openaiReader, [Buffer.from(JSON.stringify(huge))], true), {
    usageSource: 'provider',
    providerUsage: null,
  });
});

t.test('a count beyond all numbers takes no other from the record', async (t) => {
  const answer = '{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"x":1e400}}';
  const reading = meter(openaiReader, [Buffer.from(answer)], true);
  t.same(reading.providerUsage, { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3, x: null });
});
