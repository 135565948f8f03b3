import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { verifyJournal } from '../../src/journal/verify.ts';
import { dump } from '../support/canary.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { newSeal } from '../support/seal.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(120_000);

const keyValue = 'sk-test-person-0123456789abcdef0123456789abcdef';
const upstream = await scriptUpstream(t, {
  key: keyValue,
  script: (request) =>
    request.body.includes('"stream":true')
      ? { events: ['{"choices":[{"delta":{"content":"hi"}}]}'], ending: 'stall' }
      : { body: { text: markOf('answer'), choices: [{ message: { content: markOf('answer') } }] } },
});
const gateway = await startGateway(t, {
  upstreams: { openai: upstream.origin },
  settings: {
    TRUSTED_PROXIES: '127.0.0.1',
    ALLOW_PLAIN_HTTP: 'true',
    SALLYPORT_ALLOW_ORIGINS: upstream.origin,
  },
});
const { store } = gateway.database;
const { vault } = gateway.installation;

/** Words that stand nowhere else, by what they were put into. */
const marks = new Map<string, string>();
function markOf(what: string): string {
  const mark = marks.get(what) ?? `mark${randomBytes(9).toString('hex')}`;
  marks.set(what, mark);
  return mark;
}

const address = '203.0.113.77';
const driven = new Set<string>();
let bearer = gateway.adminToken;

/** One act, noted as its route; every one has a marked header and comes from the marked address. */
async function act(route: string, url: string, body?: object): Promise<Answered> {
  const [method = ''] = route.split(' ');
  driven.add(route);
  const answer = await ask(`${gateway.origin}/api${url}`, {
    method,
    headers: {
      authorization: `Bearer ${bearer}`,
      'x-forwarded-for': address,
      'user-agent': markOf('agent'),
      'x-note': markOf('header'),
      ...(method === 'POST' ? { 'idempotency-key': markOf(`idempotency ${route} ${marks.size}`) } : {}),
    },
    ...(body === undefined ? {} : { body }),
  });
  if (answer.status >= 300) throw new Error(`${route}: ${answer.status} ${answer.body.toString()}`);
  const { token, secret } = answer.json() as { token?: unknown; secret?: unknown };
  for (const shown of [token, secret]) if (typeof shown === 'string') gateway.watch(shown);
  return answer;
}

async function callOf(token: string, more: { body?: object | string; type?: string; path?: string } = {}) {
  const {
    path: at = '/v1/chat/completions',
    body = { model: 'gpt-4o', messages: [{ role: 'user', content: markOf('prompt') }] },
  } = more;
  return ask(`${gateway.origin}${at}`, {
    headers: {
      'x-api-key': token,
      'x-forwarded-for': address,
      'user-agent': markOf('agent'),
      'x-note': markOf('header'),
      cookie: `c=${markOf('cookie')}`,
      ...(more.type === undefined ? {} : { 'content-type': more.type }),
    },
    body,
  });
}

