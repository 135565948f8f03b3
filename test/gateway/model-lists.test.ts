import t, { type Test } from 'tap';
import { createEgress } from '../../src/egress/egress.ts';
import { SallyportError } from '../../src/errors.ts';
import { createModelLists } from '../../src/gateway/model-lists.ts';
import type { Target } from '../../src/gateway/target.ts';
import { providers } from '../../src/providers/catalogue.ts';
import type { Provider } from '../../src/providers/provider.ts';
import type { PreparedKey } from '../../src/vault/vault.ts';
import { scriptUpstream, type Answer } from '../support/upstream.ts';
import { callerOf, keyOf } from './callers-fixture.ts';

const minute = 60_000;
const list = (...ids: string[]): Answer => ({ body: { data: ids.map((id) => ({ id })) } });

async function scene(t: Test, script: readonly Answer[]) {
  const upstream = await scriptUpstream(t, script);
  const egress = createEgress();
  t.teardown(() => egress.close());
  const time = { now: Date.UTC(2026, 0, 1) };
  const events: string[] = [];
  const open = { wiped: 0, prepared: 0 };
  const journal = { isOpen: true };
  const lists = createModelLists({
    journal: {
      append: async (event) => {
        if (!journal.isOpen) throw new SallyportError('JOURNAL_UNAVAILABLE', 'closed');
        events.push(event);
        return { stream: 's', seq: 1, text: 's.1', hash: '' };
      },
    },
    ends: { write: ({ outcome }) => void events.push(outcome as string) },
    egress,
    prices: { version: 'test' },
    now: () => time.now,
  });
  const target: Target = {
    provider: providers.get('custom') as Provider,
    providerName: 'local',
    key: keyOf('custom', { auth: 'none', origins: [upstream.origin] }),
    origin: upstream.origin,
    reach: 'operator',
    path: '/v1/models',
    operation: 'openai.models',
    model: null,
    modelAt: 0,
    upstreamModel: null,
  };
  const prepare = async (): Promise<PreparedKey> => {
    open.prepared += 1;
    return { checkOrigin: () => {}, wipe: () => void (open.wiped += 1) } as unknown as PreparedKey;
  };
  const of = async (): Promise<string> => {
    const models = await lists.of(callerOf([]), target, { clientIpHash: 'hash', network: 'net' }, prepare);
    return models.map(({ id }) => id).join();
  };
  return { upstream, time, events, open, journal, lists, target, of };
}

t.test(
  'a list is fresh for ten minutes; an older one is told once more while a new one is asked for',
  async (t) => {
    const { upstream, time, lists, target, of, open, events } = await scene(t, [
      list('a'),
      list('b'),
      list('c'),
    ]);
    t.same(await Promise.all([of(), of(), of()]), ['a', 'a', 'a']);
    t.equal(upstream.requests.length, 1, 'many at once ask once');
    time.now += 10 * minute - 1;
    t.equal(await of(), 'a');
    t.equal(upstream.requests.length, 1);
    time.now += 1;
    t.same(await Promise.all([of(), of()]), ['a', 'a'], 'nobody waits');
    await lists.settled();
    t.equal(upstream.requests.length, 2);
    t.equal(await of(), 'b');
    t.same(
      lists.remembered(target).map(({ id }) => id),
      ['b'],
    );
    time.now += 25 * 60 * minute;
    t.equal(await of(), 'c', 'what is a day old is told to nobody');
    t.equal(open.wiped, open.prepared, 'what was unwrapped is wiped');
    t.same(events, ['use.begin', 'ok', 'use.begin', 'ok', 'use.begin', 'ok']);
  },
);

t.test(
  'a list that was there outlives a failure, and a failure is asked about again after a minute',
  async (t) => {
    const down: Answer = { status: 503, body: 'no' };
    const { upstream, time, lists, of, journal } = await scene(t, [down, list('a'), down, down, list('b')]);
    await t.rejects(of(), { code: 'UPSTREAM_ERROR' });
    await t.rejects(of(), { code: 'UPSTREAM_ERROR' });
    t.equal(upstream.requests.length, 1);
    time.now += minute;
    t.equal(await of(), 'a');
    for (const wanted of [2, 3, 4]) {
      time.now += 10 * minute;
      t.equal(await of(), 'a');
      await lists.settled();
      t.equal(upstream.requests.length, wanted + 1);
    }
    t.equal(await of(), 'b');
    journal.isOpen = false;
    time.now += 25 * 60 * minute;
    await t.rejects(of(), { code: 'JOURNAL_UNAVAILABLE' }, 'no record, no request');
    t.equal(upstream.requests.length, 5);
    journal.isOpen = true;
    t.equal(await of(), 'b', 'what failed here is tried again at once');
  },
);

t.test('what is under way ends with the gateway', async (t) => {
  const { upstream, lists, of, events, open } = await scene(t, [{ ending: 'stall', events: ['{'] }]);
  const answer = of();
  await upstream.received(1);
  await lists.stop();
  await t.rejects(answer, { code: /UPSTREAM/ });
  t.equal(events.length, 2);
  t.equal(open.wiped, 1);
});
