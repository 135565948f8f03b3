import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { checkSecret, cutValue } from '../../src/vault/intake.ts';

const key = 'sk-test-abcdefghijklmnop0123456789';

/** Every form in which the key, or a piece of it, could have been left behind. */
function shows(bytes: Buffer, secret: string): boolean {
  return bytes.includes(secret) || bytes.includes(secret.slice(0, 8)) || bytes.includes(secret.slice(-8));
}

function refusal(text: string | Buffer): { readonly error: SallyportError; readonly body: Buffer } {
  const body = Buffer.from(text as string);
  try {
    cutValue(body);
  } catch (error) {
    if (error instanceof SallyportError) return { error, body };
    throw error;
  }
  throw new Error('it was taken');
}

t.test('the value is cut out, and the body holds it no longer', async (t) => {
  const body = Buffer.from(JSON.stringify({ name: 'main', value: key, description: 'für später' }));
  const { json, secret } = cutValue(body);
  t.strictSame(json, { name: 'main', description: 'für später' });
  t.equal(secret?.toString(), key);
  t.notOk(shows(body, key));
  t.equal(secret?.buffer.byteLength, key.length, 'in memory of its own');
});

t.test('escaped names and escaped characters are understood as bytes', async (t) => {
  for (const name of [
    'value',
    '\\u0076alue',
    'v\\u0061lu\\u0065',
    '\\u0076\\u0061\\u006c\\u0075\\u0065',
    '\\u0076\\u0061\\u006C\\u0075\\u0065',
  ]) {
    for (const [written, meant] of [
      ['sk-plain-0123', 'sk-plain-0123'],
      ['\\u0073k-\\u0070lain\\/0123', 'sk-plain/0123'],
      ['quote\\"and\\\\slash', 'quote"and\\slash'],
      ['\\u005c\\u0022both-01', '\\"both-01'],
    ] as const) {
      const body = Buffer.from(` { "name" : "x" ,\n"${name}"\t:\r"${written}" } `);
      const { json, secret } = cutValue(body);
      t.equal(secret?.toString(), meant);
      t.strictSame(json, { name: 'x' });
      t.notOk(body.includes(written), 'nor is the written form left');
    }
  }
});

t.test('only the top level counts: a nested value stays what it is', async (t) => {
  const body = Buffer.from(`{"tags":{"value":"inner"},"list":[{"value":1}],"values":"more","valu":"less"}`);
  const { json, secret } = cutValue(body);
  t.equal(secret, null);
  t.strictSame(json, { tags: { value: 'inner' }, list: [{ value: 1 }], values: 'more', valu: 'less' });
  t.strictSame(cutValue(Buffer.from('{"name":"x","value":null}')), { json: { name: 'x' }, secret: null });
  t.strictSame(cutValue(Buffer.from('{}')), { json: {}, secret: null });
});

t.test('two values are refused, whatever they are called, and the whole body is wiped', async (t) => {
  for (const second of ['"value"', '"\\u0076alue"', '"valu\\u0065"']) {
    const { error, body } = refusal(`{"value":"${key}",${second}:"${key}"}`);
    t.equal(error.code, 'REQUEST_INVALID');
    t.ok(body.every((byte) => byte === 0));
  }
});

t.test('what is no key is refused, and never echoed', async (t) => {
  const bad = [
    'short12',
    '',
    `${key}\\n`,
    ` ${key}`,
    `${key} ${key}`,
    `${key}\\u0000`,
    `${key}\\t`,
    `${key}ä`,
    `${key}\\u00e4`,
    `${key}\\ud83d\\ude00`,
    `${key}\\u007f`,
    'k'.repeat(8193),
  ];
  for (const written of bad) {
    const { error, body } = refusal(`{"name":"x","value":"${written}"}`);
    t.equal(error.code, 'KEY_FORMAT', written.slice(0, 50));
    t.equal(error.status, 422);
    t.notOk(`${error.message}${error.fix}${error.stack}`.includes('sk-test'));
    t.equal(error.cause, undefined);
    t.ok(body.every((byte) => byte === 0));
  }
  t.equal(cutValue(Buffer.from(`{"value":"${'k'.repeat(8192)}"}`)).secret?.length, 8192);
  t.equal(cutValue(Buffer.from(`{"value":"12345678"}`)).secret?.length, 8);
});

t.test('a value that is no string is refused', async (t) => {
  for (const written of ['1', 'true', '{"a":"sk-test-abcdefgh"}', '["sk-test-abcdefgh"]']) {
    const { error, body } = refusal(`{"value":${written}}`);
    t.equal(error.code, 'REQUEST_INVALID');
    t.strictSame(error.errors, [{ path: '/value', message: 'must be a string' }]);
    t.ok(body.every((byte) => byte === 0));
  }
});

