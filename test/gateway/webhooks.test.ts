import { createHmac } from 'node:crypto';
import OpenAI from 'openai';
import t from 'tap';
import { createWebhookOutbox } from '../../src/admin/webhook-outbox.ts';
import { newId } from '../../src/ids.ts';
import { runCommand } from '../support/command.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream, type SeenRequest } from '../support/upstream.ts';

const receiver = await scriptUpstream(t, () => ({ status: 204 }));
const provider = await scriptUpstream(t, () => ({ body: { object: 'list', data: [] } }));
const gateway = await startGateway(t, {
  upstreams: { openai: provider.origin },
  settings: {
    SALLYPORT_ALLOW_ORIGINS: receiver.origin,
    TRUSTED_PROXIES: '127.0.0.1',
    ALLOW_PLAIN_HTTP: 'true',
  },
});
const { store, vault } = gateway.installation;
const { body: made } = await gateway.api('POST', '/webhooks', { url: `${receiver.origin}/hook?of=us` });
/** Knows Standard Webhooks, and is not ours. */
const { webhooks: verifier } = new OpenAI({ apiKey: 'none' });
const verified = ({ body, headers }: SeenRequest): Promise<void> =>
  verifier.verifySignature(body.toString(), headers, made.secret);

const time = { now: Date.now() };
const forged: string[] = [];
const outcomes: string[] = [];
const outbox = createWebhookOutbox({
  store,
  vault,
  send: gateway.app.alerts.sendWebhook,
  clock: () => time.now,
  onForgedRow: (table) => forged.push(table),
  onOutcome: (outcome) => outcomes.push(outcome),
});

const alert = (subject: string, workspaceId: string) => ({
  id: newId('alert'),
  workspace_id: workspaceId,
  rule: 'rate',
  subject,
  key_id: subject,
  user_id: newId('usr'),
  day: '2026-05-04',
  explanation: `Key ${subject} made 400 calls in the hour from 2026-05-04T10:00:00.000Z: usual are 4.5 an hour, the mean of the 10 hours with calls in the 14 days before.`,
  numbers: '{}',
  first_at: new Date(),
  last_at: new Date(),
  count: 1,
});
const raise = (subject: string, workspaceId = gateway.workspaceId, words: object = {}): Promise<unknown> =>
  store.asSystem((tx) =>
    tx
      .insertInto('alerts')
      .values({ ...alert(subject, workspaceId), ...words })
      .execute(),
  );
const [key1, key2, key3, key4] = [newId('key'), newId('key'), newId('key'), newId('key')];
const tamper = (table: string, statement: string): Promise<unknown> =>
  gateway.database.owner(
    `begin; alter table ${table} no force row level security; ${statement}; alter table ${table} force row level security; commit`,
  );

t.test('a message is signed as Standard Webhooks has it, by a secret that is shown once', async (t) => {
  t.match(made, { id: /^hook_[0-9a-f]{32}$/, secret: /^whsec_[A-Za-z0-9+/]{43}=$/ });
  t.same(made.events, ['alert.raised', 'breach.notice']);
  const listed = await gateway.api('GET', '/webhooks');
  t.notMatch(JSON.stringify(listed.body), /whsec/);
  t.match((await gateway.api('POST', `/webhooks/${made.id}/test`, {})).body, { ok: true, status: 204 });
  const [seen] = receiver.requests as [SeenRequest];
  t.match(seen, { method: 'POST', path: '/hook?of=us' });
  t.match(JSON.parse(seen.body.toString()), { type: 'webhook.test', data: { webhookId: made.id } });
  await verified(seen);
  await t.rejects(verified({ ...seen, body: Buffer.from('{}') }));
  const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = seen.headers;
  const key = Buffer.from(made.secret.slice('whsec_'.length), 'base64');
  const mac = createHmac('sha256', key).update(`${id as string}.${at as string}.${seen.body.toString()}`);
  t.equal(signature, `v1,${mac.digest('base64')}`);
});

