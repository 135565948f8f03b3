import fc from 'fast-check';
import t from 'tap';
import { createKeyWatch } from '../../src/gateway/key-watch.ts';
import { learn } from '../../src/gateway/lesson.ts';
import type { RelayResult } from '../../src/gateway/relay-result.ts';
import type { KeySnapshot } from '../../src/gateway/snapshot.ts';
import { providers } from '../../src/providers/catalogue.ts';
import { stepAfter, type Situation } from '../../src/gateway/attempt-step.ts';
import type { AttemptFailure, FailureKind } from '../../src/gateway/attempt-failure.ts';
import {
  afterFailure,
  createTargetHealth,
  standingOf,
  verdictOf,
  type Health,
  type Verdict,
} from '../../src/gateway/target-health.ts';
import { resolve } from '../../src/gateway/resolve.ts';
import { readPlace } from '../../src/gateway/base-url.ts';
import { defaultPolicy } from '../../src/token-policy.ts';
import { callerOf, keyOf, resolver } from './callers-fixture.ts';

const a = keyOf('openai', { id: 'a' });
const target = resolve(resolver, callerOf([a]), {
  place: readPlace('/v1/chat/completions'),
  method: 'POST',
  model: 'gpt-4o',
  providerHint: null,
  isOpaque: false,
  isPassThrough: false,
  hasSeal: false,
  renames: 'body',
});
const { origin } = target;

