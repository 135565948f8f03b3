import t from 'tap';
import { newId } from '../../src/ids.ts';
import { encodeContext } from '../../src/vault/context.ts';
import { createHpke } from '../../src/vault/hpke.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const me = await world.callerOf(owner);
const member = await world.newUser(owner, 'member');
const auditor = await world.newUser(owner, 'auditor');
const other = await world.newWorkspace('other');
const value = newKey();

const stored = await call(owner, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', value });
const { fingerprint, id } = stored.json;

/** A call as the gateway records it. */
async function use(input: {
  userId: string;
  tokenId: string;
  keyId: string | null;
  at: string;
  mark?: string;
}) {
  const identity = {
    callId: newId('call'),
    attempt: 1,
    workspaceId: me.workspaceId,
    tokenId: input.tokenId,
    userId: input.userId,
    keyId: input.keyId,
    keyVersion: input.keyId === null ? null : 1,
    keySource: input.keyId === null ? 'pass-through' : 'own',
    keyFingerprint: input.mark ?? fingerprint,
    provider: 'openai',
    operation: 'openai.chat',
    model: 'gpt-4o',
    isStream: false,
    startedAt: input.at,
  };
  const begin = await world.journal.append('use.begin', identity);
  await world.journal.append('use.end', {
    ...identity,
    final: true,
    beginSeq: begin.seq,
    beginStream: begin.stream,
    receipt: begin.text,
    endedAt: input.at,
    outcome: 'ok',
    status: 200,
    endReason: 'complete',
    upstreamRequestId: null,
    firstByteMs: null,
    totalMs: 1,
    requestBytes: 1,
    responseBytes: 1,
    usage: null,
    usageSource: 'unknown',
    providerUsage: null,
    costNanoUsd: null,
    priceVersion: null,
  });
}

const [ownToken, memberToken] = [newId('tok'), newId('tok')];
const at = (minute: number): string => `2026-03-01T10:${String(minute).padStart(2, '0')}:00.000Z`;
await use({ userId: me.userId, tokenId: ownToken, keyId: id, at: at(1) });
await use({ userId: me.userId, tokenId: ownToken, keyId: id, at: at(5) });
await use({ userId: member.id, tokenId: memberToken, keyId: null, at: at(9) });
await use({ userId: me.userId, tokenId: ownToken, keyId: id, at: at(20), mark: '0'.repeat(16) });
await world.shipper.flush();

const find = (token: string, body: object) => call(token, 'POST', '/api/api-keys/find', body);

const uses = [
  {
    keyId: null,
    keyVersion: null,
    keySource: 'pass-through',
    tokenId: memberToken,
    userId: member.id,
    provider: 'openai',
    calls: 1,
    firstUsedAt: at(9),
    lastUsedAt: at(9),
  },
  {
    keyId: id,
    keyVersion: 1,
    keySource: 'own',
    tokenId: ownToken,
    userId: me.userId,
    provider: 'openai',
    calls: 2,
    firstUsedAt: at(1),
    lastUsedAt: at(5),
  },
];

t.test('a leaked value is found where it is stored and where it was used, stored or not', async (t) => {
  const found = await find(owner, { value });
  t.equal(found.status, 200, found.json.detail);
  t.equal(found.json.fingerprint, fingerprint);
  t.match(found.json.keys, [{ id, name: 'k', fingerprint }]);
  t.same(found.json.uses, uses);
  t.same((await find(owner, { fingerprint })).json, found.json, 'the fingerprint says the same');
  const unknown = await find(owner, { value: newKey() });
  t.match(unknown.json, { fingerprint: /^[0-9a-f]{16}$/, keys: [], uses: [] });
});

t.test('the value may come sealed to the intake key', async (t) => {
  // Whoever may ask may ask so: the command line does it for everybody.
  const intake = (await call(auditor.token, 'GET', '/api/intake-key')).json;
  const seal = (provider: string): string => {
    const aad = encodeContext(['intake', me.workspaceId, provider]);
    const bytes = createHpke(intake.info).seal(
      Buffer.from(intake.publicKey, 'base64url'),
      aad,
      Buffer.from(value),
    );
    return `${intake.id}.${bytes.toString('base64url')}`;
  };
  const found = await find(auditor.token, { provider: 'groq', sealedValue: seal('groq') });
  t.equal(found.json.fingerprint, fingerprint);
  t.same(found.json.uses, uses);
  t.equal((await find(owner, { provider: 'xai', sealedValue: seal('groq') })).status, 400);
});

t.test('a member is told of his own uses, an auditor of all and of no key', async (t) => {
  const mine = await find(member.token, { value });
  t.same(mine.json.keys, []);
  t.same(mine.json.uses, [uses[0]]);
  const audited = await find(auditor.token, { value });
  t.same(audited.json.keys, []);
  t.same(audited.json.uses, uses);
});

t.test('another workspace’s fingerprint says nothing', async (t) => {
  const elsewhere = await find(other.adminToken, { value });
  t.not(elsewhere.json.fingerprint, fingerprint, 'the same value has another one there');
  t.match(elsewhere.json, { keys: [], uses: [] });
  t.match((await find(other.adminToken, { fingerprint })).json, { keys: [], uses: [] });
});

t.test('a key that is gone is still found by what it was used for', async (t) => {
  await call(owner, 'DELETE', `/api/api-keys/${id}`);
  const found = await find(owner, { value });
  t.same(found.json.keys, []);
  t.same(found.json.uses, uses);
});

t.test('a question that is not one question is refused, and nothing of it comes back', async (t) => {
  for (const body of [
    {},
    { value, fingerprint },
    { fingerprint: 'F'.repeat(16) },
    { fingerprint: value },
    { value: 'short' },
    { value: `${value} ` },
    { value, keys: true },
    { provider: 'openai' },
    { provider: 'openai', sealedValue: `ik_${'0'.repeat(32)}.${'A'.repeat(120)}` },
    { sealedValue: `ik_${'0'.repeat(32)}.${'A'.repeat(120)}` },
    { sealedValue: `ik_${'0'.repeat(32)}.${'A'.repeat(120)}`, provider: value },
  ]) {
    const answer = await find(owner, body);
    t.ok([400, 422].includes(answer.status), `${answer.status} ${Object.keys(body).join()}`);
    t.notMatch(answer.text, value);
  }
  world.secure.isSecure = false;
  t.match((await find(owner, { value })).json, { code: 'TLS_REQUIRED' });
  world.secure.isSecure = true;
  t.notMatch(world.journalText(), value);
  t.same(world.faults, []);
});
