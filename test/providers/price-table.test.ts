import { readFileSync } from 'node:fs';
import { calcPrice, waitForUpdate } from '@pydantic/genai-prices';
import fc from 'fast-check';
import t from 'tap';
import { priceTableText } from '../../scripts/generate-prices.ts';
import { charge } from '../../src/providers/charge.ts';
import { createPriceBook } from '../../src/providers/price.ts';
import { priceTable } from '../../src/providers/price-table.ts';

const book = createPriceBook(priceTable);
const file = new URL('../../src/providers/price-table.json', import.meta.url);
const packageIds: Readonly<Record<string, string>> = { xai: 'x-ai' };
const times = [
  '2025-01-01T12:00:00Z',
  '2026-08-20T02:30:00Z',
  '2026-11-01T17:00:00Z',
  '2027-03-01T00:00:00Z',
];

t.test('the table is what the package in node_modules gives', async (t) => {
  t.equal(await priceTableText(), readFileSync(file, 'utf8'), 'run node scripts/generate-prices.ts');
  t.match(priceTable.version, /^genai-prices\/\d+\.\d+\.\d+\+[0-9a-f]{6}$/);
});

t.test('whole counts of every model cost what the package reckons, to the nano-dollar', async (t) => {
  let compared = 0;
  for (const [list, { models }] of Object.entries(priceTable.lists)) {
    for (const [id] of models) {
      for (const time of times) {
        const at = new Date(time);
        const price = book.priceOf(list, id, at.getTime());
        const usage = { input_tokens: 300_123, output_tokens: 41_237 };
        const theirs = calcPrice(usage, id, { providerId: packageIds[list] ?? list, timestamp: at });
        if (price === null || theirs === null || !price.rates.has('input') || price.rates.has('requests'))
          continue;
        // An embedding has no output to pay for, and the package asks for no count.
        const outputTokens = price.rates.has('output') ? usage.output_tokens : 0;
        const billed = { imageOutputTokens: 0, audioOutputTokens: 0, videoOutputTokens: 0 };
        const ours = charge(
          price,
          {
            inputTokens: usage.input_tokens,
            cachedInputTokens: null,
            cacheWriteInputTokens: null,
            outputTokens,
            reasoningTokens: null,
          },
          billed,
          null,
        );
        compared += 1;
        const difference = Math.abs(Number(ours) - theirs.total_price * 1e9);
        if (ours === null || difference > 1)
          t.fail(`${list}/${id} at ${time}: ${ours} and ${theirs.total_price}`);
      }
    }
  }
  t.ok(compared > 3000, `${compared} prices compared`);
});

t.test('parts of the input are taken out of the whole as the package takes them out', async (t) => {
  const source = (await waitForUpdate()) ?? [];
  const classes = ['openai', 'anthropic', 'google', 'xai', 'deepseek', 'groq'].flatMap((list) =>
    (source.find(({ id }) => id === (packageIds[list] ?? list))?.models ?? []).map(({ id }) => ({
      list,
      id,
    })),
  );
  const count = fc.nat({ max: 250_000 });
  fc.assert(
    fc.property(
      fc.constantFrom(...classes),
      fc.constantFrom(...times),
      fc.record({ fresh: count, read: count, written: count, long: count, audio: count, output: count }),
      ({ list, id }, time, counts) => {
        const at = new Date(time);
        const price = book.priceOf(list, id, at.getTime());
        if (price === null || !price.rates.has('input') || !price.rates.has('output')) return true;
        const has = (unit: Parameters<typeof price.rates.has>[0]): boolean => price.rates.has(unit);
        const read = has('cachedInput') ? counts.read : 0;
        const long = has('cacheWrite1h') ? counts.long : 0;
        const written = has('cacheWrite') ? counts.written + long : 0;
        const audio = has('audioInput') ? counts.audio : 0;
        const input = counts.fresh + read + written + audio;
        const theirs = calcPrice(
          {
            input_tokens: input,
            output_tokens: counts.output,
            cache_read_tokens: read,
            cache_write_tokens: written,
            cache_write_1h_tokens: long,
            input_audio_tokens: audio,
            cache_audio_read_tokens: 0,
            cache_image_read_tokens: 0,
          },
          id,
          { providerId: packageIds[list] ?? list, timestamp: at },
        );
        const ours = charge(
          price,
          {
            inputTokens: input,
            cachedInputTokens: read,
            cacheWriteInputTokens: written,
            outputTokens: counts.output,
            reasoningTokens: null,
          },
          {
            cacheWrite1hTokens: long,
            audioInputTokens: audio,
            cachedAudioInputTokens: 0,
            cachedImageInputTokens: 0,
            audioOutputTokens: 0,
            imageOutputTokens: 0,
            videoOutputTokens: 0,
          },
          null,
        );
        return ours !== null && theirs !== null && Math.abs(Number(ours) - theirs.total_price * 1e9) <= 1;
      },
    ),
    { numRuns: 2000 },
  );
  t.pass();
});
