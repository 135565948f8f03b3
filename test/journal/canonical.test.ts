import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { canonicalize, type JsonValue } from '../../src/journal/canonical.ts';

t.test('the example of RFC 8785, 3.2.2 and 3.2.4, comes out to the letter', async (t) => {
  const value = JSON.parse(
    String.raw`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`,
  ) as JsonValue;
  t.equal(
    canonicalize(value),
    String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
  );
});

t.test('members are sorted by UTF-16 code units (RFC 8785, 3.2.3)', async (t) => {
  const names = ['\u20ac', '\r', '\ufb33', '1', '\ud83d\ude00', '\u0080', '\u00f6'];
  const value = Object.fromEntries(names.map((name, i) => [name, i]));
  const order = Object.keys(JSON.parse(canonicalize(value)) as object);
  // JSON.parse puts the integer-like name first, as the RFC's list has it second.
  t.same(
    order.filter((name) => name !== '1'),
    ['\r', '\u0080', '\u00f6', '\u20ac', '\ud83d\ude00', '\ufb33'],
  );
  t.ok(canonicalize(value).startsWith(String.raw`{"\r":1,"1":3,`));
});

const json = fc.jsonValue({ stringUnit: 'binary' }) as fc.Arbitrary<JsonValue>;

t.test('any value survives, whatever order its members came in', async () => {
  fc.assert(
    fc.property(json, (value) => {
      const text = canonicalize(value);
      const back = JSON.parse(text) as JsonValue;
      return (
        canonicalize(back) === text &&
        canonicalize(reversed(back)) === text &&
        isDeepStrictEqual(back, JSON.parse(JSON.stringify(value)))
      );
    }),
    { numRuns: 2000 },
  );
});

t.test(
  'any string becomes one line without control characters, and half a surrogate pair never stops a record',
  async () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) }),
        (text) => {
          const line = canonicalize({ [text]: text });
          // oxlint-disable-next-line no-control-regex -- the control characters are the point
          return !/[\u0000-\u001f]/.test(line) && line.isWellFormed() && JSON.parse(line) !== undefined;
        },
      ),
      { numRuns: 2000 },
    );
  },
);

t.test('what JSON does not have is refused', async (t) => {
  for (const value of [Number.NaN, Infinity, undefined, 1n, () => 1, Symbol('s')]) {
    t.throws(() => canonicalize({ value: value as JsonValue }), TypeError);
  }
  let deep: JsonValue = 1;
  for (let i = 0; i < 10_000; i += 1) deep = [deep];
  t.throws(() => canonicalize(deep), TypeError);
});

function reversed(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([name, item]) => [name, reversed(item)]),
  );
}