function filesUnder(dir: string): string {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(path.join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');
}

const dataDir = path.dirname(gateway.journalDir);
const recorded = async (): Promise<string[]> => {
  const rows = await store.asSystem((tx) => tx.selectFrom('journal').select('line').execute());
  return rows.map(({ line }) => line);
};

const email = `${markOf('email')}@example.com`;
const externalId = markOf('external id');
const user = (await act('POST /users', '/users', { name: markOf('name'), email, externalId })).json() as {
  id: string;
};
await act('PUT /members/{id}', `/members/${user.id}`, { role: 'admin' });
const admin = (
  await act('POST /tokens', '/tokens', { name: markOf('admin token'), kind: 'admin', userId: user.id })
).json() as { token: string };

t.test('whatever is done, records, logs and metrics hold ids only', async (t) => {
  bearer = admin.token;
  await act('PATCH /users/{id}', `/users/${user.id}`, { name: markOf('new name') });
  await act('PATCH /members/{id}', `/members/${user.id}`, { role: 'admin' });
  const key = (
    await act('POST /api-keys', '/api-keys', {
      name: markOf('key name'),
      description: markOf('description'),
      provider: 'openai',
      value: keyValue,
      force: true,
    })
  ).json() as { id: string };
  await act('PATCH /api-keys/{id}', `/api-keys/${key.id}`, { description: markOf('new description') });
  await act('PUT /api-keys/{id}', `/api-keys/${key.id}`, { name: markOf('new key name') });
  await act('POST /api-keys/test', '/api-keys/test', { keyId: key.id });
  await act('POST /api-keys/find', '/api-keys/find', { value: keyValue });
  const other = (
    await act('POST /api-keys', '/api-keys', {
      name: markOf('other key'),
      provider: 'openai',
      value: `${keyValue}other`,
      force: true,
    })
  ).json() as { id: string };
  await act('DELETE /api-keys/{id}', `/api-keys/${other.id}`);
  const [seal, spare] = [newSeal(), newSeal()];
  const { id: sealId } = (
    await act('POST /seals', '/seals', { name: markOf('seal'), publicKey: seal.publicKey })
  ).json() as { id: string };
  const { id: spareId } = (
    await act('POST /seals', '/seals', { name: markOf('spare seal'), publicKey: spare.publicKey })
  ).json() as { id: string };
  await act('DELETE /seals/{id}', `/seals/${spareId}`);
  t.ok(sealId);
  const token = (
    await act('POST /tokens', '/tokens', { name: markOf('token'), tags: [markOf('tag')] })
  ).json() as { token: string };
  const gone = (await act('POST /tokens', '/tokens', { name: markOf('gone token') })).json() as {
    id: string;
    token: string;
  };
  await act('PATCH /tokens/{id}', `/tokens/${gone.id}`, {
    name: markOf('new token name'),
    tags: [markOf('new tag')],
  });
  await act('DELETE /tokens/{id}', `/tokens/${gone.id}`);
  const alias = (
    await act('POST /aliases', '/aliases', { alias: 'fast', target: 'openai/gpt-4o' })
  ).json() as { id: string };
  await act('DELETE /aliases/{id}', `/aliases/${alias.id}`);
  const price = (
    await act('POST /prices', '/prices', {
      provider: 'openai',
      model: 'gpt-4o',
      prices: { input: '1' },
    })
  ).json() as { id: string };
  await act('DELETE /prices/{id}', `/prices/${price.id}`);
  await act('PATCH /workspaces/current', '/workspaces/current', { name: markOf('workspace') });
  const hook = (
    await act('POST /webhooks', '/webhooks', {
      url: `https://hooks.example.com/${markOf('webhook')}`,
      events: ['alert.raised'],
    })
  ).json() as { id: string };
  await act('POST /webhooks/{id}/test', `/webhooks/${hook.id}/test`);
  await act('DELETE /webhooks/{id}', `/webhooks/${hook.id}`);
  await act(
    'DELETE /members/{id}',
    `/members/${(await act('POST /users', '/users', { name: markOf('second') })).json().id}`,
  );

  const custom = markOf('custom');
  await act('POST /api-keys', '/api-keys', {
    name: custom,
    provider: 'custom',
    value: keyValue,
    origins: [upstream.origin],
  });
  const named = { model: `${custom}/m`, messages: [] };
  t.equal((await callOf(token.token, { body: named })).status, 200);
  t.equal(
    (await callOf(token.token, { path: `/custom/${custom}/v1/chat/completions`, body: { model: 'm' } }))
      .status,
    200,
  );
  t.equal((await callOf(token.token)).status, 200);
  t.equal((await callOf(token.token, { path: `/v1/chat/completions?note=${markOf('query')}` })).status, 200);
  const form = [
    '--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1',
    `--b\r\ncontent-disposition: form-data; name="file"; filename="${markOf('file name')}.wav"\r\ncontent-type: audio/wav\r\n\r\n${markOf('file')}`,
    '--b--\r\n',
  ].join('\r\n');
  const uploaded = await callOf(token.token, {
    path: '/v1/audio/transcriptions',
    body: form,
    type: 'multipart/form-data; boundary=b',
  });
  t.equal(uploaded.status, 200, uploaded.body.toString());
  // And what is refused.
  t.equal((await callOf(gone.token)).status, 401);
  t.equal((await callOf(`spt_${markOf('token text')}`)).status, 401);
  t.equal((await callOf(token.token, { body: `{"model": "${markOf('broken')}` })).status, 400);
  t.equal(
    (await callOf(token.token, { path: `/custom/${markOf('path')}/v1/chat/completions` })).status >= 400,
    true,
  );

  bearer = gateway.adminToken;
  const breach = (await act('POST /breaches', '/breaches', { noteId: 'ticket-1' })).json() as { id: string };
  const notice = { since: new Date(Date.now() - 3_600_000).toISOString(), all: true };
  await act('POST /breaches/{id}/notify', `/breaches/${breach.id}/notify`, {
    ...notice,
    what: markOf('what happened'),
    contact: markOf('contact'),
  });
  await act('POST /breaches/{id}/close', `/breaches/${breach.id}/close`);
  await gateway.shipped();
  const places = {
    journal: (await recorded()).join('\n'),
    files: filesUnder(dataDir),
    log: gateway.logLines.join('\n'),
    metrics: await gateway.metrics(),
  };
  for (const [place, text] of Object.entries(places)) {
    for (const [what, mark] of marks) {
      // The name of a custom provider is a part of its models' names, which are recorded as they were asked for.
      if (what !== 'custom') t.notOk(text.includes(mark), `${what} in ${place}`);
    }
    t.notOk(text.includes(address), `the address in ${place}`);
  }
  const tables = (await dump(store)).toString();
  t.ok(tables.includes(markOf('new name')), 'what is looked for is found where it stands');
  for (const what of ['prompt', 'answer', 'file', 'file name', 'query', 'header', 'agent', 'cookie'])
    t.notOk(tables.includes(markOf(what)), `${what} in the database`);
  t.notOk(tables.includes(address));

  const { paths } = (await gateway.api('GET', '/openapi.json')).body as { paths: Record<string, object> };
  const mutating = Object.entries(paths).flatMap(([url, methods]) =>
    Object.keys(methods)
      .filter((method) => method !== 'get')
      .map((method) => `${method.toUpperCase()} ${url.replace(/^\/api/, '').replace(/(.)\/$/, '$1')}`),
  );
  t.same(
    mutating.filter((route) => !driven.has(route) && !wordless.has(route)),
    [],
    'every act is driven here, or takes no words',
  );
});

/** Acts whose bodies have no place for a text of a person, and the one that comes below. */
const wordless = new Set([
  'DELETE /users/{id}',
  'POST /api-keys/import',
  'POST /alerts/{id}/acknowledge',
  'POST /journal/reproject',
  'POST /keyring/stage',
  'POST /keyring/promote',
  'POST /keyring/rewrap',
  'POST /keyring/retire',
  'POST /seals/{id}/reseal',
  'POST /signing-keys/rotate',
  'POST /usage/recost',
  'POST /workspaces',
]);

t.test('a person gets what is kept about him, and nobody else does', async (t) => {
  const read = async (as: string, id = user.id) => {
    const answer = await ask(`${gateway.origin}/api/users/${id}/export`, {
      headers: { authorization: `Bearer ${as}` },
    });
    return { status: answer.status, text: answer.body.toString() };
  };
  const own = await read(admin.token);
  t.equal(own.status, 200);
  const parts = own.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; data: { id?: string; record?: { event?: string } } });
  t.same(
    [...new Set(parts.map(({ kind }) => kind))],
    ['user', 'membership', 'token', 'key', 'seal', 'record'],
  );
  for (const what of ['new name', 'admin token', 'token', 'new key name', 'seal', 'tag'])
    t.ok(own.text.includes(markOf(what)), what);
  t.ok(own.text.includes(email));
  t.ok(parts.some(({ data }) => data.record?.event === 'use.end'));
  t.notOk(own.text.includes(keyValue));
  t.equal((await read(gateway.adminToken)).status, 200, 'an owner may ask for it');
  const { body: member } = await gateway.api('POST', '/users', { name: 'curious' });
  const { body: token } = await gateway.api('POST', '/tokens', {
    name: 'c',
    kind: 'admin',
    userId: member.id,
  });
  t.equal((await read(token.token, member.id)).status, 200);
  t.equal((await read(token.token)).status, 404);
  await gateway.api('PATCH', `/members/${member.id}`, { role: 'auditor' });
  t.equal((await read(token.token)).status, 403, 'auditors see no labels of keys');
  await gateway.shipped();
  t.equal((await recorded()).filter((line) => line.includes('"event":"export.person"')).length, 3);
});

