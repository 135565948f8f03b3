import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { readConfig } from '../../src/config.ts';
import { keepHouse } from '../../src/housekeeping.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const [first, second] = ['sk-test-first-0123456789abcdef', 'sk-test-second-0123456789abcdef'];
const upstream = await scriptUpstream(t, { script: [{ body: { ok: true } }] });
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
const { body: user } = await gateway.api('POST', '/users', { name: 'someone' });
const { body: minted } = await gateway.api('POST', '/tokens', { name: 'x', userId: user.id });
const chat = `${gateway.origin}/v1/chat/completions`;
const body = { model: 'gpt-4o', stream: true };

const call = (more: object = {}): Promise<Answered> =>
  ask(chat, { headers: { 'x-api-key': minted.token, ...more }, body });

/** A stream of which the first event has come. */
async function running(): Promise<{ readonly ended: Promise<Answered> }> {
  const head = Promise.withResolvers<void>();
  const ended = ask(chat, { headers: { 'x-api-key': minted.token }, body, onData: () => head.resolve() });
  await Promise.race([head.promise, ended]);
  return { ended };
}

const versionsOf = (keyId: string) =>
  gateway.database.store.asSystem((tx) =>
    tx.selectFrom('provider_key_versions').select('version').where('key_id', '=', keyId).execute(),
  );

/** The key of the last request. */
const used = (): string => String(upstream.requests.at(-1)?.headers.authorization).replace('Bearer ', '');

t.test('a value that is replaced in the middle of a stream ends with the stream', async (t) => {
  const keyId = await gateway.addKey('openai', first, { userId: user.id });
  const rest = Promise.withResolvers<void>();
  upstream.respond([
    { events: ['{"choices":[1]}', rest.promise, '{"choices":[2]}', '[DONE]'] },
    { body: { ok: true } },
  ]);
  const { ended } = await running();
  t.equal(used(), first);

  const replaced = await gateway.api('PATCH', `/api-keys/${keyId}`, { value: second });
  t.match(replaced.body, { version: 2, lastTest: null });
  t.same(await versionsOf(keyId), [{ version: 2 }], 'the old one is gone at once');
  const next = await call();
  t.equal(next.status, 200);
  t.equal(used(), second, 'the next call uses the new one');

  rest.resolve();
  const whole = await ended;
  t.ok(whole.isWhole);
  t.match(whole.body.toString(), /"choices":\[2\]\}\n\ndata: \[DONE\]\n\n$/);
  await gateway.shipped();
  const { body: calls } = await gateway.api('GET', `/usage/calls?keyId=${keyId}`);
  t.same(
    calls.data
      .map((row: { keyVersion: number; outcome: string }) => [row.keyVersion, row.outcome])
      .toSorted(),
    [
      [1, 'ok'],
      [2, 'ok'],
    ],
  );
  await gateway.api('DELETE', `/api-keys/${keyId}`);
});

t.test('what was noted of the old value does not hang on the new one', async (t) => {
  upstream.respond([{ status: 401, body: {} }, { body: { ok: true } }]);
  const keyId = await gateway.addKey('openai', first, { userId: user.id });
  const failed = await gateway.api('POST', '/api-keys/test', { keyId });
  t.match(failed.body, { ok: false, code: 'UPSTREAM_AUTH' });
  t.equal((await gateway.api('GET', `/api-keys/${keyId}`)).body.status, 'auth_failed');
  const before = (await gateway.api('GET', `/api-keys/${keyId}`)).body.rotationDueAt;
  const { body: fresh } = await gateway.api('PATCH', `/api-keys/${keyId}`, { value: second });
  t.match(fresh, { status: 'active', lastTest: null, version: 2 });
  t.ok(Date.parse(fresh.rotationDueAt) > Date.parse(before));
  t.equal((await call()).status, 200);
  await gateway.api('DELETE', `/api-keys/${keyId}`);
});

