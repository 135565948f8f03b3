import fc from 'fast-check';
import t from 'tap';
import { readTopLevel, splice } from '../../src/dialects/top-level.ts';

const read = (
  text: string | Buffer,
  wanted: readonly string[] = ['model', 'stream'],
): ReturnType<typeof readTopLevel> =>
  readTopLevel(typeof text === 'string' ? Buffer.from(text) : text, wanted);
const accepts = (text: string | Buffer): boolean => {
  try {
    read(text, []);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== 'REQUEST_INVALID') throw error;
    return false;
  }
};

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** Written in ways that JSON.stringify doesn't choose: white space, escaped names, exponents. */
function spelled(value: unknown, seed: number): string {
  const text = JSON.stringify(value, null, [undefined, 1, '\t'][seed % 3]);
  return seed % 2 === 0
    ? text
    : text.replace(/"(\w)(\w*)":/g, (_all, first: string, rest: string) => {
        return `"\\u${first.charCodeAt(0).toString(16).padStart(4, '0')}${rest}" \r\n:`;
      });
}

t.test('every field is found where JSON.parse finds it', async () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(), (object, seed) => {
      // Refused, as another test of this file has it.
      fc.pre(!JSON.stringify(object).includes('"__proto__":'));
      const text = Buffer.from(spelled(object, seed));
      const names = Object.keys(JSON.parse(text.toString()) as object);
      const { values, isEmpty } = readTopLevel(text, names.slice(0, 8));
      if (isEmpty !== (names.length === 0)) return false;
      return names.slice(0, 8).every((name) => {
        const span = values[name];
        // Names of escapes longer than what is acted on are not looked for.
        if (span === undefined) return Buffer.byteLength(JSON.stringify(name)) > 50;
        const found: unknown = JSON.parse(text.toString('utf8', span.start, span.end));
        return JSON.stringify(found) === JSON.stringify((JSON.parse(text.toString()) as never)[name]);
      });
    }),
    { numRuns: 300 },
  );
});

t.test('what JSON.parse refuses is refused, and nothing else', async (t) => {
  const base = '{"a":[1,-0.5e+3,true,false,null,"x\\u00e9\\n",{"b":{}},[]],"model":"m"}';
  fc.assert(
    fc.property(
      fc.nat({ max: base.length - 1 }),
      fc.constantFrom(
        '',
        '"',
        '\\',
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        '0',
        '-',
        '.',
        'e',
        'u',
        ' ',
        '\n',
        '\u0001',
        'é',
        't',
      ),
      fc.boolean(),
      (at, piece, replaces) => {
        const text = base.slice(0, at) + piece + base.slice(replaces || piece === '' ? at + 1 : at);
        let isObject = false;
        try {
          const value: unknown = JSON.parse(text);
          isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
        } catch {
          isObject = false;
        }
        return accepts(text) === isObject;
      },
    ),
    { numRuns: 2000 },
  );
  for (const text of [
    '',
    ' ',
    '[]',
    '"{}"',
    '1',
    '{',
    '{}{}',
    '{} x',
    '\uFEFF{}',
    '{"a":01}',
    '{"a":1.}',
    '{"a":+1}',
    '{"a":.5}',
    '{"a":NaN}',
    "{'a':1}",
    '{"a":1,}',
    '{,}',
    '{"a"}',
    '{"a":}',
    '{a:1}',
    '{"a":"\t"}',
    '{"a":"\\x"}',
    '{"a":"\\u12g4"}',
    '{"a":tru}',
    '{"a":[1,]}',
    '{"a":[}]}',
    '{"a":{]}',
  ]) {
    t.notOk(accepts(text), JSON.stringify(text));
  }
  t.notOk(accepts(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), 'bytes that are no UTF-8');
});

t.test(
  'a string ends where it does for JSON.parse, wherever it lies in memory and whatever stands where in it',
  (t) => {
    const pieces = [
      '"',
      '\\',
      '\u0000',
      '\u001f',
      ' ',
      '\u007f',
      'é',
      '—',
      '😀',
      '\\n',
      '\\"',
      '\\u0041',
      '\\x',
      'a',
    ];
    const wrong: string[] = [];
    const judge = (text: string, offset: number): void => {
      const body = Buffer.from(
        new ArrayBuffer(Buffer.byteLength(text) + offset + 3),
        offset,
        Buffer.byteLength(text),
      );
      body.write(text);
      if (accepts(body) !== isJson(text)) wrong.push(`${offset} ${text}`);
    };
    for (let offset = 0; offset < 4; offset += 1)
      for (const piece of pieces)
        for (let before = 0; before < 9; before += 1)
          for (let after = 0; after < 9; after += 1)
            judge(`{"k":"${'a'.repeat(before)}${piece}${'b'.repeat(after)}"}`, offset);
    t.same(wrong, []);
    t.end();
  },
);

