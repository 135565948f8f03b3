import t, { type Test } from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { newId } from '../../src/ids.ts';
import { newSeal } from '../support/seal.ts';
import { newKey, startWorld } from './world.ts';

/**
 * The wire contract, version 1, as outside programs rely on it: member by member, written down apart from the code's own schemas.
 * Fields may be added; none of these may go, be renamed or change its type.
 */
type Check = (value: unknown) => boolean;
const text: Check = (value) => typeof value === 'string' && value.length > 0;
const flag: Check = (value) => typeof value === 'boolean';
const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const time: Check = (value) =>
  typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value);
const nano: Check = (value) => typeof value === 'string' && /^\d+$/.test(value);
const id =
  (prefix: string): Check =>
  (value) =>
    typeof value === 'string' && new RegExp(`^${prefix}_[0-9a-f]{32}$`).test(value);
const one =
  (...words: unknown[]): Check =>
  (value) =>
    words.includes(value);
const maybe =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const pattern =
  (shape: RegExp): Check =>
  (value) =>
    typeof value === 'string' && shape.test(value);
const object: Check = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

const receipt = pattern(/^[^\s:]+:[^\s.]+\.\d+\.[0-9a-f]{16}$/);

const sums = {
  calls: count,
  attempts: count,
  failed: count,
  inputTokens: count,
  cachedInputTokens: count,
  cacheWriteInputTokens: count,
  outputTokens: count,
  reasoningTokens: count,
  unknownUsageCalls: count,
  costNanoUsd: maybe(nano),
};

const test = {
  keyId: id('key'),
  ok: flag,
  status: maybe(count),
  code: maybe(text),
  ms: count,
  message: maybe(text),
  testedAt: time,
};

