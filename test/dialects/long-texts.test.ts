import fc from 'fast-check';
import t from 'tap';
import { withoutLongTexts } from '../../src/dialects/long-texts.ts';

const longest = 1024;
const short = (text: string): string => withoutLongTexts(Buffer.from(text)).toString();

/** What a text takes between its quotes. */
const lengthOf = (text: string): number => Buffer.byteLength(JSON.stringify(text)) - 2;

/** The same, but for long texts: of those a piece may be left. */
function isSame(whole: unknown, left: unknown): boolean {
  if (typeof whole === 'string') {
    if (typeof left !== 'string') return false;
    return lengthOf(whole) <= longest ? whole === left : left.length <= longest;
  }
  if (whole === null || typeof whole !== 'object') return Object.is(whole, left);
  if (left === null || typeof left !== 'object') return false;
  const [names, others] = [Object.keys(whole), Object.keys(left)];
  if (names.join('\n') !== others.join('\n')) return false;
  return names.every((name) =>
    isSame((whole as Record<string, unknown>)[name], (left as Record<string, unknown>)[name]),
  );
}

const piece = fc.constantFrom('\\', '"', '\\"', '\n', 'ä', '𝄞', '\u0000', 'QUJD', '{"usage":', ',', ' ');
const text = fc
  .tuple(fc.array(piece, { maxLength: 8 }), fc.constantFrom(0, 1, 100, 300, 1024, 3000))
  .map(([pieces, times]) => pieces.join('').repeat(times).slice(0, 9000));
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    text,
    fc.constantFrom(1, -2.5e3, true, false, null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom('a', 'usage', 'b"c', '\\'), tie('value'), { maxKeys: 4 }),
  ),
}));

t.test('what is left parses to the same, but for the long texts', async (t) => {
  fc.assert(
    fc.property(value, (given) => isSame(given, JSON.parse(short(JSON.stringify(given))))),
    { numRuns: 1000 },
  );
  t.pass('1000 values');
});

t.test('shortened again and again as it comes, in any pieces', async (t) => {
  fc.assert(
    fc.property(value, fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1 }), (given, sizes) => {
      const bytes = Buffer.from(JSON.stringify(given));
      let left: Buffer = Buffer.alloc(0);
      for (let at = 0, n = 0; at < bytes.length; n += 1) {
        const size = sizes[n % sizes.length] as number;
        left = withoutLongTexts(Buffer.concat([left, bytes.subarray(at, at + size)]));
        at += size;
      }
      return isSame(given, JSON.parse(left.toString()));
    }),
    { numRuns: 1000 },
  );
  t.pass('1000 values');
});

t.test('a text of 1 KiB stays, and one byte more goes', async (t) => {
  const stays = JSON.stringify({ a: 'x'.repeat(longest), b: 1 });
  t.equal(short(stays), stays);
  t.equal(short(JSON.stringify({ a: 'x'.repeat(longest + 1), b: 1 })), '{"a":"","b":1}');
  const bytes = Buffer.from(stays);
  t.equal(withoutLongTexts(bytes), bytes, 'nothing is copied for nothing');
});

t.test('the end of a line ends a text that was never closed', async (t) => {
  const open = `data: {"a":"${'x'.repeat(5000)}`;
  for (const end of ['\n', '\r', '\r\n', '\\\n', '\\\\\r\n'])
    t.equal(
      short(`${open}${end}data: {"usage":{"b":"c"}}\n\n`),
      `data: {"a":"${end.replace(/^\\+/, '')}data: {"usage":{"b":"c"}}\n\n`,
      JSON.stringify(end),
    );
  const torn = `x"${'x'.repeat(5000)}\n`;
  t.equal(short(torn + JSON.stringify({ a: 'b' })), `x"\n{"a":"b"}`, 'cut off in front as well');
});

t.test('an escape that the piece ends in is kept with what follows it', async (t) => {
  for (const run of [1, 2, 3, 4]) {
    const left = short(`{"a":"${'x'.repeat(2000)}${'\\'.repeat(run)}`);
    t.equal(left, `{"a":"${run % 2 === 1 ? '\\' : ''}`, `${run}`);
  }
});

t.test('megabytes of quotes, of escapes and of one text take milliseconds', async (t) => {
  const mib = 1024 * 1024;
  for (const unit of [
    '"',
    '\\',
    '\\"',
    `"${'x'.repeat(1025)}`,
    `"${'\\'.repeat(1026)}`,
    'x',
    '\n',
    `"${'x'.repeat(1030)}\n`,
  ]) {
    const bytes = Buffer.from(unit.repeat(Math.ceil((4 * mib) / unit.length)));
    const before = process.cpuUsage();
    withoutLongTexts(bytes);
    const { user, system } = process.cpuUsage(before);
    t.ok(user + system < 1_000_000, `${JSON.stringify(unit).slice(0, 8)}: ${user + system} µs`);
  }
});
