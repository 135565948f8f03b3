import fc from 'fast-check';
import t from 'tap';
import { failureOfAnswer } from '../../src/gateway/attempt-failure.ts';
import { retryAfterMs } from '../../src/gateway/retry-after.ts';

const now = Date.parse('2026-07-01T12:00:00Z');
const dayMs = 24 * 3600 * 1000;

t.test(
  'a provider says how long to wait in milliseconds, seconds or by a date, the most exact first',
  async (t) => {
    const read = (headers: readonly (readonly [string, string])[]): number | null =>
      retryAfterMs(headers, now);
    t.equal(read([['retry-after', '2']]), 2000);
    t.equal(read([['retry-after', '0.5']]), 500);
    t.equal(read([['retry-after', 'Wed, 01 Jul 2026 12:00:07 GMT']]), 7000);
    t.equal(read([['retry-after', 'Wed, 01 Jul 2020 12:00:00 GMT']]), 0, 'a date that is past');
    t.equal(
      read([
        ['retry-after', '3'],
        ['retry-after-ms', '120'],
      ]),
      120,
    );
    t.equal(
      read([
        ['retry-after', '3'],
        ['retry-after-ms', 'soon'],
      ]),
      3000,
    );
    t.equal(read([['retry-after', '999999999']]), dayMs, 'bounded');
    for (const nonsense of ['', '-1', '1e9', 'soon', '0x10', '12 Jul', ' ', '9'.repeat(400)])
      t.equal(read([['retry-after', nonsense]]), null, nonsense.slice(0, 10));
    t.equal(read([]), null);
  },
);

t.test('whatever a provider writes there, the wait is null or within a day', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.double().map(String), fc.date().map(String)), (text) => {
      const ms = retryAfterMs(
        [
          ['retry-after', text],
          ['retry-after-ms', text],
        ],
        now,
      );
      return ms === null || (ms >= 0 && ms <= dayMs);
    }),
  );
});

t.test('which errors of a provider may be followed by another attempt, and that it may say no', async (t) => {
  t.match(failureOfAnswer('UPSTREAM_RATE_LIMITED', 429, [], now), {
    kind: 'rate_limited',
    isFinalHere: false,
  });
  t.match(failureOfAnswer('UPSTREAM_RATE_LIMITED', 429, [['x-should-retry', 'false']], now), {
    isFinalHere: true,
  });
  t.match(failureOfAnswer('UPSTREAM_OVERLOADED', 529, [['retry-after', '1']], now), {
    kind: 'overloaded',
    retryAfterMs: 1000,
  });
  t.match(failureOfAnswer('UPSTREAM_AUTH', 400, [], now), { kind: 'key_refused' });
  t.match(failureOfAnswer('UPSTREAM_ERROR', 502, [], now), { kind: 'broken' });
  t.match(failureOfAnswer('UPSTREAM_TIMEOUT', 504, [], now), { kind: 'broken' });
  t.equal(failureOfAnswer('UPSTREAM_ERROR', 500, [], now), null);
  t.equal(failureOfAnswer('UPSTREAM_REJECTED', 400, [], now), null);
});