const key = {
  id: id('key'),
  name: text,
  provider: text,
  service: text,
  description: maybe(text),
  userId: id('usr'),
  sharedWith: (value: unknown) => value === null || value === 'workspace' || listOf(id('usr'))(value),
  source: one('own', 'shared', 'managed'),
  protection: one('standard', 'sealed'),
  sealId: maybe(id('seal')),
  auth: pattern(/^(?:bearer|none|header:[a-z0-9-]+)$/),
  origins: listOf(pattern(/^https?:\/\/[^/]+$/)),
  basePath: pattern(/^\//),
  version: count,
  last4: maybe(pattern(/^.{4}$/)),
  fingerprint: maybe(pattern(/^[0-9a-f]{16}$/)),
  isActive: flag,
  status: one('active', 'disabled', 'expired', 'auth_failed'),
  expiresAt: maybe(time),
  lastUsedAt: maybe(time),
  lastTest: maybe((value) => fits(value, test)),
  purpose: one('relay', 'usage'),
  rotateAfterDays: maybe(count),
  rotationDueAt: maybe(time),
  duplicates: listOf(id('key')),
  createdAt: time,
  updatedAt: time,
};

const token = {
  id: id('tok'),
  name: text,
  kind: one('gateway', 'admin'),
  prefix: pattern(/^sp[ta]_[0-9A-Za-z]{12}$/),
  userId: id('usr'),
  providers: maybe(listOf(text)),
  models: maybe(listOf(text)),
  keyIds: maybe(listOf(id('key'))),
  requestsPerMinute: count,
  concurrentCalls: count,
  status: one('active', 'revoked', 'expired'),
  expiresAt: maybe(time),
  lastUsedAt: maybe(time),
  createdAt: time,
  revokedAt: maybe(time),
};

const user = {
  id: id('usr'),
  name: text,
  externalId: maybe(text),
  email: maybe(text),
  storeKeys: flag,
  createdAt: time,
};
const shredding = { shredded: listOf(id('key')), receipt: maybe(receipt) };
const deleted = { id: text, deleted: one(true), receipt };

const callShape = {
  id: id('call'),
  attempt: count,
  final: flag,
  startedAt: time,
  endedAt: time,
  tokenId: maybe(id('tok')),
  userId: maybe(id('usr')),
  keyId: maybe(id('key')),
  keyVersion: maybe(count),
  keySource: maybe(one('own', 'shared', 'managed', 'pass-through')),
  keyFingerprint: maybe(pattern(/^[0-9a-f]{16}$/)),
  provider: text,
  model: maybe(text),
  operation: text,
  stream: flag,
  status: maybe(count),
  outcome: text,
  endReason: one('complete', 'client_closed', 'upstream_broken', 'revoked', 'timeout', 'crash'),
  inputTokens: maybe(count),
  cachedInputTokens: maybe(count),
  cacheWriteInputTokens: maybe(count),
  outputTokens: maybe(count),
  reasoningTokens: maybe(count),
  usageSource: one('provider', 'estimated', 'unknown'),
  providerUsage: maybe(object),
  costNanoUsd: maybe(nano),
  priceVersion: maybe(text),
  requestBytes: count,
  responseBytes: count,
  firstByteMs: maybe(count),
  totalMs: count,
  upstreamRequestId: maybe(text),
  receipt,
};

const audit = {
  stream: text,
  seq: count,
  at: time,
  event: text,
  actor: (value: unknown) => fits(value, { type: one('token', 'admin', 'cli', 'system'), id: text }),
  callId: maybe(id('call')),
  keyId: maybe(id('key')),
  tokenId: maybe(id('tok')),
  provider: maybe(text),
  outcome: maybe(text),
  hash: pattern(/^[0-9a-f]{64}$/),
  record: object,
};

function misfits(value: unknown, shape: Record<string, Check>): string[] {
  if (!object(value)) return ['not an object'];
  const members = value as Record<string, unknown>;
  return Object.entries(shape)
    .filter(([name, check]) => !(name in members) || !check(members[name]))
    .map(([name]) => `${name}: ${JSON.stringify(members[name])}`);
}

function fits(value: unknown, shape: Record<string, Check>): boolean {
  return misfits(value, shape).length === 0;
}

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const me = await world.callerOf(owner);

function listFits(
  t: Test,
  json: { data: unknown[]; nextCursor: unknown },
  shape: Record<string, Check>,
  name: string,
): void {
  t.ok(Array.isArray(json.data) && json.data.length > 0, `${name} has something to look at`);
  t.ok(json.nextCursor === null || typeof json.nextCursor === 'string', name);
  for (const row of json.data) t.same(misfits(row, shape), [], name);
}

t.test('/api/api-keys', async (t) => {
  const made = await call(owner, 'POST', '/api/api-keys', {
    name: 'k',
    service: 'anthropic',
    value: `sk-ant-${newKey()}`,
    sharedWith: 'workspace',
  });
  t.equal(made.status, 201, made.json.detail);
  t.same(misfits(made.json, key), []);
  t.equal(made.json.auth, 'header:x-api-key');
  const none = await call(owner, 'POST', '/api/api-keys', {
    name: 'ollama',
    provider: 'custom',
    auth: 'none',
    origins: ['http://127.0.0.1:11434'],
  });
  t.same(misfits(none.json, key), []);
  world.probes.result = new SallyportError('UPSTREAM_AUTH', 'Anthropic refused the key.');
  const tested = await call(owner, 'POST', '/api/api-keys/test', { keyId: made.json.id });
  t.same(misfits(tested.json, test), []);
  const read = await call(owner, 'GET', `/api/api-keys/${made.json.id}`);
  t.same(misfits(read.json, key), []);
  t.same(misfits(read.json.lastTest, test), []);
  t.ok(read.headers['etag']);
  listFits(t, (await call(owner, 'GET', '/api/api-keys')).json, key, 'list');
  for (const method of ['PUT', 'PATCH']) {
    const changed = await call(owner, method, `/api/api-keys/${made.json.id}`, {
      name: 'k2',
      description: 'd',
      isActive: true,
      expiresAt: '2030-01-01T00:00:00Z',
      sharedWith: [me.userId],
      value: `sk-ant-${newKey()}`,
    });
    t.equal(changed.status, 200);
    t.same(misfits(changed.json, key), [], method);
  }
  const stats = (await call(owner, 'GET', '/api/api-keys/stats')).json;
  t.same(
    misfits(stats, { from: time, to: time, data: Array.isArray, totals: (value) => fits(value, sums) }),
    [],
  );
  for (const row of stats.data) {
    t.same(
      misfits(row, { keyId: id('key'), name: text, provider: text, lastUsedAt: maybe(time), ...sums }),
      [],
    );
  }
  const gone = await call(owner, 'DELETE', `/api/api-keys/${made.json.id}`);
  t.equal(gone.status, 200);
  t.same(misfits(gone.json, deleted), []);
});

const derivation = { type: one('argon2id'), salt: text, memoryKiB: count, passes: count, parallelism: count };
const seal = {
  id: id('seal'),
  workspaceId: id('ws'),
  name: text,
  publicKey: pattern(/^[A-Za-z0-9_-]{43}$/),
  derivation: maybe((value) => fits(value, derivation)),
  createdBy: id('usr'),
  keys: count,
  createdAt: time,
};

t.test('/api/seals and /api/intake-key', async (t) => {
  const { publicKey, secret } = newSeal();
  const argon = { type: 'argon2id', salt: 'A'.repeat(22), memoryKiB: 65_536, passes: 3, parallelism: 1 };
  const made = await call(owner, 'POST', '/api/seals', { name: 's', publicKey, derivation: argon });
  t.equal(made.status, 201, made.text);
  t.same(misfits(made.json, seal), []);
  t.same(misfits((await call(owner, 'GET', `/api/seals/${made.json.id}`)).json, seal), []);
  listFits(t, (await call(owner, 'GET', '/api/seals')).json, seal, 'seals');
  const next = newSeal();
  const other = await call(owner, 'POST', '/api/seals', { name: 's', publicKey: next.publicKey });
  const headers = { 'x-sallyport-seal': secret, 'x-sallyport-new-seal': next.secret };
  const body = { name: 'k', provider: 'openai', value: newKey(), protection: 'sealed', sealId: made.json.id };
  const stored = await call(owner, 'POST', '/api/api-keys', body);
  t.same(misfits(stored.json, key), []);
  const moved = await call(owner, 'POST', `/api/seals/${other.json.id}/reseal`, {}, headers);
  t.same(
    misfits(moved.json, { sealId: id('seal'), keyIds: listOf(id('key')), remaining: count, receipt }),
    [],
  );
  t.same(misfits((await call(owner, 'DELETE', `/api/seals/${made.json.id}`)).json, deleted), []);
  const intake = {
    id: id('ik'),
    publicKey: pattern(/^[A-Za-z0-9_-]{43}$/),
    suite: one('DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM'),
    info: one('sallyport/v1/intake'),
    workspaceId: id('ws'),
    createdAt: time,
    expiresAt: time,
  };
  t.same(misfits((await call(owner, 'GET', '/api/intake-key')).json, intake), []);
});

t.test('/api/tokens', async (t) => {
  const made = await call(owner, 'POST', '/api/tokens', {
    name: 'app',
    models: ['gpt-*'],
    providers: ['openai'],
    expiresAt: '2030-01-01T00:00:00Z',
  });
  t.equal(made.status, 201);
  t.same(misfits(made.json, { ...token, token: pattern(/^spt_[0-9A-Za-z]{61}$/) }), []);
  t.same(misfits((await call(owner, 'GET', `/api/tokens/${made.json.id}`)).json, token), []);
  listFits(t, (await call(owner, 'GET', '/api/tokens')).json, token, 'list');
  const revoked = await call(owner, 'DELETE', `/api/tokens/${made.json.id}`);
  t.equal(revoked.status, 200);
  t.same(misfits(revoked.json, { ...token, status: one('revoked'), revokedAt: time }), []);
});

t.test('/api/users and /api/members', async (t) => {
  const made = await call(owner, 'POST', '/api/users', {
    name: 'n',
    externalId: 'x',
    email: 'n@example.com',
  });
  t.equal(made.status, 201);
  t.same(misfits(made.json, user), []);
  listFits(t, (await call(owner, 'GET', '/api/users')).json, user, 'users');
  t.same(misfits((await call(owner, 'GET', `/api/users/${made.json.id}`)).json, user), []);
  const member = {
    userId: id('usr'),
    name: text,
    role: one('owner', 'admin', 'member', 'viewer', 'auditor'),
    createdAt: time,
  };
  listFits(t, (await call(owner, 'GET', '/api/members')).json, member, 'members');
  const changed = await call(owner, 'PATCH', `/api/users/${made.json.id}`, {
    name: 'm',
    externalId: null,
    email: null,
    storeKeys: false,
  });
  t.equal(changed.status, 200);
  t.same(misfits(changed.json, { ...user, ...shredding }), []);
  const gone = await call(owner, 'DELETE', `/api/users/${made.json.id}`);
  t.same(misfits(gone.json, deleted), []);
});

t.test('/api/workspaces/current', async (t) => {
  const workspace = { id: id('ws'), name: text, managedKeys: flag, storeKeys: flag, createdAt: time };
  t.same(misfits((await call(owner, 'GET', '/api/workspaces/current')).json, workspace), []);
  for (const query of ['', '?dryRun=true']) {
    const { json } = await call(owner, 'PATCH', `/api/workspaces/current${query}`, { storeKeys: true });
    t.same(misfits(json, { ...workspace, ...shredding }), [], query);
  }
});

t.test('/api/providers', async (t) => {
  const { json } = await call(owner, 'GET', '/api/providers');
  for (const row of json.data) {
    const isCustom = row.name === 'custom';
    const page = isCustom ? one(null) : pattern(/^https:\/\//);
    const provider = {
      name: text,
      title: text,
      dialect: one('openai', 'anthropic', 'google'),
      baseUrl: pattern(/^\/[a-z]/),
      origin: page,
      basePath: pattern(/^\//),
      auth: pattern(/^(?:bearer|header:[a-z0-9-]+)$/),
      keyPage: page,
      usagePage: page,
      keyShape: text,
    };
    t.same(misfits(row, provider), [], row.name);
  }
  t.same(
    json.data.map(({ name, baseUrl }: { name: string; baseUrl: string }) => [name, baseUrl]),
    [
      ['openai', '/openai/v1'],
      ['anthropic', '/anthropic'],
      ['google', '/google'],
      ['groq', '/groq/openai/v1'],
      ['xai', '/xai/v1'],
      ['custom', '/custom/<name>'],
    ],
  );
});

t.test('/api/usage and /api/audit', async (t) => {
  const identity = {
    callId: newId('call'),
    attempt: 1,
    workspaceId: me.workspaceId,
    tokenId: newId('tok'),
    userId: me.userId,
    keyId: newId('key'),
    keyVersion: 1,
    provider: 'openai',
    keySource: 'own',
    operation: 'openai.chat',
    model: 'gpt-4o',
    isStream: false,
    startedAt: new Date(world.time.now - 5000).toISOString(),
  };
  const begin = await world.journal.append('use.begin', identity);
  await world.journal.append('use.end', {
    ...identity,
    final: true,
    beginSeq: begin.seq,
    beginStream: begin.stream,
    receipt: begin.text,
    endedAt: new Date(world.time.now - 4000).toISOString(),
    outcome: 'ok',
    status: 200,
    endReason: 'complete',
    usage: null,
    usageSource: 'unknown',
    providerUsage: null,
    costNanoUsd: null,
    priceVersion: null,
    totalMs: 1000,
    firstByteMs: null,
    requestBytes: 1,
    responseBytes: 1,
    upstreamRequestId: null,
  });
  await world.shipper.flush();
  const usage = (await call(owner, 'GET', '/api/usage?groupBy=provider')).json;
  t.same(
    misfits(usage, { from: time, to: time, groupBy: one('provider'), totals: (value) => fits(value, sums) }),
    [],
  );
  t.equal(usage.totals.calls, 1);
  for (const row of usage.data) t.same(misfits(row, { group: text, ...sums }), []);
  listFits(t, (await call(owner, 'GET', '/api/usage/calls')).json, callShape, 'calls');
  const attempts = (await call(owner, 'GET', `/api/usage/calls/${identity.callId}`)).json;
  t.equal(attempts.id, identity.callId);
  t.same(misfits(attempts.attempts[0], callShape), []);
  listFits(t, (await call(owner, 'GET', '/api/audit?limit=200')).json, audit, 'audit');
});

t.test('errors are problems, whatever happens', async (t) => {
  const problem = {
    type: pattern(/^urn:sallyport:error:[A-Z_]+$/),
    title: text,
    status: count,
    code: text,
    detail: text,
    fix: text,
    requestId: id('call'),
    errors: listOf((value) => fits(value, { path: (path) => typeof path === 'string', message: text })),
  };
  const cases: [number, string, string, string | null, unknown?][] = [
    [401, 'GET', '/api/api-keys', null],
    [401, 'GET', '/api/api-keys', world.first.token],
    [400, 'POST', '/api/tokens', owner, { name: 'x', colour: 1 }],
    [400, 'POST', '/api/tokens', owner, 'not json'],
    [403, 'GET', '/api/api-keys?includeValue=true', owner],
    [404, 'GET', `/api/api-keys/${newId('key')}`, owner],
    [404, 'GET', '/api/api-keys/not-an-id', owner],
    [404, 'GET', `/api/api-keys/${'x'.repeat(90)}`, owner],
    [404, 'GET', '/api/nothing', owner],
    [404, 'PUT', '/api/users', owner, {}],
    [413, 'POST', '/api/users', owner, { name: 'x'.repeat(70_000) }],
    [422, 'POST', '/api/api-keys', owner, { name: 'x', provider: 'groq', value: newKey() }],
  ];
  for (const [status, method, url, who, body] of cases) {
    const answer = await call(who, method, url, body);
    t.equal(answer.status, status, `${method} ${url}`);
    t.match(answer.headers['content-type'], /^application\/problem\+json/);
    t.same(misfits(answer.json, problem), [], `${method} ${url}`);
    t.equal(answer.json.status, status);
    t.equal(answer.json.type, `urn:sallyport:error:${answer.json.code}`);
    t.equal(answer.headers['x-content-type-options'], 'nosniff');
    t.equal(answer.headers['x-frame-options'], 'DENY');
    t.equal(answer.headers['referrer-policy'], 'no-referrer');
    t.match(answer.headers['content-security-policy'], /^default-src 'none'/);
    t.equal(answer.headers['cache-control'], 'no-store');
  }
});

t.test('the documents are made from the schemas that validate', async (t) => {
  const answer = await call(null, 'GET', '/api/openapi.json');
  t.equal(answer.status, 200);
  t.match(answer.json.openapi, /^3\.1\./);
  // The document itself, and what has no end and so no shape.
  const hidden = /\/(?:openapi\.json|tail)$/;
  const served = world.routes.filter(({ url }) => !hidden.test(url));
  for (const { method, url } of served) {
    const path = url.replace(/(.)\/$/, '$1').replace(':id', '{id}');
    const known = answer.json.paths[path] ?? answer.json.paths[`${path}/`];
    t.ok(known?.[method.toLowerCase()], `${method} ${path}`);
  }
  const body = (answer.json.paths['/api/api-keys'] ?? answer.json.paths['/api/api-keys/']).post.requestBody;
  t.match(body.content['application/json'].schema.properties.value, { type: 'string', writeOnly: true });
});
