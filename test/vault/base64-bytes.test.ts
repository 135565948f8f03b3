import fc from 'fast-check';
import t from 'tap';
import { fromBase64, memberText, toBase64 } from '../../src/vault/base64-bytes.ts';
import { decodeContext, encodeContext } from '../../src/vault/context.ts';

t.test('bytes go to base64 and back as Node writes it, whatever they are', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = toBase64(bytes);
      return (
        text.toString('latin1') === Buffer.from(bytes).toString('base64') &&
        fromBase64(text)?.equals(bytes) === true
      );
    }),
  );
  t.pass();
});

t.test('what is not strict base64 is nothing', async (t) => {
  for (const bad of [
    'A',
    'AA',
    'AAA',
    'AA=A',
    'A===',
    'AAAA=',
    'AB==',
    'AAB=',
    'AA A',
    'AA-_',
    'AAA\n',
    '====',
    'ÄAAA',
  ])
    t.equal(fromBase64(Buffer.from(bad, 'utf8')), null, bad);
  t.equal(fromBase64(Buffer.alloc(0))?.length, 0);
});

t.test('a member’s text is found, and one with an escape is not', async (t) => {
  const json = Buffer.from('{"data": {"ciphertext" :\n "vault:v1:AA==", "b":"x\\"y"}}');
  t.equal(memberText(json, 'ciphertext')?.toString(), 'vault:v1:AA==');
  t.equal(memberText(json, 'b'), null);
  t.equal(memberText(json, 'c'), null);
  t.equal(memberText(Buffer.from('{"a":1}'), 'a'), null);
  t.equal(memberText(Buffer.from('{"a":"cut'), 'a'), null);
});

t.test('a context is read back as it was written, and nothing else is read as one', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), { maxLength: 6 }), (fields) => {
      const context = encodeContext(fields);
      const back = decodeContext(context);
      return back.length === fields.length && back.every((field, i) => field === fields[i]);
    }),
  );
  const context = encodeContext(['ws', 'dep_1']);
  for (const bad of [context.subarray(1), context.subarray(0, -1), Buffer.concat([context, Buffer.alloc(3)])])
    t.throws(() => decodeContext(bad), RangeError);
  t.throws(() => decodeContext(Buffer.from([0, 0, 0, 1, 0xff])), RangeError);
});
