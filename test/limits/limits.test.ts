import t from 'tap';
import { addressGroup } from '../../src/limits/address-group.ts';
import { createBoundedMap } from '../../src/limits/bounded-map.ts';
import { createLimits } from '../../src/limits/limits.ts';
import { limitsContract } from './contract.ts';

limitsContract(t, (_t, authFailuresPerMinute) => {
  let now = 1_800_000_000_000;
  return {
    limits: createLimits({ clock: () => now, authFailuresPerMinute }),
    advance: (ms) => {
      now += ms;
    },
  };
});

t.test('a clock set back by a year makes nobody wait longer than a minute', (t) => {
  let now = 1_800_000_000_000;
  const limits = createLimits({ clock: () => now });
  const scope = { tokenId: 'tok_a', requestsPerMinute: 1, concurrentCalls: null };
  limits.admit(scope);
  now -= 365 * 86_400_000;
  t.throws(() => limits.admit(scope), { code: 'RATE_LIMITED' });
  now += 60_000;
  limits.admit(scope);
  for (let i = 0; i < 30; i += 1) limits.countAuthFailure('192.0.2.1');
  now -= 86_400_000;
  t.throws(() => limits.checkAuthFailures('192.0.2.1'), { code: 'RATE_LIMITED' });
  now += 2000;
  limits.checkAuthFailures('192.0.2.1');
  t.end();
});

t.test('a flood of tokens and addresses is forgotten oldest first, and running calls never', (t) => {
  const limits = createLimits({
    clock: () => 0,
    maxTokens: 100,
    maxAddresses: 100,
    authFailuresPerMinute: 1,
  });
  const held = { tokenId: 'tok_held', requestsPerMinute: null, concurrentCalls: 1 };
  limits.admit(held);
  for (let i = 0; i < 10_000; i += 1) {
    limits.admit({ tokenId: `tok_${i}`, requestsPerMinute: 1, concurrentCalls: 1 }).release();
    limits.countAuthFailure(`10.0.${i >> 8}.${i & 255}`);
  }
  t.throws(() => limits.admit(held), { code: 'RATE_LIMITED' });
  t.throws(() => limits.checkAuthFailures('10.0.39.15'), { code: 'RATE_LIMITED' });
  limits.checkAuthFailures('10.0.0.0');
  limits.admit({ tokenId: 'tok_0', requestsPerMinute: 1, concurrentCalls: 1 });
  t.end();
});

t.test('the bounded map stays within its bound, and grows only by what may not go', (t) => {
  const map = createBoundedMap<boolean>(10, (mayGo) => mayGo);
  for (let i = 0; i < 1000; i += 1) map.set(`x${i}`, true);
  t.equal(map.size, 10);
  t.equal(map.get('x989'), undefined);
  t.equal(map.get('x990'), true);
  for (let i = 0; i < 40; i += 1) map.set(`kept${i}`, false);
  t.equal(map.size, 40);
  map.delete('kept0');
  t.equal(map.size, 39);

  const busy = createBoundedMap<number>(100, () => true);
  for (let i = 0; i < 300; i += 1) {
    for (let known = 0; known < i; known += 1)
      if (busy.get(`${known}`) !== undefined) busy.set(`${known}`, i);
    busy.set(`${i}`, i);
    t.equal(busy.get(`${i}`), i);
  }
  t.equal(busy.size, 100, 'also where every entry is set anew before each new one');
  t.end();
});

t.test('addresses are grouped whatever way they are written', (t) => {
  const cases: [string, string][] = [
    ['192.0.2.1', '192.0.2.1'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['2001:DB8::', '2001:db8:0:0::/64'],
    ['2001:db8:0:0:1:2:3:4', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:0201', '192.0.2.1'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['', ''],
    ['x'.repeat(1000), 'x'.repeat(64)],
  ];
  for (const [ip, group] of cases) t.equal(addressGroup(ip), group);
  t.end();
});