t.test(
  'an alert is sent until it is taken, with one id, at growing distances, and not for ever',
  async (t) => {
    const answers = [500, 302, 204];
    receiver.respond(() => ({
      status: answers.shift() ?? 503,
      headers: { location: `${receiver.origin}/elsewhere` },
    }));
    const before = receiver.requests.length;
    const count = (): number => receiver.requests.length - before;
    await raise(key1);
    await Promise.all([outbox.run(), outbox.run()]);
    await outbox.run();
    t.equal(count(), 1, 'also where two nodes are at it; not again at once');
    time.now += 11_000;
    await outbox.run();
    t.equal(count(), 2, 'a redirect is not followed');
    time.now += 61_000;
    await outbox.run();
    t.same(outcomes.splice(0), ['failed', 'failed', 'delivered']);
    const seen = receiver.requests.slice(before);
    t.equal(new Set(seen.map(({ headers }) => headers['webhook-id'])).size, 1);
    for (const one of seen) await verified(one);
    t.match(JSON.parse((seen[2] as SeenRequest).body.toString()), {
      type: 'alert.raised',
      data: { rule: 'rate', keyId: key1, explanation: new RegExp(`^Key ${key1} made 400 calls `) },
    });
    await raise(key2);
    for (let i = 0; i < 10; i += 1, time.now += 13 * 3_600_000) await outbox.run();
    t.same(outcomes.splice(0), [...Array<string>(7).fill('failed'), 'given_up']);
    t.match((await gateway.api('GET', '/webhooks')).body.data, [{ id: made.id, waiting: 0, givenUp: 1 }]);
    time.now += 8 * 24 * 3_600_000;
    await outbox.forget();
    t.match((await gateway.api('GET', '/webhooks')).body.data, [{ givenUp: 0 }]);
  },
);

t.test('a call from a new network is told to the workspace', async (t) => {
  receiver.respond(() => ({ status: 204 }));
  await gateway.addKey('openai', 'sk-the-stored-key-0123456789');
  const from = (address: string) =>
    ask(`${gateway.origin}/openai/v1/models`, {
      headers: { authorization: `Bearer ${gateway.token}`, 'x-forwarded-for': address },
    });
  const look = async (): Promise<number> => {
    await gateway.shipped();
    await gateway.app.alerts.look();
    await gateway.app.alerts.deliver();
    return receiver.requests.length;
  };
  await from('203.0.113.9');
  const before = await look();
  await from('203.0.113.200');
  t.equal(await look(), before, 'of the same /24');
  await from('2001:db8:7:1::1');
  t.equal(await look(), before + 1);
  const [seen] = receiver.requests.slice(before) as [SeenRequest];
  await verified(seen);
  t.match(JSON.parse(seen.body.toString()).data, {
    rule: 'new-network',
    numbers: { uses: 1, knownNetworks: 1 },
  });
  t.notMatch(seen.body.toString(), /2001:db8|203\.0/);
  const listed = await runCommand(gateway, 'alerts', 'list', '--json');
  const [{ id }] = JSON.parse(listed.output).data.filter(({ rule }: any) => rule === 'new-network');
  t.match(await runCommand(gateway, 'alerts', 'ack', id), { exit: 0, output: /^Acknowledged at 2/ });
  t.match(await runCommand(gateway, 'alerts', 'list', '--rule', 'new-network'), { output: 'No alerts.\n' });
  t.match((await runCommand(gateway, 'webhooks', 'list')).output, /^ID .*\nhook_/);
  t.match((await runCommand(gateway, 'webhooks', 'test', made.id)).output, 'It answered with 204.');
  const metrics = await gateway.metrics();
  t.match(metrics, /^sallyport_alerts_total\{rule="new-network"\} 1$/m);
  t.match(metrics, /^sallyport_webhook_deliveries_total\{outcome="delivered"\} 1$/m);
});

t.test('what answers too much, or not at all, is a failure like others', async (t) => {
  receiver.respond(() => ({ status: 200, body: Buffer.alloc(70_000) }));
  const test = async () => (await gateway.api('POST', `/webhooks/${made.id}/test`, {})).body;
  t.match(await test(), { ok: false, code: 'UPSTREAM_ERROR', message: /64 KiB/ });
  receiver.respond(() => ({ hold: new Promise(() => {}) }));
  const before = receiver.requests.length;
  const slow = test();
  await receiver.received(before + 1);
  receiver.respond(() => ({ ending: 'reset', body: 'x', contentLength: 10 }));
  t.match(await test(), { ok: false, code: 'UPSTREAM_ERROR' });
  t.match(await slow, { ok: false, code: 'UPSTREAM_FIRST_BYTE_TIMEOUT' });
});