t.test('each failure after a cooldown doubles the next, from a second to a minute', async (t) => {
  let health: Health | undefined;
  let now = 1000;
  const cooled: number[] = [];
  for (let i = 0; i < 9; i += 1) {
    health = afterFailure(health, { startedAt: now, now, retryAfterMs: null }, 0);
    cooled.push(health.coolsUntil - now);
    t.equal(standingOf(health, health.coolsUntil - 1), 'cooling');
    t.equal(standingOf(health, health.coolsUntil), 'half-open');
    now = health.coolsUntil;
  }
  t.same(cooled, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
});

t.test('many that fail together are one failure, and the provider’s own time goes before ours', async (t) => {
  const first = afterFailure(undefined, { startedAt: 0, now: 10, retryAfterMs: null }, 0.5);
  t.equal(first.coolsUntil, 10 + 1125);
  t.same(afterFailure(first, { startedAt: 5, now: 40, retryAfterMs: null }, 0.9), first);
  t.same(afterFailure(first, { startedAt: 900, now: 950, retryAfterMs: null }, 0.9), first);
  t.match(afterFailure(first, { startedAt: 5, now: 40, retryAfterMs: 20_000 }, 0), {
    failures: 1,
    coolsUntil: 20_040,
  });
  t.equal(afterFailure(undefined, { startedAt: 0, now: 0, retryAfterMs: 7000 }, 0).coolsUntil, 7000);
  t.equal(
    afterFailure(undefined, { startedAt: 0, now: 0, retryAfterMs: 86_400_000 }, 0.9).coolsUntil,
    300_000,
  );
});

t.test('whatever fails when, a cooldown is bounded and never shortened by a failure', async () => {
  const event = fc.record({
    after: fc.integer({ min: 0, max: 90_000 }),
    took: fc.integer({ min: 0, max: 200_000 }),
    retryAfterMs: fc.option(fc.integer({ min: 0, max: 86_400_000 })),
    jitter: fc.double({ min: 0, max: 0.999, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 30 }), (events) => {
      let health: Health | undefined;
      let now = 0;
      for (const { after, took, retryAfterMs, jitter } of events) {
        now += after;
        const before = health?.coolsUntil ?? 0;
        health = afterFailure(health, { startedAt: now - took, now, retryAfterMs }, jitter);
        if (health.coolsUntil - now > 300_000) throw new Error('too long');
        if (before > now && health.coolsUntil < before) throw new Error('shortened');
        if (retryAfterMs === null && before <= now - took && health.coolsUntil < now + 1000)
          throw new Error('too short');
      }
    }),
  );
});

t.test('after the cooldown one call finds out, and the others go elsewhere until it has', async (t) => {
  let now = 0;
  const health = createTargetHealth({ now: () => now, random: () => 0 });
  const end = (verdict: Verdict): void => health.end(target, now, verdict, null);
  t.ok(health.isWell(a, origin));
  t.notOk(health.begin(target));
  end('ill');
  t.notOk(health.isWell(a, origin));
  t.ok(health.isWell(a, 'https://elsewhere.example'), 'it is this key at this origin');
  t.ok(health.isWell(keyOf('openai', { id: 'b' }), origin));
  t.ok(health.isWell({ ...a, version: 2 }, origin), 'with this value');
  t.equal(health.cooling(), 1);
  now = 1000;
  t.ok(health.isWell(a, origin), 'somebody may look');
  t.ok(health.begin(target), 'it had failed before');
  t.notOk(health.isWell(a, origin), 'and one is enough');
  end('ill');
  now = 2999;
  t.notOk(health.isWell(a, origin), 'twice as long');
  now = 3000;
  health.begin(target);
  end('none');
  t.ok(health.isWell(a, origin), 'it found out nothing: the next may look');
  health.begin(target);
  end('well');
  t.equal(health.cooling(), 0);
  t.notOk(health.begin(target), 'forgotten');
});

t.test('a call that finds out and never ends holds nobody off for ever', async (t) => {
  let now = 0;
  const health = createTargetHealth({ now: () => now, random: () => 0 });
  health.end(target, now, 'ill', null);
  now = 1000;
  health.begin(target);
  now = 61_000;
  t.ok(health.isWell(a, origin));
});

t.test('a clock that is set back holds no key off for longer', async (t) => {
  let now = 3_600_000;
  const health = createTargetHealth({ now: () => now, random: () => 0 });
  health.end(target, now, 'ill', 30_000);
  t.notOk(health.isWell(a, origin));
  now = 0;
  t.ok(health.isWell(a, origin), 'an hour back, half a minute is not an hour and a half minute');
  health.begin(target);
  health.end(target, now, 'ill', null);
  t.notOk(health.isWell(a, origin), 'from now on it counts by the new time');
  now = 1000;
  health.begin(target);
  health.end(target, now, 'well', null);
  t.notOk(health.begin(target), 'and what goes well is believed');
});

t.test('what went well but began before the failure says nothing of now', async (t) => {
  let now = 0;
  const health = createTargetHealth({ now: () => now, random: () => 0 });
  now = 100;
  health.end(target, 100, 'ill', 30_000);
  health.end(target, 50, 'well', null);
  t.equal(health.cooling(), 1);
  health.forget('a');
  t.equal(health.cooling(), 0);
});

t.test('a caller’s own bad requests, and a limit that names no time, say nothing of a key', async (t) => {
  const of = (kind: FailureKind | null, retryAfterMs: number | null, outcome = 'UPSTREAM_ERROR'): Verdict =>
    verdictOf({
      outcome: outcome as 'ok',
      failure: kind === null ? null : { kind, retryAfterMs, isFinalHere: false },
    });
  t.equal(of(null, null, 'ok'), 'well');
  t.equal(of(null, null, 'UPSTREAM_REJECTED'), 'well');
  t.equal(of(null, null, 'UPSTREAM_STREAM_BROKEN'), 'none');
  t.equal(of(null, null, 'CLIENT_CLOSED'), 'none');
  t.equal(of('rate_limited', null), 'none');
  t.equal(of('rate_limited', 1000), 'ill');
  for (const kind of ['unreachable', 'overloaded', 'key_refused'] as const)
    t.equal(of(kind, null), 'ill', kind);
  for (const kind of ['broken', 'stale_socket'] as const) t.equal(of(kind, null), 'none', kind);
});

const situation: Situation = {
  policy: defaultPolicy,
  attempts: 1,
  staleRepeats: 0,
  isRepeatable: true,
  isIdempotent: false,
  wasIll: false,
  leftMs: Infinity,
  jitter: 0,
};
const failed = (kind: FailureKind, more: Partial<AttemptFailure> = {}): AttemptFailure => ({
  kind,
  retryAfterMs: null,
  isFinalHere: false,
  ...more,
});

t.test('what follows a failure: nothing, the same again, or another', async (t) => {
  const after = (failure: AttemptFailure, more: Partial<Situation> = {}) =>
    stepAfter(failure, { ...situation, ...more });
  const stop = { type: 'stop' };
  t.same(after(failed('stale_socket')), { type: 'again', waitMs: 0 });
  t.same(after(failed('stale_socket'), { staleRepeats: 1, attempts: 2 }), { type: 'again', waitMs: 0 });
  const patient = { ...defaultPolicy, maxAttempts: 10 };
  t.same(
    after(failed('stale_socket'), { staleRepeats: 2, attempts: 3, policy: patient }),
    stop,
    'at most twice',
  );
  t.same(after(failed('stale_socket'), { policy: { ...defaultPolicy, retryStale: false } }), stop);
  t.same(after(failed('key_refused')), { type: 'other', againAfterMs: null });
  t.same(after(failed('broken')), stop, 'it may have run');
  t.same(after(failed('broken'), { isIdempotent: true }), { type: 'other', againAfterMs: 125 });
  for (const kind of ['unreachable', 'rate_limited', 'overloaded'] as const) {
    t.same(after(failed(kind)), { type: 'other', againAfterMs: 125 }, kind);
    t.same(after(failed(kind), { attempts: 2, jitter: 0.5 }), { type: 'other', againAfterMs: 375 }, kind);
    t.same(after(failed(kind), { attempts: 3 }), stop, 'the policy’s three');
    t.same(after(failed(kind), { isRepeatable: false }), stop);
    t.same(
      after(failed(kind), { wasIll: true }),
      { type: 'other', againAfterMs: null },
      'no hope in waiting',
    );
    t.same(after(failed(kind), { leftMs: 100 }), { type: 'other', againAfterMs: null }, 'no time to wait');
    t.same(after(failed(kind), { leftMs: 0 }), stop);
  }
  const limited = (ms: number) => after(failed('rate_limited', { retryAfterMs: ms }));
  t.same(limited(2000), { type: 'other', againAfterMs: 2000 });
  t.same(limited(5001), { type: 'other', againAfterMs: null }, 'he is told how long');
  t.same(after(failed('rate_limited', { isFinalHere: true })), { type: 'other', againAfterMs: null });
});

t.test(
  'whatever happens, a call makes no more attempts than it may and never waits over five seconds',
  async () => {
    const kinds = [
      'stale_socket',
      'unreachable',
      'key_refused',
      'rate_limited',
      'overloaded',
      'broken',
    ] as const;
    fc.assert(
      fc.property(
        fc.record({
          kind: fc.constantFrom(...kinds),
          retryAfterMs: fc.option(fc.integer({ min: 0, max: 100_000 })),
          attempts: fc.integer({ min: 1, max: 12 }),
          maxAttempts: fc.integer({ min: 1, max: 10 }),
          isIdempotent: fc.boolean(),
          isRepeatable: fc.boolean(),
          jitter: fc.double({ min: 0, max: 0.999, noNaN: true }),
        }),
        ({ kind, retryAfterMs, maxAttempts, ...more }) => {
          const policy = { maxAttempts, retryStale: true };
          const step = stepAfter(failed(kind, { retryAfterMs }), { ...situation, ...more, policy });
          if (step.type === 'stop') return;
          if (more.attempts >= maxAttempts || !more.isRepeatable) throw new Error('too many');
          if (kind === 'broken' && !more.isIdempotent) throw new Error('it may have run');
          const wait = step.type === 'again' ? step.waitMs : (step.againAfterMs ?? 0);
          if (wait > 5000 || wait < 0) throw new Error(`waits ${wait}`);
        },
      ),
    );
  },
);

t.test('a token that gives connections no time makes a shared key look ill to nobody', async (t) => {
  const never = (): never => {
    throw new Error('nothing of this is about the key');
  };
  const health = createTargetHealth({ now: () => 1000, random: () => 0 });
  const keyWatch = createKeyWatch({
    providers,
    probe: never,
    takeOut: never,
    putBack: never,
    forget: never,
    onError: never,
    now: () => 1000,
  });
  const result: RelayResult = {
    outcome: 'UPSTREAM_CONNECT_TIMEOUT',
    endReason: 'timeout',
    upstreamRequestId: null,
    upstreamStatus: null,
    isUnsent: true,
    firstByteAt: null,
    responseBytes: 0,
    reading: null,
    failure: failed('unreachable'),
    isHeld: false,
    keyEchoes: 0,
    refusal: null,
  };
  const hasty = { ...defaultPolicy, timeouts: { ...defaultPolicy.timeouts, connectMs: 1 } };
  learn({ health, keyWatch }, callerOf([], { policy: hasty }), target, 0, result);
  t.ok(health.isWell(target.key as KeySnapshot, origin));
  learn({ health, keyWatch }, callerOf([]), target, 0, result);
  t.notOk(health.isWell(target.key as KeySnapshot, origin), 'the time that holds for all does');
});
