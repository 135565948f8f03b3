import t from 'tap';
import { createCallers, type RunningCall } from '../../src/gateway/callers.ts';
import type { CallerSnapshot } from '../../src/gateway/snapshot.ts';
import { SallyportError } from '../../src/errors.ts';
import { mintToken } from '../../src/ids.ts';
import { callerOf, keyOf } from './callers-fixture.ts';

/** A database that says what it is told, a version row and a clock that are moved by hand. */
function world(options: { staleSeconds?: number; maxEntries?: number } = {}) {
  const state = { epoch: 1n, now: 0, readAt: 0, isDown: false, isSealed: false, reads: 0 };
  const rows = new Map<string, CallerSnapshot>();
  const ageMs = (): number => state.now - state.readAt;
  const callers = createCallers({
    read: async (token) => {
      state.reads += 1;
      if (state.isDown) throw new Error('connection refused');
      if (state.isSealed) throw new SallyportError('VAULT_SEALED', 'not now', { retryAfter: 7 });
      return rows.get(token.prefix) ?? null;
    },
    epoch: {
      value: () => state.epoch,
      ageMs,
      isStale: () => ageMs() > 1000,
      staysStale: async () => ageMs() > 1000,
    },
    staleSeconds: options.staleSeconds ?? 300,
    now: () => state.now,
    ...(options.maxEntries === undefined ? {} : { maxEntries: options.maxEntries }),
  });
  return {
    state,
    rows,
    callers,
    mint: (more: Partial<CallerSnapshot> = {}) => {
      const token = mintToken('spt');
      rows.set(token.prefix, callerOf([keyOf('openai')], more));
      return { text: token.text, token };
    },
  };
}

function runningCall(keyId: string | null = null): RunningCall & { readonly cuts: string[] } {
  const cuts: string[] = [];
  return { keyId, cuts, cut: (code) => void cuts.push(code) };
}

