import fc from 'fast-check';
import t from 'tap';
import { createSseSplitter, type SseEvent } from '../../src/dialects/sse.ts';

function split(chunks: readonly Buffer[]): SseEvent[] {
  const splitter = createSseSplitter(1024);
  return chunks.flatMap((chunk) => splitter.push(chunk));
}

const text =
  '\uFEFF: hello\n\nevent: a\ndata: one\n\ndata:two\ndata:  three\nid: 1\nretry: 5\n\n\n\n:\n\nevent: none\n\ndata\n\nnonsense\ndata: é日\n\n';
const expected: SseEvent[] = [
  { name: 'a', data: 'one' },
  { name: null, data: 'two\n three' },
  { name: null, data: '' },
  { name: null, data: 'é日' },
];

t.test('events are the same with \\n, \\r\\n and \\r, cut at every byte', async (t) => {
  for (const end of ['\n', '\r\n', '\r']) {
    const bytes = Buffer.from(text.replaceAll('\n', end));
    t.same(split([bytes]), expected);
    for (let at = 0; at <= bytes.length; at += 1) {
      t.same(split([bytes.subarray(0, at), bytes.subarray(at)]), expected);
    }
    t.same(split([...bytes].map((byte) => Buffer.from([byte]))), expected, 'byte by byte');
  }
});

t.test('any chunking of any lines gives the same events', async () => {
  const line = fc.constantFrom('data: x', 'data', 'event: e', ': c', '', '', 'data:é', 'id: 3');
  const lines = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 30 });
  fc.assert(
    fc.property(lines, fc.array(fc.nat(200), { maxLength: 12 }), (parts, cuts) => {
      const bytes = Buffer.from(parts.map(([content, end]) => content + end).join(''));
      const at = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].toSorted(
        (a, b) => a - b,
      );
      const chunks = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
      return JSON.stringify(split(chunks)) === JSON.stringify(split([bytes]));
    }),
    { numRuns: 500 },
  );
});

t.test(
  'an event without its blank line is not one yet, and an endless one stops the splitting',
  async (t) => {
    const splitter = createSseSplitter(64);
    t.same(splitter.push(Buffer.from('data: x\n')), []);
    t.same(splitter.rest(), { name: null, data: 'x' });
    for (let n = 0; n < 100; n += 1) splitter.push(Buffer.from('y'));
    t.ok(splitter.hasOverflowed());
    t.equal(splitter.rest(), null);
    t.same(splitter.push(Buffer.from('\n\ndata: z\n\n')), []);
  },
);
