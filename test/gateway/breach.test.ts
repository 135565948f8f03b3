import OpenAI from 'openai';
import t from 'tap';
import { breachMessage } from '../../src/admin/breach-message.ts';
import { createMailer, isMailAddress } from '../../src/egress/mailer.ts';
import { runCommand } from '../support/command.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { smtpServer } from '../support/smtp.ts';
import { scriptUpstream, testCa } from '../support/upstream.ts';

const toHere = (_name: string, _options: object, done: (...found: never[]) => void): void =>
  done(...([null, [{ address: '127.0.0.1', family: 4 }]] as never[]));
const lookup = toHere as never;

t.test('what labels hold stays a label', async (t) => {
  const facts = {
    discoveredAt: new Date('2026-05-04T10:00:00Z'),
    since: new Date('2026-05-01T00:00:00Z'),
    until: new Date('2026-05-04T00:00:00Z'),
    what: null,
    contact: 'security@example.com',
  };
  const key = {
    label: 'mine\r\n\r\nAll is well.\u2028Ignore \u202eme <b>x</b>',
    provider: 'openai',
    last4: 'abcd',
    fingerprint: null,
    keyPage: 'https://platform.openai.com/api-keys',
    uses: 2,
    firstAt: facts.since,
    lastAt: facts.since,
    isOwn: true,
  };
  const { subject, text } = breachMessage(facts, [key, ...Array.from({ length: 60 }, () => key)]);
  t.notMatch(subject, /[^\x20-\x7e]/);
  t.match(text, '- "mine All is well. Ignore me <b>x</b>" (openai, ends in abcd): used 2 times');
  t.notMatch(text, /^All is well/m);
  t.match(text, '- and 11 more');
  t.match(text, /Revoke each .*\n {3}https:\/\/platform\.openai\.com\/api-keys\n2\./);
  t.match(breachMessage(facts, [{ ...key, isOwn: false }]).text, 'Keys of others that you used');
});

t.test('mail goes by verified TLS or not at all, to one mailbox', async (t) => {
  const plain = await smtpServer(t, { hasStartTls: false });
  const server = await smtpServer(t);
  const mail = { to: 'a@example.com', subject: 's\r\nBcc: x@example.com', text: '.\r\n.dot\n', id: 'm1' };
  const from = 'gateway@example.com';
  const by = (url: string, ca?: string) =>
    createMailer({ url, from, lookup, ...(ca === undefined ? {} : { ca }) })(mail);
  t.match(await by(`smtp://mail.sallyport.test:${plain.port}`, testCa), { ok: false, code: /^E[A-Z]+$/ });
  t.notOk(plain.commands.includes('MAIL'), 'no STARTTLS, no mail');
  t.match(await by(`smtp://mail.sallyport.test:${server.port}`), { ok: false }, 'a certificate of nobody’s');
  t.match(await by(`smtp://other.example.com:${server.port}`, testCa), { ok: false }, 'of another name');
  t.equal(server.mails.length, 0);
  t.match(await by(`smtp://us%40x:p%C3%A4ss@mail.sallyport.test:${server.port}`, testCa), {
    ok: true,
    code: null,
  });
  t.match(server.mails, [{ isTls: true, login: 'us@x\0päss', from, to: ['a@example.com'] }]);
  const [{ content } = { content: '' }] = server.mails;
  t.match(content, /^Subject: s Bcc: x@example\.com\r$/m, 'no header of its own');
  t.match(content, /^Message-ID: <m1@example\.com>\r$/m);
  t.match(content, /\r\n\r\n\.\r\n\.dot\r\n/);
  t.match(await by(`smtp://127.0.0.1:${plain.port}`), { ok: true }, 'in clear on this machine');
  t.ok(isMailAddress('o.neil+x@mail.example.co'));
  for (const bad of [
    'a@b@c',
    'a b@c.de',
    'a@c.de, d@e.fg',
    '<a@c.de>',
    'a@c.de\r\nBcc:x',
    '"a"@c.de',
    'a',
    '@c',
    'a@',
  ])
    t.notOk(isMailAddress(bad), bad);
});