/** All that is due has run: what the fakes promise is settled at once. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('a token is read once, by however many calls, until the version row moves', async (t) => {
  const { callers, mint, state } = world();
  const one = mint();
  await callers.authenticate(one);
  await Promise.all(Array.from({ length: 50 }, () => callers.authenticate(one)));
  t.equal(state.reads, 1);
  state.epoch += 1n;
  await Promise.all(Array.from({ length: 50 }, () => callers.authenticate(one)));
  t.equal(state.reads, 2);
});

t.test(
  'an unknown token costs one look-up for each state of the database, and may be refused before it',
  async (t) => {
    const { callers, state } = world();
    const { text, ...token } = mintToken('spt');
    const unknown = { text, token };
    for (let n = 0; n < 10; n += 1) await t.rejects(callers.authenticate(unknown), { code: 'AUTH_INVALID' });
    t.equal(state.reads, 1);
    state.epoch += 1n;
    await t.rejects(callers.authenticate(unknown), { code: 'AUTH_INVALID' });
    t.equal(state.reads, 2);
    const stop = (): never => {
      throw new Error('no more');
    };
    await t.rejects(callers.authenticate(unknown, stop), { message: 'no more' });
    t.equal(state.reads, 2);
  },
);

t.test(
  'with the database away known callers go on for so long, and unknown ones never get 401',
  async (t) => {
    const { callers, mint, state } = world({ staleSeconds: 300 });
    const known = mint();
    const other = mint();
    await callers.authenticate(known);
    state.isDown = true;
    await t.rejects(callers.authenticate(other), { code: 'AUTH_UNAVAILABLE', retryAfter: 1 });
    state.now = 300_000;
    await callers.authenticate(known, () => t.fail('a known token is not looked up'));
    await t.rejects(callers.authenticate(other), { code: 'AUTH_UNAVAILABLE' });
    state.now = 300_001;
    await t.rejects(callers.authenticate(known), { code: 'AUTH_UNAVAILABLE' });
    state.isDown = false;
    state.readAt = state.now;
    await callers.authenticate(known);
  },
);

t.test(
  'with the root key away and the database there nobody is served by what has changed since',
  async (t) => {
    const { callers, mint, rows, state } = world();
    const [known, gone, other] = [mint(), mint(), mint()];
    await callers.authenticate(known);
    await callers.authenticate(gone);
    state.isSealed = true;
    const sealed = { code: 'VAULT_SEALED', retryAfter: 7 };
    await t.rejects(callers.authenticate(other), sealed, 'the database is not what is out of reach');
    await t.resolves(callers.authenticate(known), 'nothing has changed');
    rows.delete(gone.token.prefix);
    state.epoch += 1n;
    await t.rejects(callers.authenticate(gone), sealed, 'it may have been revoked, and was');
    await t.rejects(callers.authenticate(known), sealed, 'nobody can tell that it was not');
    state.isSealed = false;
    await t.resolves(callers.authenticate(known));
    await t.rejects(callers.authenticate(gone), { code: 'AUTH_INVALID' });
  },
);

t.test('AUTH_STALE_SECONDS=0 serves nobody whom the database cannot confirm', async (t) => {
  const { callers, mint, state } = world({ staleSeconds: 0 });
  const known = mint();
  await callers.authenticate(known);
  state.now = 1000;
  await callers.authenticate(known);
  state.now = 1001;
  await t.rejects(callers.authenticate(known), { code: 'AUTH_UNAVAILABLE' });
});

t.test('a token that expires is refused at that moment, cached or not', async (t) => {
  const { callers, mint, state } = world();
  const one = mint({ expiresAt: 500 });
  state.now = 499;
  await callers.authenticate(one);
  state.now = 500;
  await t.rejects(callers.authenticate(one), { code: 'AUTH_INVALID' });
});

t.test('what is gone when the version row has moved ends the calls that use it, and no others', async (t) => {
  const { callers, mint, rows, state } = world();
  const one = mint();
  const held = await callers.authenticate(one);
  const [key] = held.current().keys;
  const using = runningCall(key?.id);
  const undecided = runningCall();
  const release = held.hold(using);
  held.hold(undecided);
  const before = held.current();
  rows.set(one.token.prefix, { ...before, keys: before.keys.map((each) => ({ ...each, isActive: false })) });
  state.epoch += 1n;
  callers.refreshRunning();
  await settled();
  t.same([using.cuts, undecided.cuts], [['KEY_DISABLED'], []]);
  t.equal(held.current().keys[0]?.isActive, false, 'who has not chosen yet sees the new state');
  release();
  rows.delete(one.token.prefix);
  state.epoch += 1n;
  callers.refreshRunning();
  await settled();
  t.same([using.cuts, undecided.cuts], [['KEY_DISABLED'], ['AUTH_INVALID']]);
  await t.rejects(callers.authenticate(one), { code: 'AUTH_INVALID' });
});

t.test('a look-up that fails at the move is made again at the next poll', async (t) => {
  const { callers, mint, rows, state } = world();
  const one = mint();
  const call = runningCall();
  (await callers.authenticate(one)).hold(call);
  rows.delete(one.token.prefix);
  state.epoch += 1n;
  state.isDown = true;
  callers.refreshRunning();
  await settled();
  t.same(call.cuts, []);
  state.isDown = false;
  callers.refreshRunning();
  await settled();
  t.same(call.cuts, ['AUTH_INVALID']);
});

t.test(
  'a cache that is full forgets who is idle, and a call is found though its token was forgotten',
  async (t) => {
    const { callers, mint, rows, state } = world({ maxEntries: 2 });
    const one = mint();
    const held = await callers.authenticate(one);
    for (let n = 0; n < 5; n += 1) await callers.authenticate(mint());
    t.equal(callers.size(), 2);
    const call = runningCall();
    held.hold(call);
    rows.delete(one.token.prefix);
    state.epoch += 1n;
    callers.refreshRunning();
    await settled();
    t.same(call.cuts, ['AUTH_INVALID']);
  },
);

t.test('the cache holds 10 000 callers and no more', async (t) => {
  const { callers, mint } = world();
  for (let n = 0; n < 10_050; n += 1) await callers.authenticate(mint());
  t.equal(callers.size(), 10_000);
});

t.test('what runs out of time ends the calls that use it, with the database away too', async (t) => {
  const { callers, mint, rows, state } = world();
  const one = mint({ expiresAt: 900 });
  const [short, lasting] = [keyOf('openai', { expiresAt: 500 }), keyOf('groq')];
  rows.set(one.token.prefix, callerOf([short, lasting], { expiresAt: 900 }));
  const held = await callers.authenticate(one);
  const [first, second, given] = [runningCall(short.id), runningCall(lasting.id), runningCall()];
  for (const call of [first, second, given]) held.hold(call);
  state.isDown = true;
  const cutsAt = (now: number): string[][] => {
    state.now = now;
    callers.cutExpired();
    return [first, second, given].map(({ cuts }) => cuts.splice(0));
  };
  t.same(cutsAt(499), [[], [], []]);
  t.same(cutsAt(500), [['KEY_EXPIRED'], [], []]);
  t.same(cutsAt(899), [['KEY_EXPIRED'], [], []], 'to cut what is cut does nothing');
  t.same(cutsAt(900), [['AUTH_INVALID'], ['AUTH_INVALID'], ['AUTH_INVALID']]);
});
