import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { readTopLevel } from '../../src/dialects/top-level.ts';

const root = path.join(import.meta.dirname, '..', '..');
/** Three pages less what lies before the window and behind it. */
const windowBytes = 3 * 65_536 - 2048 - 64;

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** What the reader finds of "k", parsed; undefined where it refuses. */
const found = (body: Buffer): unknown => {
  try {
    const span = readTopLevel(body, ['k']).values['k'];
    return span === undefined ? null : parsed(body.toString('utf8', span.start, span.end));
  } catch (error) {
    if ((error as { code?: string }).code !== 'REQUEST_INVALID') throw error;
    return undefined;
  }
};

t.test('json-scan.wasm is made of json-scan.wat', async (t) => {
  const folder = t.testdir();
  const made = path.join(folder, 'made.wasm');
  execFileSync(path.join(root, 'node_modules/.bin/wat2wasm'), ['src/dialects/json-scan.wat', '-o', made], {
    cwd: root,
  });
  t.ok(
    readFileSync(made).equals(readFileSync(path.join(root, 'src/dialects/json-scan.wasm'))),
    'npm run wasm',
  );
});

t.test('where a window ends changes nothing', async (t) => {
  const endings = [
    '"k":"plain","z":{"k":1}}',
    '"k":"a\\"b\\\\c\\u00e9\\n—😀","k2":[]}',
    '"k":-12.5e+30,"\\u006b2":[true,false,null]}',
    '"k" : [ {"a" : {"__proto" : [ ] } } , 0 , 1.5E-3 ] , "x":{ } }  \n ',
    '"\\u006b":{"a\\u0062c":"d"}}',
    '"k":1}',
    '"k":tru,"a":1}',
    '"k":"\\x"}',
    '"k":"\\u12g4"}',
    '"k":01}',
    '"k":1.}',
    '"k":[1,]}',
    '"k":"unended',
    '"k":12',
    '"k":{"__proto__":1}}',
    '"k":{"\\u005f_proto__":1}}',
    '"k":1}}',
    '"k":1,"k":2}',
    `"k":1,"${'long'.repeat(30)}":2,"${'l\\u006fng'.repeat(30)}":{"${'l\\u006fng'.repeat(30)}":3}}`,
  ];
  const wrong: string[] = [];
  for (const ending of endings) {
    const expected = found(Buffer.from(`{${ending}`));
    const size = Buffer.byteLength(ending);
    // The opening brace is not in the window; the first one ends before each byte of the ending once.
    for (let before = 0; before <= size; before += 1) {
      const fill = windowBytes - before - Buffer.byteLength('"f":"",');
      for (const body of [
        `{"f":"${'x'.repeat(fill)}",${ending}`,
        `{${' '.repeat(windowBytes - before)}${ending}`,
      ])
        if (JSON.stringify(found(Buffer.from(body))) !== JSON.stringify(expected))
          wrong.push(`${before} of ${ending}`);
    }
  }
  t.same(wrong, []);
});

t.test('strings and names may be longer than a window, numbers may not', async (t) => {
  const long = 'x'.repeat(3 * windowBytes + 7);
  t.equal(found(Buffer.from(`{"a":"${long}","k":2}`)), 2);
  t.equal(found(Buffer.from(`{"k":"${long}\\n${long}"}`)), `${long}\n${long}`);
  t.equal(found(Buffer.from(`{"${long}":{"${long}":1},"k":3}`)), 3);
  t.equal(found(Buffer.from(`{"a":${'1'.repeat(windowBytes - 100)},"k":4}`)), 4);
  t.equal(found(Buffer.from(`{"a":${'1'.repeat(windowBytes + 100)},"k":4}`)), undefined);
});

t.test('of any bytes it takes what JSON.parse takes, and ends', async () => {
  const pieces = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '"k"',
    '"a":',
    '1',
    '-',
    '.5',
    'e',
    '0',
    'true',
    'nul',
    ' ',
  ];
  const noise = [
    ...pieces,
    '\n',
    '\u0000',
    '\u001f',
    'é',
    '\\u00',
    '\\u0041',
    '\\"',
    '{"k":',
    '{}',
    '[]',
    '"x",',
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...noise), { maxLength: 24 }), (parts) => {
      for (const text of [parts.join(''), `{"k":${parts.join('')}}`]) {
        const value = parsed(text);
        const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
        // Of two it takes none, where JSON.parse takes the last.
        const isTwice = (text.match(/"k" *:/g)?.length ?? 0) > 1;
        if (isTwice && isObject) continue;
        const expected = isObject ? ((value as { k?: unknown }).k ?? null) : undefined;
        if (JSON.stringify(found(Buffer.from(text))) !== JSON.stringify(expected)) return false;
      }
      return true;
    }),
    { numRuns: 20_000 },
  );
});

t.test('a scan leaves nothing behind for the next', async () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), fc.jsonValue(), (garbage, value) => {
      found(Buffer.from(`{"k":[{"a":${garbage}`));
      return JSON.stringify(found(Buffer.from(JSON.stringify({ k: value })))) === JSON.stringify(value);
    }),
    { numRuns: 500 },
  );
});