t.test('malformed JSON is refused without a word of it, and wiped', async (t) => {
  const bad = [
    '',
    'null',
    `"${key}"`,
    `[{"value":"${key}"}]`,
    `{"value":"${key}`,
    `{"value":"${key}"`,
    `{"value":"${key}",}`,
    `{"value":"${key}"}}`,
    `{"value":"${key}"} x`,
    `{"value" "${key}"}`,
    `{value:"${key}"}`,
    `{"value":'${key}'}`,
    `{"value":"${key}","a":01}`,
    `{"value":"${key}","a":tru}`,
    `{"value":"${key}","a":"\\x"}`,
    `{"value":"${key}","a":"\\u12g4"}`,
    `{"value":"${key}","a":"\n"}`,
    `{"value":"${key}\\`,
    `{"value":"${key}\\u00`,
    `{"value":"${key}","a":${'['.repeat(100)}${']'.repeat(100)}}`,
    `\ufeff{"value":"${key}"}`,
    Buffer.concat([Buffer.from(`{"value":"${key}","a":"`), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
  ];
  for (const text of bad) {
    const { error, body } = refusal(text);
    t.equal(error.code, 'REQUEST_INVALID', String(text).slice(0, 70));
    t.notOk(`${error.message}${error.stack}`.includes('sk-test'));
    t.equal(error.cause, undefined);
    t.ok(body.every((byte) => byte === 0));
  }
  const large = refusal(`{"value":"${key}","a":"${'a'.repeat(70_000)}"}`);
  t.equal(large.error.code, 'BODY_TOO_LARGE');
  t.ok(large.body.every((byte) => byte === 0));
});

t.test('members called __proto__ and constructor stay data', async (t) => {
  const { json } = cutValue(Buffer.from(`{"__proto__":{"value":1},"constructor":2,"value":"${key}"}`));
  t.strictSame(Object.keys(json as object), ['__proto__', 'constructor']);
  t.equal(Object.getPrototypeOf(json), Object.prototype);
});

const printable = fc
  .array(fc.integer({ min: 0x21, max: 0x7e }), { minLength: 8, maxLength: 80 })
  .map((codes) => String.fromCharCode(...codes));

/** The same text, some characters written as \uXXXX or \/. */
function escaped(text: string, choices: readonly number[]): string {
  return text
    .split('')
    .map((char, index) => {
      const choice = choices[index % choices.length] ?? 0;
      if (choice === 1) return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
      if (choice === 2 && char === '/') return '\\/';
      return JSON.stringify(char).slice(1, -1);
    })
    .join('');
}

t.test(
  'for any body, key and way of writing them: the rest as JSON.parse reads it, the key exact and gone',
  async () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 }),
        printable,
        fc.array(fc.nat(2), { minLength: 1, maxLength: 20 }),
        fc.nat(4),
        (rest, secret, choices, position) => {
          // Through JSON once: -0 and the like have no JSON of their own.
          const members = Object.entries(JSON.parse(JSON.stringify(rest)) as object).filter(
            ([name]) => name !== 'value',
          );
          const texts = members.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
          const without = JSON.parse(`{${texts.join(',')}}`) as unknown;
          texts.splice(position, 0, `"${escaped('value', choices)}": "${escaped(secret, choices)}"`);
          const body = Buffer.from(`{${texts.join(',')}}`);
          const cut = cutValue(body);
          const isGone = !body.includes(`"${escaped(secret, choices)}"`);
          return (
            isGone &&
            cut.secret?.toString('latin1') === secret &&
            JSON.stringify(cut.json) === JSON.stringify(without)
          );
        },
      ),
      { numRuns: 300 },
    );
  },
);

t.test(
  'any bytes at all are read or refused with a code, and what is taken is what JSON.parse would have taken',
  async () => {
    const soup = fc.array(
      fc.constantFrom(
        '{',
        '}',
        '[',
        ']',
        '"',
        ':',
        ',',
        '\\',
        '\\u0076',
        'value',
        '"value"',
        ':"12345678"',
        '1',
        'null',
        ' ',
        '\n',
        'é',
        '-0.5e3',
        '\u0001',
      ),
      { maxLength: 14 },
    );
    fc.assert(
      fc.property(soup, (parts) => {
        const text = parts.join('');
        const expected = ((): unknown => {
          try {
            return JSON.parse(text);
          } catch {
            return undefined;
          }
        })();
        try {
          const { json, secret } = cutValue(Buffer.from(text));
          const whole = secret === null ? {} : { value: secret.toString() };
          const { value: _, ...rest } = expected as Record<string, unknown>;
          return (
            JSON.stringify(json) === JSON.stringify(rest) &&
            (secret === null || (expected as { value: unknown }).value === whole.value)
          );
        } catch (error) {
          return error instanceof SallyportError;
        }
      }),
      { numRuns: 3000 },
    );
  },
);

t.test('a key from another door is checked by the same bounds', async (t) => {
  t.doesNotThrow(() => checkSecret(Buffer.from(key)));
  for (const bad of ['1234567', 'with space', 'k'.repeat(8193), 'line\nbreak']) {
    t.throws(() => checkSecret(Buffer.from(bad)), { code: 'KEY_FORMAT' });
  }
});

t.test('a token of our own is not taken for a provider key', async (t) => {
  for (const token of ['spt_0123456789abcdef', 'spa_0123456789abcdef', 'sps_0123456789abcdef']) {
    t.throws(() => checkSecret(Buffer.from(token)), { code: 'KEY_FORMAT', message: /own/ });
  }
  t.doesNotThrow(() => checkSecret(Buffer.from('sk-0123456789')));
});
