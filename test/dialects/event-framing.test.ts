import fc from 'fast-check';
import t from 'tap';
import { EventFraming } from '../../src/dialects/event-framing.ts';

const mib = 1024 * 1024;

/** Does it take all of these? */
function takes(chunks: readonly Buffer[]): { isTaken: boolean; endsInLine: boolean } {
  const framing = new EventFraming();
  const isTaken = chunks.every((chunk) => framing.push(chunk));
  return { isTaken, endsInLine: framing.endsInLine };
}

t.test('events are taken, however they are spelt and cut', async () => {
  const line = fc.constantFrom(
    'data: {"a":1}',
    'data',
    'event: e',
    ': <c>',
    '',
    '\uFEFFdata: é',
    'id: 3',
    'x: y',
  );
  const lines = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 30 });
  fc.assert(
    fc.property(lines, fc.array(fc.nat(200), { maxLength: 12 }), (parts, cuts) => {
      const bytes = Buffer.from(parts.map(([content, end]) => content + end).join(''));
      const at = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].toSorted(
        (a, b) => a - b,
      );
      const { isTaken, endsInLine } = takes(at.slice(1).map((end, index) => bytes.subarray(at[index], end)));
      return isTaken && !endsInLine;
    }),
    { numRuns: 500 },
  );
});

t.test('it is known whether the last byte stands within a line', async (t) => {
  for (const [text, expected] of [
    ['data: x', true],
    ['data: x\n', false],
    ['data: x\r', false],
    ['data: x\n\ndat', true],
    ['', false],
  ] as const)
    for (let cut = 0; cut <= text.length; cut += 1)
      t.equal(takes([Buffer.from(text.slice(0, cut)), Buffer.from(text.slice(cut))]).endsInLine, expected);
});

t.test('a line of data may be as long as a picture, any other no longer than a megabyte', async (t) => {
  const long = (start: string, bytes: number, step: number): Buffer[] => [
    Buffer.from(`data: first\n\n${start}`),
    ...Array.from({ length: Math.ceil(bytes / step) }, () => Buffer.alloc(step, 0x61)),
  ];
  const whole = Buffer.from('\n\n');
  for (const step of [16 * 1024, 64 * 1024]) {
    t.ok(takes([...long('data: ', 63 * mib, step), whole]).isTaken);
    t.notOk(takes(long('data: ', 64 * mib, step)).isTaken);
    t.ok(takes([...long('event: ', mib - step, step), whole]).isTaken);
    t.notOk(takes(long('event: ', mib, step)).isTaken);
    t.notOk(takes(long('dat', mib, step)).isTaken, 'a name that only begins as data does');
  }
  t.notOk(takes([Buffer.from('da'), ...long('ta: ', 2 * mib, 65_536).slice(1)]).isTaken);
  t.ok(takes([Buffer.from('da'), Buffer.from('ta: '), ...long('', 2 * mib, 65_536).slice(1), whole]).isTaken);
});

t.test('a page, and bytes that are no text, are none', async (t) => {
  t.notOk(takes([Buffer.from(' \r\n'), Buffer.from('\t'), Buffer.from('<!doctype html>')]).isTaken);
  t.ok(takes([Buffer.from('data: <p>\n\n'), Buffer.from('<p>\n')]).isTaken, 'what only holds one is');
  t.notOk(takes([Buffer.from('data: a\n\n'), Buffer.from([0x64, 0])]).isTaken);
  t.notOk(takes([Buffer.from('data: a\n\n', 'utf16le')]).isTaken);
  const framing = new EventFraming();
  t.notOk(framing.push(Buffer.from([0])));
  t.notOk(framing.push(Buffer.from('data: a\n\n')), 'once broken, always broken');
});
