import fc from 'fast-check';
import t from 'tap';
import { UsageHolder } from '../../src/dialects/held-usage.ts';
import { recordings } from '../golden/recordings.ts';

function relay(chunks: readonly Buffer[]): string {
  const holder = new UsageHolder();
  return Buffer.concat([...chunks.flatMap((chunk) => holder.push(chunk)), ...holder.end()]).toString(
    'latin1',
  );
}

const streams = recordings.filter(
  ({ file, provider }) => file.endsWith('.sse') && /openai|groq|xai|custom/.test(provider),
);
const usageEvent = /data: [^\r\n]*"choices":\[\],"usage":\{[^\r\n]*(?:\r\n\r\n|\n\n|\r\r)/;

for (const { provider, file, bytes, held } of streams) {
  t.test(`${provider}/${file}: every byte but the extra usage chunk passes, in any chunking`, async (t) => {
    const text = bytes.toString('latin1');
    const expected = held === true ? text.replace(usageEvent, '') : text;
    t.equal(expected === text, held !== true);
    for (let at = 0; at <= bytes.length; at += 1) {
      if (relay([bytes.subarray(0, at), bytes.subarray(at)]) !== expected) t.fail(`cut at ${at}`);
    }
    t.equal(relay([...bytes].map((byte) => Buffer.from([byte]))), expected, 'byte by byte');
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 20 }), (cuts) => {
        const at = [...new Set([0, ...cuts, bytes.length])].toSorted((a, b) => a - b);
        return relay(at.slice(1).map((end, index) => bytes.subarray(at[index], end))) === expected;
      }),
      { numRuns: 60 },
    );
  });
}

t.test('a whole event is never kept waiting, and a long one passes as it comes', async (t) => {
  const holder = new UsageHolder();
  const event = 'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n';
  t.same(holder.push(Buffer.from(event)).map(String), [event]);
  const long = `data: {"choices":[],"usage":{"x":"${'y'.repeat(40_000)}`;
  const passed = holder.push(Buffer.from(long)).map(String).join('');
  t.ok(passed.length >= long.length - 3);
  const rest = holder
    .push(Buffer.from(`"}}\n\n${event}`))
    .map(String)
    .join('');
  t.equal(passed + rest, `${long}"}}\n\n${event}`);
  t.same(holder.end(), []);
});

t.test('what only looks like a usage chunk passes', async (t) => {
  for (const text of [
    'data: {"choices":[],"prompt_filter_results":[]}\n\n',
    'data: {"choices":[{"delta":{"content":"\\"choices\\":[],\\"usage\\":{}"}}]}\n\n',
    'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":1}}\n\n',
    'data: {"type":"response.completed","response":{"usage":{}}}\n\n',
    'data: "usage" broken\n\n',
    ': "usage" comment\n\n',
    'data: {"choices":[],"usage"',
    'data: {"choices":[],"usage":nul',
  ]) {
    t.equal(relay([Buffer.from(text)]), text);
  }
});
