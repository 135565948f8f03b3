import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { parseSealSecret, sealSecretText } from '../../src/seal-text.ts';

const ikms = fc.uint8Array({ minLength: 32, maxLength: 32 });

t.test('any seal secret has one text, and the text gives the secret back', async () => {
  fc.assert(
    fc.property(ikms, (ikm) => {
      const text = sealSecretText(ikm);
      return /^sps_[\w-]{43}[0-9A-Za-z]{6}$/.test(text) && parseSealSecret(text)?.equals(ikm) === true;
    }),
  );
});

t.test('a typo is told from a secret: any character changed, cut or added', async (t) => {
  const text = sealSecretText(randomBytes(32));
  for (let at = 0; at < text.length; at += 1) {
    for (const letter of ['A', 'b', '_', '-', ' ', '=']) {
      if (text[at] === letter) continue;
      if (parseSealSecret(text.slice(0, at) + letter + text.slice(at + 1)) !== null)
        t.fail(`${letter} at ${at}`);
    }
    if (parseSealSecret(text.slice(0, at)) !== null) t.fail(`${at} characters`);
  }
  t.equal(parseSealSecret(`${text}0`), null);
  t.equal(parseSealSecret(` ${text}`), null);
  t.equal(parseSealSecret(`${text}\n`), null);
  t.equal(parseSealSecret(text.replace('sps_', 'spt_')), null);
});

t.test('the secret comes in memory of its own, and only of 32 bytes', async (t) => {
  t.equal(parseSealSecret(sealSecretText(randomBytes(32)))?.buffer.byteLength, 32);
  for (const length of [0, 31, 33]) t.throws(() => sealSecretText(randomBytes(length)), RangeError);
});

t.test('a text whose last character carries bits of nothing is refused, checksum or not', async (t) => {
  const { checksum } = await import('../../src/ids.ts');
  const zeros = `sps_${'A'.repeat(42)}`;
  t.ok(parseSealSecret(`${zeros}A${checksum(`${zeros}A`)}`)?.every((byte) => byte === 0));
  t.equal(parseSealSecret(`${zeros}B${checksum(`${zeros}B`)}`), null);
});
