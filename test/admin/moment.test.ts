import t from 'tap';
import { readMoment } from '../../src/admin/moment.ts';
import { readPeriod } from '../../src/admin/period.ts';
import { placeOf, toList } from '../../src/admin/paging.ts';

t.test('times of RFC 3339 are read, and told in UTC', (t) => {
  for (const [text, told] of [
    ['2027-12-31T23:59:59Z', '2027-12-31T23:59:59.000Z'],
    ['2027-12-31T23:59:59.5+02:00', '2027-12-31T21:59:59.500Z'],
    ['2028-02-29', '2028-02-29T00:00:00.000Z'],
    ['2027-01-01T00:00:00.123456789Z', '2027-01-01T00:00:00.123Z'],
  ] as const) {
    t.equal(readMoment('/at', text).toISOString(), told);
  }
  for (const text of [
    '',
    '2027',
    '2027-02-29',
    '2027-13-01',
    '2027-00-10',
    '2027-01-00',
    '2027-01-01T24:00:00Z',
    '2027-01-01T00:60:00Z',
    '2027-01-01T00:00:00',
    '2027-01-01 00:00:00Z',
    '0001-01-01T00:00:00Z',
    '9999-12-31T23:59:59Z',
    '2027-01-01T00:00:00+25:00',
    ' 2027-01-01',
    '２０２７-01-01',
  ]) {
    t.throws(() => readMoment('/at', text), { code: 'REQUEST_INVALID', errors: [{ path: '/at' }] }, text);
  }
  t.end();
});

t.test('a period is the last 30 days unless told, and says whether hours are enough', (t) => {
  const now = Date.UTC(2026, 2, 31, 10, 20);
  const usual = readPeriod({}, now);
  t.equal(usual.from.toISOString(), '2026-03-01T10:00:00.000Z');
  t.ok(usual.isByHour);
  t.ok(readPeriod({ from: '2026-03-01', to: '2026-03-02' }, now).isByHour);
  t.notOk(readPeriod({ from: '2026-03-01', to: '2026-03-02T00:00:01Z' }, now).isByHour);
  t.notOk(readPeriod({ from: '2026-03-01T00:00:01Z' }, now).isByHour);
  t.throws(() => readPeriod({ from: '2026-03-03', to: '2026-03-02' }, now), { code: 'REQUEST_INVALID' });
  t.end();
});

t.test('a cursor leads to the next page, and nothing else is one', (t) => {
  const rows = ['c', 'b', 'a'];
  const view = (row: string): string => row;
  const first = toList(rows, { limit: 2 }, (row) => [row], view);
  t.same(first.data, ['c', 'b']);
  t.same(placeOf({ cursor: first.nextCursor ?? '' }, [/^[a-z]$/]), ['b']);
  t.equal(toList(rows, { limit: 3 }, (row) => [row], view).nextCursor, null);
  const cursorOf = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  for (const cursor of [
    '',
    '!',
    'e30',
    cursorOf(['B']),
    cursorOf(['a', 'b']),
    cursorOf([1]),
    cursorOf('a'),
    cursorOf([['a']]),
  ]) {
    t.throws(() => placeOf({ cursor }, [/^[a-z]$/]), { code: 'REQUEST_INVALID' }, cursor);
  }
  t.end();
});
