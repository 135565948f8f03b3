import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream, type Answer, type SeenRequest } from '../support/upstream.ts';
import { createKeyWatch, type KeyWatch } from '../../src/gateway/key-watch.ts';
import { readPlace } from '../../src/gateway/base-url.ts';
import { resolve } from '../../src/gateway/resolve.ts';
import type { ProbeResult } from '../../src/gateway/probe.ts';
import type { KeySnapshot } from '../../src/gateway/snapshot.ts';
import { providers } from '../../src/providers/catalogue.ts';
import { callerOf, keyOf, resolver } from './callers-fixture.ts';

t.setTimeout(120_000);

const refusal = { status: 401, body: { error: { message: 'Incorrect API key provided: sk-…' } } };
/** What is answered to a list of models, and to all else, by the name of the key. */
const lists = new Map<string, Answer>();
const calls = new Map<string, Answer>();
const tests: SeenRequest[] = [];
const upstream = await scriptUpstream(t, {
  script: (seen) => {
    const name = /sk-test-([\w-]+)-0123456789abcdef/.exec(String(seen.headers.authorization))?.[1] ?? '';
    const isList = seen.path.endsWith('/models');
    if (isList) tests.push(seen);
    return (isList ? lists : calls).get(name) ?? { body: { by: name } };
  },
});
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin },
  settings: { SALLYPORT_ALLOW_ORIGINS: upstream.origin },
});
const store = (name: string, more: object = {}, provider = 'openai'): Promise<string> =>
  gateway.addKey(provider, `sk-test-${name}-0123456789abcdef`, { name, ...more });
const mint = async (...keyIds: string[]): Promise<string> =>
  (await gateway.api('POST', '/tokens', { name: 'x', keyIds })).body.token;
const call = (
  token: string,
  headers: Record<string, string> = {},
  path = '/v1/chat/completions',
): Promise<Answered> =>
  ask(gateway.origin + path, { headers: { 'x-api-key': token, ...headers }, body: { model: 'gpt-4o' } });
const told = (answer: Answered): unknown[] => [
  answer.header('x-sallyport-code') ?? answer.json().by,
  answer.header('x-sallyport-attempts'),
];
const statusOf = async (id: string): Promise<string> =>
  (await gateway.api('GET', `/api-keys/${id}`)).body.status;
/** What the gateway does beside its calls is done. */
const settled = (): Promise<void> => gateway.app.dataPlane.settled();

t.test('a key that its provider refuses is tested by us, taken out for all, and named', async (t) => {
  calls.set('bad', refusal);
  lists.set('bad', refusal);
  const bad = await store('bad', { weight: 1000 });
  const good = await store('good', { weight: 0 });
  const token = await mint(bad, good);
  const before = tests.length;
  const first = await call(token, { 'openai-beta': 'evil', 'idempotency-key': 'client' });
  t.same(told(first), ['good', '2'], 'the client is served by the next');
  await settled();
  t.equal(tests.length, before + 1, 'one test');
  const [own] = tests.slice(before);
  t.match(own, { method: 'GET', path: '/v1/models' });
  t.notMatch(own?.rawHeaders.join('\n'), /evil|client|gpt-4o/, 'nothing of the client’s is in it');
  t.equal(own?.body.length, 0);
  t.equal(await statusOf(bad), 'auth_failed');
  const asked = upstream.requests.length;
  t.same(told(await call(token)), ['good', '1'], 'it is not asked any more');
  t.equal(upstream.requests.length, asked + 1);
  const alone = await call(await mint(bad));
  t.same(told(alone), ['UPSTREAM_AUTH', null], 'nor where there is no other');
  t.match(alone.json().error.message, new RegExp(`refused the stored key ${bad} when it was last tested`));

  await gateway.shipped();
  const { body: audit } = await gateway.api('GET', '/audit?event=key.auth_failed');
  t.match(audit.data, [{ keyId: bad, record: { provider: 'openai', keyVersion: 1, status: 401 } }]);
  t.match(
    gateway.logLines.filter((line) => line.includes('key.auth-failed')),
    [/"level":"error"/],
  );
  t.match(await gateway.metrics(), /^sallyport_keys\{status="auth_failed"\} 1$/m);
  const { body: key } = await gateway.api('GET', `/api-keys/${bad}`);
  t.match(key.lastTest, { ok: false, status: 401, code: 'UPSTREAM_AUTH' });

  lists.delete('bad');
  calls.delete('bad');
  t.match((await gateway.api('POST', '/api-keys/test', { keyId: bad })).body, { ok: true });
  t.same(told(await call(token)), ['bad', '1'], 'a good test puts it back');
});

t.test('nobody takes a key from the others by what he sends', async (t) => {
  calls.set('mine', refusal);
  const mine = await store('mine');
  const token = await mint(mine);
  const before = tests.length;
  for (let i = 0; i < 4; i += 1)
    t.same(told(await call(token, { 'openai-beta': `forged-${i}` })), ['UPSTREAM_AUTH', '1']);
  await settled();
  t.equal(tests.length, before + 1, 'one test a minute, however many try');
  t.equal(await statusOf(mine), 'active');
  t.match(await gateway.metrics(), /^sallyport_targets_cooling 0$/m, 'nor is it held against the key');
  calls.delete('mine');
  t.same(told(await call(token)), ['mine', '1']);
});