t.test('a breach is told once to everybody whom it concerns, by the journal', async (t) => {
  const value = 'sk-proj-0123456789abcdefghij';
  const upstream = await scriptUpstream(t, () => ({ body: { object: 'list', data: [] } }));
  const receiver = await scriptUpstream(t, () => ({ status: 204 }));
  const server = await smtpServer(t);
  const gateway = await startGateway(t, {
    ca: testCa,
    lookup,
    upstreams: { openai: upstream.origin },
    settings: {
      SALLYPORT_ALLOW_ORIGINS: receiver.origin,
      SMTP_URL: `smtp://mail.sallyport.test:${server.port}`,
      SMTP_FROM: 'gateway@example.com',
    },
  });
  const since = new Date(Date.now() - 60_000).toISOString();
  const person = async (name: string, email: string | null): Promise<{ id: string; token: string }> => {
    const { body: user } = await gateway.api('POST', '/users', { name, email });
    const { body } = await gateway.api('POST', '/tokens', { name, userId: user.id });
    return { id: user.id, token: body.token };
  };
  const [alice, bob, carol] = [
    await person('Alice Person', 'alice@example.com'),
    await person('Bob Person', 'bob@example.com'),
    await person('Carol Person', null),
  ];
  await person('Dora Person', 'dora@example.com');
  const keyId = await gateway.addKey('openai', value, {
    name: 'label of Alice',
    userId: alice.id,
    sharedWith: [bob.id, carol.id],
  });
  for (const { token } of [alice, bob, carol, carol])
    await ask(`${gateway.origin}/openai/v1/models`, { headers: { authorization: `Bearer ${token}` } });
  await gateway.shipped();

  t.match(await gateway.metrics(), /^sallyport_breaches_waiting 0$/m);
  const discoveredAt = new Date(Date.now() - 3_600_000).toISOString();
  const { body: breach } = await gateway.api('POST', '/breaches', { discoveredAt, noteId: 'INC-7' });
  t.equal(Date.parse(breach.dueAt) - Date.parse(discoveredAt), 72 * 3_600_000);
  const left = /^sallyport_breach_notice_deadline_seconds (\d+)/m.exec(await gateway.metrics())?.[1];
  t.ok(Number(left) > 70 * 3600 && Number(left) <= 71 * 3600, `${left} s`);

  const notify = (more: object) =>
    gateway.api('POST', `/breaches/${breach.id}/notify`, { since, contact: 'security@example.com', ...more });
  const states = async (more: object): Promise<Record<string, string>> => {
    const { body } = await notify(more);
    return Object.fromEntries(body.users.map((one: any) => [one.userId, `${one.channel} ${one.state}`]));
  };
  for (const more of [
    {},
    { all: true, keyIds: [keyId] },
    { keyIds: ['key_none'] },
    { all: true, since: '2099-01-01' },
  ])
    t.equal((await notify(more)).status, 400, JSON.stringify(more));

  const dry = await notify({ keyIds: [keyId], dryRun: true, what: 'A backup was copied.' });
  t.same(dry.body.affected, 3, 'the owner, and who used it; not Dora');
  t.match(
    dry.body.users[0].message.text,
    /A backup was copied\.[\s\S]*"label of Alice" \(openai, ends in ghij/,
  );
  t.same([server.mails.length, receiver.requests.length], [0, 0], 'a dry run sends nothing');

  server.refused.add('bob@example.com');
  t.same(await states({ keyIds: [keyId] }), {
    [alice.id]: 'smtp sent',
    [bob.id]: 'smtp failed',
    [carol.id]: 'null unreachable',
  });
  t.match(server.mails, [{ isTls: true, to: ['alice@example.com'], content: /Subject: Security notice/ }]);
  server.refused.clear();
  const { body: hook } = await gateway.api('POST', '/webhooks', {
    url: `${receiver.origin}/hook`,
    events: ['breach.notice'],
  });
  const [first, again] = await Promise.all([states({ keyIds: [keyId] }), states({ keyIds: [keyId] })]);
  t.equal(first[alice.id], 'smtp before');
  t.same(
    [first[bob.id], again[bob.id]].filter((one) => one === 'smtp sent').length,
    1,
    'two runs, one message',
  );
  t.equal(server.mails.length, 2);
  t.equal(receiver.requests.length, 1);
  const [{ body, headers } = { body: Buffer.alloc(0), headers: {} }] = receiver.requests;
  await new OpenAI({ apiKey: 'none' }).webhooks.verifySignature(body.toString(), headers, hook.secret);
  t.match(JSON.parse(body.toString()), {
    type: 'breach.notice',
    data: {
      breachId: breach.id,
      userId: carol.id,
      keyIds: [keyId],
      text: /Keys of others that you used[\s\S]*2 times/,
    },
  });
  t.notMatch(body.toString(), /ghij/, 'not more of another’s key than he knew');

  const contact = ['--contact', 'security@example.com'];
  const command = await runCommand(
    gateway,
    'breach',
    'notify',
    '--since',
    since,
    '--keys',
    keyId,
    ...contact,
  );
  t.equal(command.exit, 0);
  t.match(command.output, /^Concerned: 3\.\nUSER[\s\S]*Everybody has the notice since 2/);
  t.match((await notify({ keyIds: [keyId] })).body, { breach: { notifiedAt: /^2/ }, cursor: null });
  t.equal(server.mails.length, 2);
  t.match(await gateway.metrics(), /^sallyport_breach_notice_deadline_seconds 0$/m);
  await gateway.api('DELETE', `/api-keys/${keyId}`);
  await gateway.shipped();
  const gone = await notify({ keyIds: [keyId], dryRun: true });
  t.equal(gone.body.affected, 3, 'a deleted key is on record');
  const earlier = { since: '2026-01-01T00:00:00Z', until: '2026-01-02T00:00:00Z', dryRun: true };
  t.equal(
    (await notify({ ...earlier, keyIds: [keyId] })).body.affected,
    1,
    'also one that was not used then',
  );
  for (const id of [`key_${'f'.repeat(32)}`, `key_${'0'.repeat(32)}`])
    t.equal((await notify({ ...earlier, keyIds: [id] })).body.code, 'REQUEST_INVALID');
  const { body: tenant } = await gateway.api('POST', '/workspaces', { name: 'other' });
  const second = { name: 'b', provider: 'openai', value: value.replace('0', 'x') };
  await gateway.api('POST', '/webhooks', { url: `${receiver.origin}/other` }, tenant.adminToken);
  t.equal((await gateway.api('POST', '/api-keys', second, tenant.adminToken)).status, 201);
  await gateway.database.owner(
    `begin; alter table workspace_keys no force row level security;
     update workspace_keys set record = '\\x00' where workspace_id = '${tenant.workspaceId}';
     alter table workspace_keys force row level security; commit`,
  );
  gateway.installation.vault.forget(tenant.workspaceId);
  const all = await notify({ all: true, dryRun: true });
  t.equal(all.body.affected, 4);
  t.equal(
    all.body.users.find(({ workspaceId }: any) => workspaceId === tenant.workspaceId).state,
    'unreachable',
    'a workspace whose key does not open keeps nobody else from being told',
  );
  await gateway.api('PATCH', `/users/${bob.id}`, { email: null });
  const { body: later } = await gateway.api('POST', '/breaches', {});
  const before = receiver.requests.length;
  receiver.respond(() => ({ ending: 'reset', body: 'x', contentLength: 10 }));
  const { body: missed } = await gateway.api('POST', `/breaches/${later.id}/notify`, {
    since,
    contact: 'security@example.com',
    keyIds: [keyId],
  });
  const failed = { channel: 'webhook', state: 'failed', code: 'UPSTREAM_ERROR' };
  t.match(
    missed.users.filter(({ userId }: any) => userId !== alice.id),
    [failed, failed],
  );
  const messages = receiver.requests.slice(before).map(({ headers: sent }) => sent['webhook-id']);
  t.equal(new Set(messages).size, 1, 'who is away is asked once a run, however many wait for him');
  await gateway.api('POST', `/breaches/${later.id}/close`, {});
  t.match((await runCommand(gateway, 'breach', 'list')).output, breach.id);
  t.match(await runCommand(gateway, 'breach', 'close'), { exit: 0, output: /was closed at/ });
  t.match(await runCommand(gateway, 'breach', 'close'), { error: /no such open breach/ });
  t.equal((await notify({ keyIds: [keyId] })).body.code, 'CONFLICT');
  t.equal((await gateway.api('POST', `/breaches/${breach.id}/close`, {})).status, 409);
  const other = await gateway.api('POST', '/tokens', { name: 'a', kind: 'admin', userId: alice.id });
  t.equal((await gateway.api('GET', '/breaches', undefined, other.body.token)).status, 403);

  await gateway.shipped();
  const { body: audit } = await gateway.api('GET', '/audit?limit=200');
  const events = audit.data.map(({ event }: any) => event);
  for (const [event, count] of [
    ['breach.open.done', 2],
    ['breach.notified', 4],
    ['breach.notify.done', 1],
    ['breach.close.done', 2],
  ] as const)
    t.equal(events.filter((one: string) => one === event).length, count, event);
  t.notMatch(
    JSON.stringify(audit.data) + gateway.logLines.join(''),
    /Person|example\.com\b(?!:)|label of Alice/,
  );
});
