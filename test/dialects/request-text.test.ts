import t from 'tap';
import { textBytesOf } from '../../src/dialects/request-text.ts';

t.test('what is asked in text counts by its length, also behind white space, and no form does', (t) => {
  for (const body of ['{"a":"b"}', '\r\n\t {"a":"b"}\n'])
    t.equal(textBytesOf(Buffer.from(body)), body.length);
  for (const body of ['', ' ', '--line\r\n\r\n{"a":"b"}']) t.equal(textBytesOf(Buffer.from(body)), null);
  t.end();
});

t.test('a picture is found wherever it stands', (t) => {
  const picture = Buffer.alloc(960, 'gateway').toString('base64');
  for (let before = 0; before < 1100; before += 1) {
    const body = JSON.stringify({ text: ' '.repeat(before), picture });
    if (textBytesOf(Buffer.from(body)) !== null) t.fail(`behind ${before} spaces`);
  }
  t.end();
});
