import fc from 'fast-check';
import t from 'tap';
import { AnswerSearch } from '../../src/egress/answer-search.ts';
import { keyForms } from '../../src/egress/key-forms.ts';
import { testKey } from '../support/egress-call.ts';

function formsOf(key: string): Buffer[] {
  const { bytes, ends } = keyForms(Buffer.from(key, 'latin1'));
  return ends.map((end, i) => Buffer.from(bytes.subarray(i === 0 ? 0 : ends[i - 1], end)));
}

/** What the gateway sends on of an answer that comes in these pieces. */
function cleaned(key: string, pieces: readonly (Buffer | string)[]): { text: string; found: number } {
  const search = new AnswerSearch(Buffer.from(key, 'latin1'));
  const out = pieces.map((piece) =>
    Buffer.from(search.push(Buffer.from(piece as string))).toString('latin1'),
  );
  out.push(search.end().toString('latin1'));
  const { found } = search;
  search.wipe();
  return { text: out.join(''), found };
}

/** The same, as simply as it can be said: every byte of every occurrence. */
function expected(key: string, whole: Buffer): string {
  const out = Buffer.from(whole);
  for (const form of formsOf(key)) {
    for (let at = whole.indexOf(form); at >= 0; at = whole.indexOf(form, at + 1))
      out.fill(key.includes('*') ? ' ' : '*', at, at + form.length);
  }
  return out.toString('latin1');
}

t.test('a key is replaced in whatever way a program writes it down', async (t) => {
  const keys = [
    testKey,
    `gsk_${'aB3'.repeat(40)}`,
    'with"quote\\and/slash+plus',
    `all!'()*~&<>?#[]{}|`,
    'sk-==',
  ];
  for (const key of keys) {
    const bytes = Buffer.from(key, 'latin1');
    const written: Record<string, string> = {
      raw: key,
      'JSON-escaped': JSON.stringify(key).slice(1, -1),
      'JSON-escaped by PHP': JSON.stringify(key).slice(1, -1).replaceAll('/', '\\/'),
      'URL-escaped': encodeURIComponent(key),
      'URL-escaped in small letters': encodeURIComponent(key).replaceAll(/%../g, (e) => e.toLowerCase()),
      'URL-escaped throughout': encodeURIComponent(key).replaceAll(
        /[!'()*]/g,
        (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
      ),
      'in a form': new URLSearchParams({ key }).toString().slice(4),
      hex: bytes.toString('hex'),
      HEX: bytes.toString('hex').toUpperCase(),
    };
    for (const [name, form] of Object.entries(written)) {
      const { text, found } = cleaned(key, [`{"error":"key ${form} is wrong"}`]);
      t.match(text, /^\{"error":"key [ *]+ is wrong"\}$/, `${key} ${name}`);
      t.equal(text.length, form.length + '{"error":"key  is wrong"}'.length);
      t.ok(found > 0);
    }
    // Base64 of a longer text, as in `Basic user:key`: what the neighbours share with the key is left, 2 digits on either side.
    for (const encoding of ['base64', 'base64url'] as const) {
      for (const before of ['', 'u', 'us', 'use', 'user:']) {
        const coded = Buffer.from(`${before}${key}:after`).toString(encoding);
        const { text } = cleaned(key, [coded]);
        const left = text.replaceAll(/[* ]+/g, '*');
        const first = Math.ceil((8 * before.length) / 6);
        const last = Math.floor((8 * (before.length + key.length)) / 6);
        t.equal(
          left,
          `${coded.slice(0, first)}*${coded.slice(last)}`,
          `${key} ${encoding} behind "${before}"`,
        );
      }
    }
  }
});

t.test('cut in two at any byte, a key is found in every form', async (t) => {
  for (const form of formsOf(testKey)) {
    const whole = Buffer.concat([Buffer.from('data: sk-pro '), form, Buffer.from(' sk-proj-T3\n\n')]);
    const wanted = expected(testKey, whole);
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const { text, found } = cleaned(testKey, [whole.subarray(0, cut), whole.subarray(cut)]);
      if (text !== wanted || found !== 1)
        t.same({ text, found }, { text: wanted, found: 1 }, `cut at ${cut}`);
    }
    const bytewise = Array.from(whole, (byte) => Buffer.from([byte]));
    t.same(cleaned(testKey, bytewise), { text: wanted, found: 1 }, 'byte by byte');
  }
});

t.test('only what may be the beginning of a key is held back', async (t) => {
  const search = new AnswerSearch(Buffer.from(testKey));
  t.equal(search.push(Buffer.from('data: {"x":1}\n\n')).toString(), 'data: {"x":1}\n\n');
  t.equal(search.push(Buffer.from('a sk-proj')).toString(), 'a ');
  t.equal(search.push(Buffer.from('ect')).toString(), 'sk-project');
  t.equal(search.push(Buffer.from('task')).toString(), 'ta');
  t.equal(search.end().toString(), 'sk', 'what was held comes at the end');
  t.equal(search.end().length, 0);
  search.wipe();
});

t.test(
  'whatever the key and however the answer is cut, no form of it is left and all else is as it came',
  async () => {
    const letter = fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom('a', 'b') },
      { weight: 1, arbitrary: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)) },
    );
    const key = fc.array(letter, { minLength: 1, maxLength: 12 }).map((letters) => letters.join(''));
    fc.assert(
      fc.property(
        key.chain((text) => {
          const forms = formsOf(text);
          const piece = fc.oneof(
            fc.constantFrom(...forms),
            // Beginnings and ends of forms, which together may make a whole one.
            fc
              .tuple(fc.constantFrom(...forms), fc.nat(20), fc.nat(20))
              .map(([form, from, to]) => form.subarray(from, to)),
            fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
            fc.constantFrom(Buffer.from('a'), Buffer.from('ab'), Buffer.from('aa')),
          );
          return fc.tuple(fc.constant(text), fc.array(piece, { maxLength: 12 }));
        }),
        fc.array(fc.nat(60), { maxLength: 12 }),
        ([text, parts], cuts) => {
          const whole = Buffer.concat(parts);
          const pieces: Buffer[] = [];
          let at = 0;
          for (const size of cuts) {
            pieces.push(whole.subarray(at, at + size));
            at += size;
          }
          pieces.push(whole.subarray(at));
          const wanted = expected(text, whole);
          const got = cleaned(text, pieces).text;
          if (got !== wanted) throw new Error(`${JSON.stringify(got)} is not ${JSON.stringify(wanted)}`);
          for (const form of formsOf(text))
            if (got.includes(form.toString('latin1'))) throw new Error('left');
        },
      ),
      { numRuns: 3000 },
    );
  },
);

