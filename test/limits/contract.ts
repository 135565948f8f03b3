import type { Test } from 'tap';
import { SallyportError } from '../../src/errors.ts';
import type { SealSender } from '../../src/limits/limits.ts';

type Maybe<T> = T | Promise<T>;

/** Any implementation of limits: in memory (synchronous) or over a network. */
export interface AnyLimits {
  admit(scope: {
    tokenId: string;
    requestsPerMinute: number | null;
    concurrentCalls: number | null;
  }): Maybe<{ release(): Maybe<void> }>;
  countAuthFailure(ip: string): Maybe<void>;
  checkAuthFailures(ip: string): Maybe<void>;
  countSealFailure(sender: SealSender): Maybe<void>;
  checkSealFailures(sender: SealSender): Maybe<void>;
}

export interface LimitsUnderTest {
  readonly limits: AnyLimits;
  /** Moves the clock that the limits read. */
  readonly advance: (ms: number) => void;
}

/** The refusal, or null where it was let in. */
async function refusal(attempt: () => unknown): Promise<SallyportError | null> {
  try {
    await attempt();
    return null;
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
}

/** What every implementation of limits does. `make(authFailuresPerMinute)` gives a fresh one. */
export function limitsContract(
  t: Test,
  make: (t: Test, authFailuresPerMinute: number) => Maybe<LimitsUnderTest>,
): void {
  const scope = (
    requestsPerMinute: number | null,
    concurrentCalls: number | null = null,
    tokenId = 'tok_a',
  ) => ({
    tokenId,
    requestsPerMinute,
    concurrentCalls,
  });

  t.test('a rested token may use its whole minute at once, then waits for the next', async (t) => {
    const { limits, advance } = await make(t, 30);
    for (let i = 0; i < 60; i += 1) await limits.admit(scope(60));
    t.match(await refusal(() => limits.admit(scope(60))), { code: 'RATE_LIMITED', retryAfter: 1 });
    advance(999);
    t.ok(await refusal(() => limits.admit(scope(60))));
    advance(1);
    t.notOk(await refusal(() => limits.admit(scope(60))));
    t.ok(await refusal(() => limits.admit(scope(60))));
    advance(60_000);
    for (let i = 0; i < 60; i += 1) await limits.admit(scope(60));
    t.ok(await refusal(() => limits.admit(scope(60))));
  });

  t.test('waiting as long as retryAfter says is enough, for any limit', async (t) => {
    for (const perMinute of [1, 2, 7, 59, 600, 10_000]) {
      const { limits, advance } = await make(t, 30);
      for (let i = 0; i < perMinute; i += 1) await limits.admit(scope(perMinute));
      const refused = await refusal(() => limits.admit(scope(perMinute)));
      t.ok(Number.isInteger(refused?.retryAfter) && (refused?.retryAfter ?? 0) >= 1);
      advance((refused?.retryAfter ?? 0) * 1000);
      t.notOk(await refusal(() => limits.admit(scope(perMinute))), `${perMinute} a minute`);
    }
  });

  t.test('a refused request does not lengthen the wait', async (t) => {
    const { limits, advance } = await make(t, 30);
    await limits.admit(scope(1));
    for (let i = 0; i < 100; i += 1) t.equal((await refusal(() => limits.admit(scope(1))))?.retryAfter, 60);
    advance(60_000);
    t.notOk(await refusal(() => limits.admit(scope(1))));
  });

  t.test('over an hour of hammering no more than the limit and one burst get through', async (t) => {
    const { limits, advance } = await make(t, 30);
    let admitted = 0;
    for (let i = 0; i < 3600; i += 1) {
      if ((await refusal(() => limits.admit(scope(10)))) === null) admitted += 1;
      advance(1000);
    }
    t.equal(admitted, 10 + 599);
  });

  t.test('leases count while they run, and each is given back once', async (t) => {
    const { limits } = await make(t, 30);
    const first = await limits.admit(scope(null, 2));
    await limits.admit(scope(null, 2));
    t.match(await refusal(() => limits.admit(scope(null, 2))), { code: 'RATE_LIMITED', retryAfter: 1 });
    await first.release();
    await first.release();
    const third = await limits.admit(scope(null, 2));
    t.ok(await refusal(() => limits.admit(scope(null, 2))), 'a second release freed nothing');
    await third.release();
    t.notOk(await refusal(() => limits.admit(scope(null, 2))));
  });

  t.test('of 1 000 calls at once exactly as many run as may', async (t) => {
    const { limits } = await make(t, 30);
    const results = await Promise.all(
      Array.from({ length: 1000 }, async () => refusal(() => limits.admit(scope(null, 142)))),
    );
    t.equal(results.filter((result) => result === null).length, 142);
  });

  t.test('a call refused for its concurrency takes nothing from the rate, and the reverse', async (t) => {
    const { limits, advance } = await make(t, 30);
    const lease = await limits.admit(scope(2, 1));
    for (let i = 0; i < 5; i += 1) t.ok(await refusal(() => limits.admit(scope(2, 1))));
    await lease.release();
    const second = await limits.admit(scope(2, 1));
    await second.release();
    for (let i = 0; i < 5; i += 1) t.ok(await refusal(() => limits.admit(scope(2, 1))));
    advance(60_000);
    t.notOk(await refusal(() => limits.admit(scope(2, 1))));
  });

  t.test('tokens do not share, a limit of 0 admits nothing, and null is no limit', async (t) => {
    const { limits } = await make(t, 30);
    await limits.admit(scope(1));
    t.notOk(await refusal(() => limits.admit(scope(1, null, 'tok_b'))));
    t.ok(await refusal(() => limits.admit(scope(0, null, 'tok_c'))));
    t.ok(await refusal(() => limits.admit(scope(null, 0, 'tok_d'))));
    for (let i = 0; i < 1000; i += 1) await limits.admit(scope(null, null, 'tok_e'));
  });

  t.test('a raised limit holds at once, also for a token that had used up the lower one', async (t) => {
    const { limits, advance } = await make(t, 30);
    await limits.admit(scope(1));
    t.equal((await refusal(() => limits.admit(scope(600))))?.retryAfter, 1);
    advance(1000);
    t.notOk(await refusal(() => limits.admit(scope(600))));
  });

  t.test('an address with too many refused credentials waits; checking alone costs nothing', async (t) => {
    const { limits, advance } = await make(t, 3);
    for (let i = 0; i < 100; i += 1) await limits.checkAuthFailures('192.0.2.1');
    for (let i = 0; i < 3; i += 1) await limits.countAuthFailure('192.0.2.1');
    t.match(await refusal(() => limits.checkAuthFailures('192.0.2.1')), {
      code: 'RATE_LIMITED',
      retryAfter: 20,
    });
    t.notOk(await refusal(() => limits.checkAuthFailures('192.0.2.2')));
    for (let i = 0; i < 1000; i += 1) await limits.countAuthFailure('192.0.2.1');
    advance(20_000);
    t.notOk(await refusal(() => limits.checkAuthFailures('192.0.2.1')), 'the debt has a bound');
  });

  t.test('an IPv6 /64 is one client, a mapped IPv4 is that IPv4', async (t) => {
    const { limits } = await make(t, 2);
    await limits.countAuthFailure('2001:db8:1:2::1');
    await limits.countAuthFailure('2001:db8:1:2:ffff:ffff:ffff:ffff');
    t.ok(await refusal(() => limits.checkAuthFailures('2001:0db8:0001:0002::77')));
    t.notOk(await refusal(() => limits.checkAuthFailures('2001:db8:1:3::1')));
    await limits.countAuthFailure('::ffff:192.0.2.9');
    await limits.countAuthFailure('::ffff:c000:209');
    t.ok(await refusal(() => limits.checkAuthFailures('192.0.2.9')));
    t.notOk(await refusal(() => limits.checkAuthFailures('::ffff:192.0.2.10')));
  });

  t.test('wrong seals count for a token at an address, and ten times as many more widely', async (t) => {
    const { limits, advance } = await make(t, 3);
    const of = (tokenId: string, ip: string, workspaceId = 'ws_a') => ({ workspaceId, tokenId, ip });
    const check = (...who: Parameters<typeof of>) => refusal(() => limits.checkSealFailures(of(...who)));
    const count = (...who: Parameters<typeof of>) => limits.countSealFailure(of(...who));
    for (let i = 0; i < 3; i += 1) await count('tok_a', '192.0.2.1');
    t.match(await check('tok_a', '192.0.2.1'), { code: 'RATE_LIMITED', retryAfter: 20 });
    t.notOk(await check('tok_a', '192.0.2.2'));
    t.notOk(await check('tok_b', '192.0.2.1'));
    t.notOk(await refusal(() => limits.checkAuthFailures('192.0.2.1')), 'tokens are another matter');
    for (let i = 0; i < 27; i += 1) await count('tok_a', `198.51.100.${i}`);
    t.ok(await check('tok_a', '192.0.2.2'), 'from many addresses');
    for (let i = 0; i < 27; i += 1) await count(`tok_${i}`, '192.0.2.1');
    t.ok(await check('tok_b', '192.0.2.1'), 'with many tokens');
    t.notOk(await check('tok_b', '192.0.2.2'));
    t.notOk(await check('tok_c', '192.0.2.1', 'ws_b'), 'another workspace behind the same address');
    advance(60_000);
    t.notOk(await check('tok_a', '192.0.2.1'));
  });
}
