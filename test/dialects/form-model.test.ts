import fc from 'fast-check';
import t from 'tap';
import { isForm, readFormModel } from '../../src/dialects/form-model.ts';

const boundary = '----formdata-0123';
const type = `multipart/form-data; boundary=${boundary}`;
const delimiter = `--${boundary}`;

function part(headers: string, value: string): string {
  return `${delimiter}\r\n${headers}\r\n\r\n${value}\r\n`;
}
const field = (name: string, value: string): string =>
  part(`Content-Disposition: form-data; name="${name}"`, value);
const file = part(
  'Content-Disposition: form-data; name="file"; filename="a;b \\"c\\".wav"\r\nContent-Type: audio/wav',
  'RIFF\r\n\0name="model"\r\n\r\n-- x',
);
const end = `${delimiter}--\r\n`;
const read = (text: string, isWhole = true, contentType = type) =>
  readFormModel(contentType, Buffer.from(text), isWhole);

t.test('the field model is found wherever it stands, and where its value is', async (t) => {
  for (const form of [
    field('model', 'whisper-1') + file + end,
    file + field('model', 'whisper-1') + end,
    file + field('language', 'en') + field('model', 'whisper-1') + file + end,
    file + part('content-disposition:form-data;name=model', 'whisper-1') + `${delimiter}--`,
    part(
      'Content-Type: text/plain; charset=UTF-8\r\nContent-Disposition: form-data; name="model";\r\nContent-Length: 9',
      'whisper-1',
    ) + end,
    part(
      'X-Other:\r\nContent-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: 8bit',
      'whisper-1',
    ) + end,
  ]) {
    const found = read(form);
    t.equal(found?.model, 'whisper-1', form);
    t.equal(form.slice(found?.span.start, found?.span.end), 'whisper-1');
  }
  t.equal(read(field('model', 'größe') + end)?.model, 'größe');
  t.equal(read(field('model', '') + end)?.model, '');
  t.equal(read(file + field('other', 'model') + end), null);
  t.equal(read(end), null);
  for (const contentType of [
    `multipart/form-data; boundary="${boundary}"`,
    `Multipart/Form-Data;charset=utf-8;Boundary=${boundary} ; x=y`,
  ])
    t.equal(read(field('model', 'm') + end, true, contentType)?.model, 'm', contentType);
});

t.test('the start of a form says what the whole says, or nothing', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(file, field('language', 'en'), field('prompt', 'x'.repeat(40)))),
      fc.array(fc.constantFrom(file, field('language', 'en'))),
      fc.nat(),
      (before, after, cut) => {
        const form = Buffer.from([...before, field('model', 'whisper-1'), ...after, end].join(''));
        const whole = readFormModel(type, form, true);
        const start = form.subarray(0, cut % (form.length + 1));
        const found = readFormModel(type, start, false);
        const isThere = start.length >= (whole?.span.end ?? 0) + 2 + delimiter.length;
        return isThere ? JSON.stringify(found) === JSON.stringify(whole) : found === null;
      },
    ),
    { numRuns: 500 },
  );
});