t.test('a key that repeats itself costs no square of the answer', async (t) => {
  const started = process.cpuUsage();
  for (const key of ['a'.repeat(8), 'ab'.repeat(100), `${'a'.repeat(200)}b`]) {
    const text = 'a'.repeat(2 ** 20);
    t.equal(cleaned(key, [text, 'ab'.repeat(2 ** 19)]).text, expectedRun(key, text));
  }
  t.ok(process.cpuUsage(started).user < 2_000_000, 'one look for each place takes minutes');
});

/** Of a run of `a` and one of `ab`. */
function expectedRun(key: string, text: string): string {
  const second = 'ab'.repeat(2 ** 19);
  if (key[1] === 'b') return text + '*'.repeat(second.length);
  if (key.endsWith('b')) return `${text.slice(0, -199)}${'*'.repeat(201)}${second.slice(2)}`;
  return `${'*'.repeat(text.length + 1)}${second.slice(1)}`;
}

t.test('while it waits it holds the key in no form, and wiped it holds nothing', async (t) => {
  const key = Buffer.from(testKey);
  const search = new AnswerSearch(key);
  search.push(Buffer.from('x'));
  search.wipe();
  t.equal(key.toString(), testKey, 'the key is its owner’s to wipe');
  t.equal(
    search.push(Buffer.from(`${testKey} sk`)).toString(),
    `${testKey} sk`,
    'nothing is left to look for',
  );
});