t.test('erasing a person leaves nothing of him but ids, and the journal whole', async (t) => {
  bearer = gateway.adminToken;
  const mine = (await act('POST /tokens', '/tokens', { name: 'his', userId: user.id })).json() as {
    token: string;
  };
  const begin = (await recorded())
    .map((line) => JSON.parse(line))
    .find(
      (record) => record.event === 'use.begin' && record.userId === user.id && record.clientIpHash !== null,
    ) as { clientIpHash: string; network: string };
  const salts = () =>
    store.asSystem((tx) =>
      tx.selectFrom('address_salts').select(['user_id as userId', 'month', 'salt']).execute(),
    );
  const owner = { workspaceId: gateway.workspaceId };
  const his = (await salts()).filter(({ userId }) => userId === user.id);
  t.match(vault.markClient(address, { ...owner, addressSalts: his }), {
    clientIpHash: begin.clientIpHash,
    network: begin.network,
  });

  // With a stream of his under way, and with others who make tokens for him and ask for the same.
  const head = Promise.withResolvers<void>();
  const ended = ask(`${gateway.origin}/v1/chat/completions`, {
    headers: { 'x-api-key': mine.token },
    body: { model: 'gpt-4o', stream: true },
    onData: () => head.resolve(),
  });
  await Promise.race([head.promise, ended]);
  const minting = [1, 2, 3, 4].map((n) =>
    gateway.api('POST', '/tokens', { name: `late ${n}`, userId: user.id }),
  );
  const erasing = [1, 2].map(() => gateway.api('DELETE', `/users/${user.id}`));
  const [minted, erased] = [await Promise.all(minting), await Promise.all(erasing)];
  for (const { status, body } of minted) {
    t.ok(status === 201 || status === 404 || status === 409, `a token: ${status} ${body.code}`);
    if (status === 201)
      t.equal((await callOf(body.token)).status, 401, 'a token that was quicker is worth nothing');
  }
  t.ok(erased.some(({ status }) => status === 200));
  for (const { status, body } of erased)
    t.ok(status === 200 || status === 404, `an erasure: ${status} ${JSON.stringify(body)}`);
  t.notOk((await ended).isWhole);
  t.match((await ended).body.toString(), /The token was revoked|The provider key was taken away/);
  t.equal((await callOf(mine.token)).status, 401);
  await gateway.shipped();
  const again = await gateway.api('DELETE', `/users/${user.id}`);
  t.equal(again.status, 200, 'and again');
  t.equal(again.body.receipt, erased.find(({ status }) => status === 200)?.body.receipt);

  const tables = (await dump(store)).toString();
  const left = `${tables}\n${filesUnder(dataDir)}\n${gateway.logLines.join('\n')}`;
  const stays = new Set(['workspace', 'second', 'answer', 'custom']);
  for (const [what, mark] of marks) {
    if (stays.has(what) || what.startsWith('idempotency')) continue;
    t.notOk(left.includes(mark), `${what} is left`);
  }
  t.notOk(left.includes(address));
  // Whoever has the database and the vault's key tries his address with all that is left.
  const tried = await salts();
  t.ok(tried.length > 0);
  const hashes = [...tried.map((salt) => [{ ...salt, userId: user.id }]), []].map(
    (addressSalts) => vault.markClient(address, { ...owner, addressSalts }).clientIpHash,
  );
  t.notOk(hashes.includes(begin.clientIpHash));

  const records = (await recorded()).map((line) => JSON.parse(line));
  const acts = records.filter(({ event, userId }) => event === 'user.erase.done' && userId === user.id);
  t.equal(acts.length, 1);
  const usage = await store.asSystem((tx) =>
    tx.selectFrom('usage_hourly').select('calls').where('user_id', '=', user.id).execute(),
  );
  t.ok(usage.length > 0, 'sums stay, under his id');
  const verdict = await verifyJournal({
    dir: gateway.journalDir,
    store,
    since: null,
    copy: null,
    activeKey: null,
  });
  t.same(verdict.problems, []);
});

t.test('nobody erases whom he may not, nor the operator, nor the last owner', async (t) => {
  const { body: members } = await gateway.api('GET', '/members');
  const operatorId = members.data.find(({ role }: { role: string }) => role === 'owner').userId as string;
  t.match(await gateway.api('DELETE', `/users/${operatorId}`), { status: 409, body: { code: 'CONFLICT' } });
  const { body: member } = await gateway.api('POST', '/users', { name: 'member' });
  const { body: token } = await gateway.api('POST', '/tokens', {
    name: 'a',
    kind: 'admin',
    userId: member.id,
  });
  const { body: victim } = await gateway.api('POST', '/users', { name: 'victim' });
  for (const id of [victim.id, member.id])
    t.equal((await gateway.api('DELETE', `/users/${id}`, undefined, token.token)).status, 403);
  t.equal((await gateway.api('GET', `/users/${victim.id}`)).status, 200);
  t.equal((await gateway.api('DELETE', `/users/usr_${'0'.repeat(32)}`)).status, 404);
});