t.test('a key that is for a few endpoints only is not bad because it may list no models', async (t) => {
  const narrow = await store('narrow');
  calls.set('narrow', refusal);
  lists.set('narrow', {
    status: 401,
    body: {
      error: {
        message: 'You have insufficient permissions for this operation. Missing scopes: api.model.read.',
      },
    },
  });
  t.same(told(await call(await mint(narrow))), ['UPSTREAM_AUTH', '1']);
  await settled();
  t.equal(await statusOf(narrow), 'active');
  t.match((await gateway.api('POST', '/api-keys/test', { keyId: narrow })).body, { ok: true, status: 401 });

  const proven = await store('proven');
  const token = await mint(proven);
  t.same(told(await call(token)), ['proven', '1']);
  calls.set('proven', { status: 403, body: {} });
  lists.set('proven', { status: 403, body: {} });
  t.same(told(await call(token)), ['UPSTREAM_AUTH', '1']);
  await settled();
  t.equal(await statusOf(proven), 'active', 'it has just served a call');
});

t.test(
  'a custom origin takes out its own key at most, and not by forbidding a list that it may not have',
  async (t) => {
    const custom = { origins: [upstream.origin], basePath: '/v1' };
    const lab = await store('lab', custom, 'custom');
    const den = await store('den', custom, 'custom');
    const other = await store('other');
    calls.set('lab', { status: 403, body: {} });
    lists.set('lab', { status: 403, body: {} });
    calls.set('den', refusal);
    lists.set('den', refusal);
    const token = await mint(lab, den, other);
    for (const name of ['lab', 'den'])
      t.same(told(await call(token, {}, `/custom/${name}/v1/chat/completions`)), ['UPSTREAM_AUTH', '1']);
    await settled();
    t.same(await Promise.all([lab, den, other].map(statusOf)), ['active', 'auth_failed', 'active']);
    t.match((await gateway.api('POST', '/api-keys/test', { keyId: lab })).body, {
      ok: false,
      code: 'UPSTREAM_REJECTED',
      status: 403,
    });
    t.equal(await statusOf(lab), 'active', 'nor by a test that its owner asks for');
    t.same(told(await call(token)), ['other', '1']);
  },
);

/** A watch on a scripted provider, by an injected clock. */
function scene(results: ProbeResult[]) {
  const time = { now: 1_000_000 };
  const done: string[] = [];
  const watch: KeyWatch = createKeyWatch({
    providers,
    probe: async (_provider, key) => {
      done.push(`test ${key.id}`);
      const result = results.length > 1 ? results.shift() : results[0];
      if (result === undefined) throw new Error('the journal is closed');
      return result;
    },
    takeOut: async (key) => void done.push(`out ${key.id}`),
    putBack: async (key) => void done.push(`back ${key.id}`),
    forget: (keyId) => void done.push(`forget ${keyId}`),
    onError: (keyId) => void done.push(`error ${keyId}`),
    now: () => time.now,
  });
  const targetOf = (key: KeySnapshot) =>
    resolve(resolver, callerOf([key]), {
      place: readPlace('/v1/chat/completions'),
      method: 'POST',
      model: 'gpt-4o',
      providerHint: null,
      isOpaque: false,
      isPassThrough: false,
      hasSeal: true,
      renames: null,
    });
  return { time, done, watch, targetOf };
}
const result = (more: Partial<ProbeResult>): ProbeResult => ({
  ok: false,
  status: 401,
  code: 'UPSTREAM_AUTH',
  ms: 1,
  message: null,
  ...more,
});
const fine = result({ ok: true, status: 200, code: null });
const caller = callerOf([]);

t.test(
  'a refusal counts against a key until a test finds it good, and for a minute after that does not',
  async (t) => {
    const { time, done, watch, targetOf } = scene([fine]);
    const target = targetOf(keyOf('openai', { id: 'k' }));
    t.equal(watch.refused(target, caller), true);
    t.equal(watch.refused(target, caller), true, 'its test is under way');
    await watch.settled();
    t.same(done, ['test k', 'forget k']);
    t.equal(watch.refused(target, caller), false);
    time.now += 60_000;
    t.equal(watch.refused(target, caller), true);
    await watch.settled();
    t.equal(done.length, 4);
  },
);

t.test('what a test could not find out changes nothing, and a sealed key is not tested', async (t) => {
  for (const unclear of [
    result({ status: 429, code: 'UPSTREAM_RATE_LIMITED' }),
    result({ status: null, code: 'UPSTREAM_UNREACHABLE' }),
    result({ status: 500, code: 'UPSTREAM_ERROR' }),
  ]) {
    const { done, watch, targetOf } = scene([unclear]);
    watch.refused(targetOf(keyOf('openai', { id: 'k' })), caller);
    await watch.settled();
    t.same(done, ['test k'], String(unclear.code));
  }
  const { done, watch, targetOf } = scene([]);
  watch.refused(targetOf(keyOf('openai', { id: 'k' })), caller);
  await watch.settled();
  t.same(done, ['test k', 'error k']);
  t.equal(watch.refused(targetOf(keyOf('openai', { id: 's', protection: 'sealed' })), caller), true);
  await watch.settled();
  t.equal(done.length, 2);
});

t.test('a key that was taken out is tested ever more seldom, and put back by a good one', async (t) => {
  const { time, done, watch } = scene([result({}), result({}), result({}), fine]);
  const out = keyOf('openai', { id: 'k', isRefused: true });
  const skipped = [
    keyOf('openai', { id: 'sealed', isRefused: true, protection: 'sealed' }),
    keyOf('openai', { id: 'off', isRefused: true, isActive: false }),
  ];
  const waits: number[] = [];
  let last = time.now;
  for (let second = 0; second < 1200; second += 1) {
    const before = done.length;
    watch.retest([out, ...skipped], caller);
    await watch.settled();
    if (done.length > before) {
      waits.push((time.now - last) / 1000);
      last = time.now;
    }
    if (done.includes('back k')) break;
    time.now += 1000;
  }
  t.same(waits, [0, 120, 240, 480]);
  t.same(done, ['test k', 'test k', 'test k', 'test k', 'forget k', 'back k'], 'it is taken out once only');
});