t.test('where was this key used? By its value, stored, deleted or passed through', async (t) => {
  upstream.respond([{ body: { ok: true } }]);
  const value = 'sk-test-leaked-0123456789abcdef';
  const keyId = await gateway.addKey('openai', value, { userId: user.id });
  await call();
  await gateway.api('DELETE', `/api-keys/${keyId}`);
  const passed = await call({ 'x-sallyport-provider-key': value });
  t.equal(passed.header('x-sallyport-key-source'), 'pass-through');
  await gateway.shipped();
  const { body: found } = await gateway.api('POST', '/api-keys/find', { value });
  t.same(found.keys, []);
  t.match(found.uses, [
    { keyId: null, keySource: 'pass-through', tokenId: minted.id, calls: 1 },
    { keyId, keySource: 'own', tokenId: minted.id, calls: 1 },
  ]);
  const { body: other } = await gateway.api('POST', '/api-keys/find', { value: second });
  t.notOk(other.uses.some((use: { keyId: string }) => use.keyId === keyId));
});

t.test('a user who stores nothing any more is cut within a second, and passes his key through', async (t) => {
  upstream.respond([{ events: ['{"choices":[]}'], ending: 'stall' }, { body: { ok: true } }]);
  const keyId = await gateway.addKey('openai', first, { userId: user.id });
  const { ended } = await running();
  const from = performance.now();
  const off = await gateway.api('PATCH', `/users/${user.id}`, { storeKeys: false, confirm: 'shred' });
  t.match(off, { status: 200, body: { shredded: [keyId] } });
  const cut = await ended;
  t.ok(performance.now() - from < 1000, 'cut within a second');
  t.notOk(cut.isWhole);
  t.match(cut.body.toString(), /"code":"KEY_MISSING"/);
  t.same(await versionsOf(keyId), []);
  t.equal((await call()).header('x-sallyport-code'), 'KEY_MISSING');
  const passed = await call({ 'x-sallyport-provider-key': second });
  t.equal(passed.status, 200);
  t.equal(used(), second);
  await gateway.api('PATCH', `/users/${user.id}`, { storeKeys: true });
});

t.test('at its start the gateway reminds of what expires, in log, journal and metrics', async (t: Test) => {
  const days = (count: number): string => new Date(Date.now() + count * 86_400_000).toISOString();
  const keyId = await gateway.addKey('openai', first, { expiresAt: days(2.5) });
  await gateway.addKey('openai', second, { expiresAt: days(30) });
  t.match(await gateway.metrics(), /^sallyport_keys_expiring 1$/m);
  const seen = Promise.withResolvers<Record<string, unknown>>();
  await gateway.database.owner(`begin; alter table idempotency_keys no force row level security;
    insert into idempotency_keys (workspace_id, caller_id, key, digest, resource_id, created_at)
      select '${gateway.workspaceId}', 'tok_1', 'of Alice ' || hours, '', 'key_1', now() - make_interval(hours => hours)
      from unnest(array[23, 25]) hours;
    alter table idempotency_keys force row level security; commit`);
  const stop = keepHouse(readConfig({}), gateway.installation, {
    metrics: createMetrics({ version: '1', node: 'v26' }),
    log: createLog({
      level: 'warn',
      write(line) {
        if (line.includes('key.expiring')) seen.resolve(JSON.parse(line) as Record<string, unknown>);
      },
    }),
  });
  t.teardown(stop);
  t.match(await seen.promise, {
    event: 'key.expiring',
    keyId,
    daysLeft: 3,
    workspaceId: /^ws_/,
    userId: /^usr_/,
  });
  await gateway.shipped();
  const { body: audit } = await gateway.api('GET', '/audit?event=key.expiring');
  t.match(audit.data, [{ keyId, record: { daysLeft: 3 } }]);
  const kept = () =>
    gateway.database.store.asSystem((tx) =>
      tx.selectFrom('idempotency_keys').select('key').where('caller_id', '=', 'tok_1').execute(),
    );
  while ((await kept()).length > 1) await setImmediate();
  t.same(await kept(), [{ key: 'of Alice 23' }], 'of requests of yesterday nothing is kept');
});

t.test('all of it is on record, whole', async (t) => {
  const { problems } = await verifyJournal({ dir: gateway.journalDir, store: gateway.database.store });
  t.same(problems, []);
});