t.test('addresses are https and public, or of those that the operator lists', async (t) => {
  for (const [url, code] of [
    ['http://hooks.example.com/', 'EGRESS_REFUSED'],
    ['https://127.0.0.1/', 'EGRESS_REFUSED'],
    ['https://2130706433/', 'EGRESS_REFUSED'],
    ['https://[::ffff:10.0.0.1]/', 'EGRESS_REFUSED'],
    ['https://169.254.169.254/latest', 'EGRESS_REFUSED'],
    ['https://metadata.google.internal/', 'EGRESS_REFUSED'],
    ['https://user:pass@hooks.example.com/', 'REQUEST_INVALID'],
    ['https://hooks.example.com/#x', 'REQUEST_INVALID'],
    ['https:\\\\hooks.example.com', 'REQUEST_INVALID'],
    ['ftp://hooks.example.com/', 'REQUEST_INVALID'],
    ['https://hooks.example.com/\nx', 'REQUEST_INVALID'],
  ] as const)
    t.match((await gateway.api('POST', '/webhooks', { url })).body, { code }, url);
});

t.test(
  'one workspace’s slow receivers, or its key that does not open, keep nobody else waiting',
  async (t) => {
    const { body: other } = await gateway.api('POST', '/workspaces', { name: 'other' });
    for (let i = 0; i < 5; i += 1)
      await gateway.api('POST', '/webhooks', { url: `${receiver.origin}/other` }, other.adminToken);
    receiver.respond(({ path }) => ({ status: path === '/other' ? 503 : 204 }));
    time.now = Date.now();
    for (let i = 0; i < 4; i += 1) await raise(newId('key'), other.workspaceId);
    await outbox.run();
    t.same(outcomes.splice(0), Array<string>(20).fill('failed'));
    time.now += 11_000;
    await raise(newId('key'));
    await outbox.run();
    t.equal(outcomes.splice(0).filter((outcome) => outcome === 'delivered').length, 1, 'by turns');

    await tamper(
      'workspace_keys',
      `update workspace_keys set record = '\\x00' where workspace_id = '${other.workspaceId}'`,
    );
    vault.forget(other.workspaceId);
    await raise(newId('key'), other.workspaceId);
    await raise(newId('key'));
    time.now += 120_000;
    await outbox.run();
    const [delivered, failed] = [outcomes.filter((one) => one === 'delivered'), outcomes.splice(0)];
    t.equal(delivered.length, 1);
    t.equal(failed.length, 20, 'the others count as failed attempts');
    t.same(forged, []);
  },
);

t.test('a start forgets what ended a week ago', async (t) => {
  const ended = (id: string, days: number): Promise<unknown> =>
    tamper(
      'webhook_deliveries',
      `insert into webhook_deliveries (id, workspace_id, webhook_id, event, body, mac, outcome, created_at)
       values ('${id}', '${gateway.workspaceId}', '${made.id}', 'alert.raised', '{}', '', 'given_up', now() - interval '${days} days')`,
    );
  await ended('msg_old', 8);
  await ended('msg_new', 6);
  gateway.app.alerts.start();
  await gateway.app.alerts.close();
  t.match((await gateway.api('GET', '/webhooks')).body.data, [{ givenUp: 1 }]);
});

t.test('who writes to the database gets neither a message nor a signature', async (t) => {
  receiver.respond(() => ({ status: 204 }));
  const before = receiver.requests.length;
  await raise(key3);
  const words = 'Your account is closed: call us.';
  await raise(newId('key'), gateway.workspaceId, { explanation: words });
  await raise(newId('key'), gateway.workspaceId, { user_id: words });
  await raise(newId('key'), gateway.workspaceId, { numbers: JSON.stringify({ to: words }) });
  await tamper(
    'webhook_deliveries',
    `insert into webhook_deliveries (id, workspace_id, webhook_id, event, body, mac, next_at)
     values ('msg_forged', '${gateway.workspaceId}', '${made.id}', 'alert.raised', '{"type":"pay"}', '', now() - interval '1 day')`,
  );
  time.now = Date.now();
  await outbox.run();
  t.same(outcomes.splice(0).toSorted(), ['delivered', 'given_up']);
  t.same(forged.splice(0), ['alerts', 'alerts', 'alerts', 'webhook_deliveries']);
  t.notMatch(
    receiver.requests
      .slice(before)
      .map(({ body }) => body.toString())
      .join(),
    /pay|call us/,
  );
  await raise(key4);
  await tamper('webhooks', `update webhooks set url = '${receiver.origin}/mine'`);
  await outbox.run();
  t.match((await gateway.api('POST', `/webhooks/${made.id}/test`, {})).body, { code: 'CONFLICT' });
  t.same((await gateway.api('GET', '/webhooks')).body.data, []);
  t.equal(receiver.requests.length, before + 1, 'the genuine one');
  t.match((await gateway.api('DELETE', `/webhooks/${made.id}`)).body, { deleted: true });
});