t.test('a field that stands twice is refused, however it is written', async (t) => {
  for (const text of [
    '{"model":"a","model":"b"}',
    '{"model":"a","\\u006dodel":"b"}',
    '{"\\u006Dodel":"a","mod\\u0065l":"b"}',
    '{"model":{"x":1},"y":2,"model":null}',
    '{"stream":true,"model":"a","s\\u0074ream":false}',
  ]) {
    t.throws(() => read(text), { code: 'REQUEST_INVALID', message: /stands twice/ }, text);
  }
  t.doesNotThrow(() => read('{"model":"a","x":{"model":"b"},"y":[{"model":"c"}],"other":1,"other":2}'));
  t.equal(read('{"x":"\\"model\\":\\"b\\",","model":"a"}').values['model']?.start, 32);
});

t.test('names of the prototype are names like others', async (t) => {
  const { values } = read('{"constructor":1,"hasOwnProperty":2}', ['constructor', 'toString']);
  t.equal(values['toString'], undefined);
  t.ok(values['constructor']);
});

t.test('a field called __proto__ is refused wherever it stands and however it is written', async (t) => {
  for (const name of [
    '__proto__',
    '\\u005f_proto__',
    '__pr\\u006Fto__',
    Buffer.from('__proto__').toString('hex').replaceAll(/../g, '\\u00$&'),
  ]) {
    for (const text of [
      `{"${name}":{"isAdmin":true}}`,
      `{"model":"m","a":[1,{"b":{"${name}":null}}]}`,
      `{"x":"__proto__","${name}" : 1}`,
    ])
      t.throws(() => read(text), { code: 'REQUEST_INVALID', message: /__proto__/ }, text);
  }
  for (const text of [
    '{"a":"__proto__","b":["__proto__"],"__proto":1,"proto__":2,"___proto__":3,"__Proto__":4}',
    '{"a":"\\"__proto__\\":1","\\u00e9__proto":1,"\\\\u005f_proto__":1}',
  ])
    t.ok(accepts(text), text);
});

t.test('depth has a bound, and a deep body costs no stack', async (t) => {
  const nested = (depth: number): string => `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`;
  t.ok(accepts(nested(511)));
  t.throws(() => read(nested(512)), { code: 'REQUEST_INVALID', message: /deeper than 512/ });
  t.throws(() => read(`{"a":${'[{"a":'.repeat(2_000_000)}`), { code: 'REQUEST_INVALID' });
  t.ok(accepts(`${'{"a":'.repeat(512)}1${'}'.repeat(512)}`));
  t.throws(() => read(`${'{"a":'.repeat(513)}1${'}'.repeat(513)}`), { message: /deeper than 512/ });
});

t.test('many fields and long texts are read in linear time', async (t) => {
  const many = Buffer.from(
    `{${Array.from({ length: 200_000 }, (_, n) => `"f${n}":${n}`).join(',')},"model":"m"}`,
  );
  const long = Buffer.from(`{"model":"m","x":"${'y'.repeat(8 * 1024 * 1024)}"}`);
  const started = process.cpuUsage();
  t.ok(readTopLevel(many, ['model']).values['model']);
  t.ok(readTopLevel(long, ['model']).values['model']);
  t.ok(process.cpuUsage(started).user < 2_000_000, 'a quadratic scan takes minutes');
});

t.test('a splice changes the span and nothing else', async (t) => {
  const body = Buffer.from('{"model":"a","x":1}');
  const span = read(body).values['model'] as { start: number; end: number };
  const insert = { start: 1, end: 1, bytes: Buffer.from('"y":2,') };
  const spliced = splice(body, [{ ...span, bytes: Buffer.from('"longer"') }, insert]);
  t.equal(spliced.toString(), '{"y":2,"model":"longer","x":1}');
  t.equal(spliced.buffer.byteLength, spliced.length, 'it can be given back');
  t.equal(splice(body, []), body);
  t.throws(
    () =>
      splice(body, [
        { start: 1, end: 5, bytes: body },
        { start: 4, end: 6, bytes: body },
      ]),
    RangeError,
  );
});
