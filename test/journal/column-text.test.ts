import fc from 'fast-check';
import t from 'tap';
import { type ColumnValue, createColumnText } from '../../src/journal/column-text.ts';

/** PostgreSQL's array syntax, read back (8.15.6): elements between commas, NULL bare, the rest perhaps in quotes with backslashes. */
function read(array: string): (string | null)[] {
  const element = /(?:"((?:[^"\\]|\\.)*)"|([^",{}\\]+))(?=[,}])/gs;
  return [...array.matchAll(element)].map(([, quoted, bare]) =>
    quoted === undefined ? (bare === 'NULL' ? null : (bare as string)) : quoted.replaceAll(/\\(.)/gs, '$1'),
  );
}

t.test('a column is the values that were added, however often they repeat', async (t) => {
  const value = fc.oneof(
    fc.constantFrom<ColumnValue>(
      null,
      'null',
      'NULL',
      '',
      '1',
      1,
      1n,
      true,
      'true',
      '"',
      '\\',
      'a,b',
      '{}',
      'ü 😀\n',
    ),
    fc.string(),
  );
  const runs = fc.array(fc.tuple(value, fc.integer({ min: 1, max: 5 })), { maxLength: 20 });
  fc.assert(
    fc.property(runs, (all) => {
      const values = all.flatMap(([one, times]) => Array.from({ length: times }, () => one));
      const column = createColumnText();
      for (const one of values) column.add(one);
      const found = read(column.bytes().toString('utf8'));
      const expected = values.map((one) => (one === null ? null : String(one)));
      return JSON.stringify(found) === JSON.stringify(expected);
    }),
  );
  t.equal(createColumnText().bytes().toString('utf8'), '{}');
});
