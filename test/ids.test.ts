import t from 'tap';
import { isId, newId } from '../src/ids.ts';

t.test('an id is a UUIDv7: made at a time, sorted by it, and never made twice', async (t) => {
  const now = 1_767_323_045_678;
  const ids = Array.from({ length: 10_000 }, () => newId('call', now));
  t.equal(new Set(ids).size, ids.length);
  t.ok(ids.every((id) => isId('call', id)));
  // RFC 9562, 5.7: 48 bits of time, version 7, 12 random bits, variant 10, 62 random bits.
  t.ok(ids.every((id) => /^call_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/.test(id)));
  t.ok(ids.every((id) => Number.parseInt(id.slice(5, 17), 16) === now));
  t.ok(newId('call', now) < newId('call', now + 1));
  t.ok(newId('call', 1) < newId('call', now), 'early times have as many digits');
});

t.test('every random digit of an id takes every value', async (t) => {
  const ids = Array.from({ length: 2000 }, () => newId('key', 1).slice('key_'.length));
  for (const [at, count] of Array.from(
    { length: 32 },
    (_, i) => [i, i < 13 ? 1 : i === 16 ? 4 : 16] as const,
  )) {
    t.equal(new Set(ids.map((id) => id[at])).size, count, `digit ${at}`);
  }
});