t.test('what two readers could take for two models is refused', async (t) => {
  const m = (name: string) => part(`Content-Disposition: form-data; ${name}`, 'm');
  for (const [why, form, contentType] of [
    ['twice', field('model', 'a') + file + field('model', 'b') + end],
    ['text before the first boundary', `hello\r\n${field('model', 'a')}${end}`],
    ['a line end without \\r', (field('model', 'a') + end).replaceAll('\r\n', '\n')],
    ['a boundary after \\n alone', part('Content-Disposition: form-data; name="x"', `y\n${delimiter}`) + end],
    ['a boundary in the middle of a line', field('x', `y${delimiter}\r\nz`) + end],
    ['another boundary that begins alike', field('x', `y\r\n${delimiter}more\r\nz`) + end],
    ['space after a boundary', field('x', `y\r\n${delimiter} \r\nz`) + end],
    ['more after the end', end + field('model', 'a') + end],
    ['no end', field('model', 'a')],
    [
      'headers without end',
      `${delimiter}\r\nContent-Disposition: form-data; name="model"\r\n${delimiter}--\r\n`,
    ],
    ['long headers', part(`X: ${'x'.repeat(9000)}`, 'a') + end],
    ['a folded header', part('Content-Disposition: form-data;\r\n name="model"', 'a') + end],
    ['a space before the colon', part('Content-Disposition : form-data; name="model"', 'a') + end],
    [
      'a header twice',
      part('Content-Disposition: form-data; name="x"\r\ncontent-disposition: form-data; name="model"', 'a') +
        end,
    ],
    [
      '\\n in a header',
      part('Content-Disposition: form-data; name="x"\nContent-Disposition: form-data; name="model"', 'a') +
        end,
    ],
    ['a name twice', m('name="x"; name="model"') + end],
    ['an extended name', m("name*=utf-8''model") + end],
    ['an escaped name', m('name="mo\\del"') + end],
    ['a percent-encoded name', m('name="mode%6c"') + end],
    ['a name with space', m('name=" model"') + end],
    ['a name in capitals', m('name="MODEL"') + end],
    ['a file called model', m('name="model"; filename="x"') + end],
    ['quotes that do not close', m('name="model') + end],
    ['no field', part('Content-Disposition: attachment; name="model"', 'a') + end],
    [
      'base64',
      part('Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64', 'YQ==') + end,
    ],
    [
      'utf-16',
      part('Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-16', 'a') +
        end,
    ],
    [
      'JSON',
      part('Content-Disposition: form-data; name="model"\r\nContent-Type: application/json', '"a"') + end,
    ],
    ['two lines', field('model', 'a\r\nb') + end],
    ['NUL', field('model', 'a\0') + end],
    ['a long model', field('model', 'a'.repeat(1025)) + end],
    ['no boundary', field('model', 'a') + end, 'multipart/form-data'],
    ['two boundaries', field('model', 'a') + end, `${type}; boundary=x`],
    ['a continued boundary', field('model', 'a') + end, `${type}; boundary*0=x`],
    ['a long boundary', field('model', 'a') + end, `multipart/form-data; boundary=${'x'.repeat(71)}`],
  ] as const)
    t.throws(() => read(form, true, contentType), { code: 'REQUEST_INVALID' }, why);
  t.throws(
    () => readFormModel(type, Buffer.from(field('model', '\u00e9') + end, 'latin1'), true),
    { code: 'REQUEST_INVALID' },
    'not UTF-8',
  );
});

t.test('whatever bytes come, they are read or refused', async (t) => {
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom(
          delimiter,
          '\r\n',
          '--',
          '\n',
          'Content-Disposition: form-data; ',
          'name="model"',
          ';',
          '"',
          '\\',
          'x',
          ':',
        ),
        { maxLength: 40 },
      ),
      fc.boolean(),
      (pieces, isWhole) => {
        try {
          const text = pieces.join('');
          const found = read(text, isWhole);
          return found === null || text.slice(found.span.start, found.span.end) === found.model;
        } catch (error) {
          return (error as { code?: string }).code === 'REQUEST_INVALID';
        }
      },
    ),
    { numRuns: 3000 },
  );
  const at = performance.now();
  for (const hostile of [
    `${delimiter}\r\n`.repeat(60_000),
    part(`Content-Disposition: form-data; ${'name="'.repeat(1200)}`, ''),
    part(`Content-Disposition: form-data; ${';'.repeat(8000)}`, ''),
    field('x', '-'.repeat(2_000_000)) + end,
  ]) {
    try {
      read(hostile);
    } catch {}
  }
  t.ok(performance.now() - at < 2000);
});

t.test('only a form is one', (t) => {
  for (const contentType of [
    'multipart/form-data',
    'Multipart/Form-Data; boundary=x',
    'multipart/form-data ;x',
  ])
    t.ok(isForm(contentType), contentType);
  for (const contentType of [undefined, '', 'multipart/mixed', 'multipart/form-data2', 'application/json'])
    t.notOk(isForm(contentType));
  t.end();
});
