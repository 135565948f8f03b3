import t from 'tap';
import { createKeyCache } from '../../src/vault/key-cache.ts';

function cacheAt(limit = 2) {
  const time = { now: 1_000_000 };
  return { time, cache: createKeyCache<string>({ limit, maxAgeMs: 300_000, clock: () => time.now }) };
}

t.test('the least recently used goes first', async (t) => {
  const { cache } = cacheAt();
  cache.set('a', 'A');
  cache.set('b', 'B');
  t.equal(cache.get('a'), 'A');
  cache.set('c', 'C');
  t.equal(cache.get('b'), undefined);
  t.equal(cache.get('a'), 'A');
  t.equal(cache.size, 2);
});

t.test('a new one stays also where every other was used', async (t) => {
  const { cache } = cacheAt();
  for (const id of ['a', 'b']) cache.set(id, id);
  for (const id of ['a', 'b']) cache.get(id);
  cache.set('c', 'c');
  t.equal(cache.get('c'), 'c');
  t.equal(cache.size, 2);
});

t.test('a hard age: use does not prolong a life', async (t) => {
  const { cache, time } = cacheAt();
  cache.set('a', 'A');
  for (let i = 0; i < 5; i += 1) {
    time.now += 59_999;
    t.equal(cache.get('a'), 'A');
  }
  time.now += 5;
  t.equal(cache.get('a'), undefined);
  t.equal(cache.size, 0);
});

t.test('a clock set back does not prolong it either', async (t) => {
  const { cache, time } = cacheAt();
  cache.set('a', 'A');
  time.now -= 300_000;
  t.equal(cache.get('a'), undefined);
});

t.test('sweeping drops what nobody asks for', async (t) => {
  const { cache, time } = cacheAt();
  cache.set('a', 'A');
  time.now += 200_000;
  cache.set('b', 'B');
  time.now += 100_000;
  cache.sweep();
  t.equal(cache.size, 1);
  t.equal(cache.get('b'), 'B');
  cache.deleteWhere((id) => id === 'b');
  t.equal(cache.size, 0);
});
