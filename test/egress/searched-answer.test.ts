import t from 'tap';
import { AnswerSearch } from '../../src/egress/answer-search.ts';
import { createEgress } from '../../src/egress/egress.ts';
import { call, credentialOf, startCall, testKey, type Ask } from '../support/egress-call.ts';
import { scriptUpstream, testCa, type Answer } from '../support/upstream.ts';

/** Searches that were wiped; each call has one, made when its key was opened. */
const wiped = new Set<AnswerSearch>();
const wipe: (this: AnswerSearch) => void = Reflect.get(AnswerSearch.prototype, 'wipe');
AnswerSearch.prototype.wipe = function (this: AnswerSearch): void {
  wiped.add(this);
  wipe.call(this);
};
t.teardown(() => {
  AnswerSearch.prototype.wipe = wipe;
});

const egress = createEgress({ ca: testCa });
t.teardown(() => egress.close());
const upstream = await scriptUpstream(t, { key: testKey });
const tls = await scriptUpstream(t, { key: testKey, tls: true, host: 'localhost' });
const never = new Promise<never>(() => {});

function ask(answer: Answer, more: Partial<Ask> = {}, where = upstream): Ask {
  where.respond([answer]);
  return {
    origin: where.origin,
    body: Buffer.from('{}'),
    credential: credentialOf(),
    searchFrom: 400,
    ...more,
  };
}

t.test('the key that waits under its mask is wiped whatever way a call goes', async (t) => {
  const ways: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['a good answer', () => call(egress, ask({ body: 'x' }))],
    ['an error', () => call(egress, ask({ status: 400, body: testKey }))],
    ['a searched answer', () => call(egress, ask({ body: testKey }, { searchFrom: 0 }))],
    ['over TLS', () => call(egress, ask({ status: 500, body: testKey }, {}, tls))],
    ['a reset', () => call(egress, ask({ events: ['a'], ending: 'reset' }, { searchFrom: 0 }))],
    [
      'an early end',
      () => call(egress, ask({ status: 400, body: 'a', contentLength: 9, ending: 'truncate' })),
    ],
    [
      'no answer',
      () => call(egress, ask({ hold: never }, { timeouts: { connectMs: 0, headersMs: 20, bodyMs: 0 } })),
    ],
    [
      'a compressed answer',
      () => call(egress, ask({ headers: { 'content-encoding': 'br' }, body: 'x' }, { searchFrom: 0 })),
    ],
    [
      'given up before the answer',
      async () => {
        const running = startCall(egress, ask({ hold: never }));
        await upstream.received(upstream.requests.length + 1);
        running.control.abort();
        return running.outcome;
      },
    ],
    [
      'given up in the middle',
      async () => {
        const running = startCall(egress, ask({ events: ['a', never] }, { searchFrom: 0 }));
        await running.bytes(1);
        running.control.abort();
        return running.outcome;
      },
    ],
  ];
  for (const [name, run] of ways) {
    wiped.clear();
    await run();
    t.equal(wiped.size, 1, name);
  }
});

t.test('a good answer that is not searched lets go of the key at its head', async (t) => {
  wiped.clear();
  const running = startCall(egress, ask({ events: [testKey, never] }));
  await running.started;
  t.equal(wiped.size, 1);
  await running.bytes(testKey.length);
  running.control.abort();
  const { body } = await running.outcome;
  t.match(body.toString(), testKey, 'known providers’ good answers pass as they are');
});

t.test('where nothing of an answer is told nothing is kept of the key', async (t) => {
  wiped.clear();
  const { body } = await call(egress, ask({ status: 400, body: testKey }, { searchFrom: null }));
  t.equal(body.toString(), testKey);
  t.equal(wiped.size, 0);
});

t.test('what is found is counted for the caller, and pausing holds nothing up', async (t) => {
  const running = startCall(egress, ask({ events: [testKey, `a ${testKey}`] }, { searchFrom: 0 }));
  await running.started;
  running.control.pause();
  running.control.resume();
  const { body, error } = await running.outcome;
  t.equal(error, null);
  t.equal(running.control.keyEchoes, 2);
  const stars = '*'.repeat(testKey.length);
  t.equal(body.toString(), `data: ${stars}\n\ndata: a ${stars}\n\n`);
});
