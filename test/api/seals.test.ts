import { randomBytes } from 'node:crypto';
import t from 'tap';
import { findUndecryptable } from '../../src/admin/key-survey.ts';
import { SallyportError } from '../../src/errors.ts';
import { newId } from '../../src/ids.ts';
import { sealContext } from '../../src/vault/context.ts';
import { buildPayload } from '../../src/vault/payload.ts';
import { sealHpke } from '../../src/vault/seal-pair.ts';
import { sealCalls } from './seal-calls.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const { workspaceId } = await world.callerOf(owner);

const { make, createSeal, storeSealed, reseal, leaked } = sealCalls(world);

const derivation = {
  type: 'argon2id',
  salt: Buffer.alloc(16, 7).toString('base64url'),
  memoryKiB: 65_536,
  passes: 3,
  parallelism: 1,
};

t.test(
  'a seal is made from a public key, listed, read, and deleted while nothing is sealed to it',
  async (t) => {
    const seal = make();
    const body = { name: 'Laptop', publicKey: seal.publicKey, derivation };
    const repeat = { 'idempotency-key': 'seal-1' };
    const made = await call(owner, 'POST', '/api/seals', body, repeat);
    t.equal(made.status, 201, made.text);
    t.same(made.json, {
      id: made.json.id,
      workspaceId,
      name: 'Laptop',
      publicKey: seal.publicKey,
      derivation,
      createdBy: (await world.callerOf(owner)).userId,
      keys: 0,
      createdAt: made.json.createdAt,
    });
    t.match(made.headers['location'], /^\/api\/seals\/seal_[0-9a-f]{32}$/);
    t.same((await call(owner, 'POST', '/api/seals', body, repeat)).json, made.json, 'a repeated request');
    const other = { ...body, name: 'other' };
    t.equal((await call(owner, 'POST', '/api/seals', other, repeat)).json.code, 'CONFLICT');
    const plain = await call(owner, 'POST', '/api/seals', { name: 'plain', publicKey: make().publicKey });
    t.equal(plain.json.derivation, null);
    const url = `/api/seals/${made.json.id}`;
    t.same((await call(owner, 'GET', url)).json, made.json);
    const page = await call(owner, 'GET', '/api/seals?limit=1');
    t.equal(page.json.data[0].id, plain.json.id, 'newest first');
    t.same((await call(owner, 'GET', `/api/seals?cursor=${page.json.nextCursor}`)).json.data, [made.json]);
    const gone = await call(owner, 'DELETE', url);
    t.match(gone.json, { id: made.json.id, deleted: true, receipt: /\.\d+\.[0-9a-f]{16}$/ });
    t.equal((await call(owner, 'GET', url)).status, 404);
    const events = world.journalText().match(/"event":"seal\.[a-z.]+"/g);
    t.same(events?.slice(0, 2), ['"event":"seal.create.intent"', '"event":"seal.create.done"']);
    t.notMatch(world.journalText(), /Laptop/, 'ids only');
  },
);

t.test(
  'nothing is taken for a public key to which everybody has the secret, or that no secret leads to',
  async (t) => {
    const hex = (text: string): string => Buffer.from(text, 'hex').toString('base64url');
    const refused = {
      'all zeros': hex('00'.repeat(32)),
      one: hex(`01${'00'.repeat(31)}`),
      'of order 8': hex('e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'),
      'of order 8, too': hex('5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157'),
      'p - 1': hex(`ec${'ff'.repeat(30)}7f`),
      p: hex(`ed${'ff'.repeat(30)}7f`),
      'p + 1': hex(`ee${'ff'.repeat(30)}7f`),
      'the top bit': hex(`${'11'.repeat(31)}91`),
      '31 bytes': Buffer.alloc(31, 9).toString('base64url'),
      '33 bytes': Buffer.alloc(33, 9).toString('base64url'),
      'bits left over': `${make().publicKey.slice(0, -1)}B`,
      'no base64url': '+'.repeat(43),
      'a secret in its place': make().secret,
    };
    for (const [what, publicKey] of Object.entries(refused)) {
      const answer = await call(owner, 'POST', '/api/seals', { name: 'x', publicKey });
      t.equal(answer.json.code, 'REQUEST_INVALID', what);
    }
  },
);

t.test('a weak or an endless derivation, unknown fields and unbounded names are refused', async (t) => {
  const { publicKey } = make();
  const bodies: object[] = [
    { name: 'x' },
    { publicKey },
    { name: '', publicKey },
    { name: 'x'.repeat(201), publicKey },
    { name: 'x', publicKey, secret: 'y' },
    { name: `my ${make().secret}`, publicKey },
    ...[
      { memoryKiB: 1024 },
      { memoryKiB: 2_000_000 },
      { passes: 1 },
      { passes: 99 },
      { parallelism: 0 },
      { type: 'scrypt' },
      { salt: 'AAAA' },
      { salt: `${'A'.repeat(22)}-` },
      { more: 1 },
    ].map((part) => ({ name: 'x', publicKey, derivation: { ...derivation, ...part } })),
  ];
  for (const body of bodies) {
    const answer = await call(owner, 'POST', '/api/seals', body);
    t.equal(answer.json.code, 'REQUEST_INVALID', JSON.stringify(body).slice(0, 150));
  }
});

t.test('a sealed key opens with its seal alone, and takes a new value without the secret', async (t) => {
  const seal = await createSeal();
  const other = make();
  const value = newKey();
  const made = await storeSealed(seal.id, value);
  t.match(made.json, { protection: 'sealed', sealId: seal.id, last4: value.slice(-4), version: 1 });
  const { id } = made.json;
  await t.rejects(world.open(id), { code: 'SEAL_REQUIRED' });
  await t.rejects(world.open(id, other.ikm), { code: 'SEAL_WRONG' });
  t.equal(await world.open(id, seal.ikm), value);
  t.equal((await call(owner, 'GET', `/api/seals/${seal.id}`)).json.keys, 1);
  const kept = await call(owner, 'DELETE', `/api/seals/${seal.id}`);
  t.match(kept.json, { code: 'CONFLICT', detail: 'A provider key is sealed to it.' });

  const next = newKey();
  const changed = await call(owner, 'PATCH', `/api/api-keys/${id}`, { value: next });
  t.match(changed.json, { protection: 'sealed', sealId: seal.id, version: 2 });
  t.equal(await world.open(id, seal.ikm), next);

  for (const [body, path] of [
    [{ protection: 'standard' }, '/protection'],
    [{ sealId: null }, '/sealId'],
    [{ sealId: (await createSeal()).id }, '/protection'],
    [{ protection: 'standard', sealId: seal.id, value: next }, '/sealId'],
    [{ protection: 'glued', value: next }, '/protection'],
  ] as const) {
    const answer = await call(owner, 'PATCH', `/api/api-keys/${id}`, body);
    t.match(answer.json, { code: 'REQUEST_INVALID', errors: [{ path }] }, JSON.stringify(body));
  }
  t.equal(
    (await call(owner, 'PATCH', `/api/api-keys/${id}`, { protection: 'sealed', name: 'n' })).status,
    200,
  );
  const plain = await call(owner, 'PATCH', `/api/api-keys/${id}`, { protection: 'standard', value: next });
  t.match(plain.json, { protection: 'standard', sealId: null, version: 3 });
  t.equal(await world.open(id), next);
  const again = await call(owner, 'PATCH', `/api/api-keys/${id}`, {
    protection: 'sealed',
    sealId: seal.id,
    value: next,
  });
  t.match(again.json, { protection: 'sealed', sealId: seal.id, version: 4 });
  t.equal(await world.open(id, seal.ikm), next);
});

t.test('what a client sealed himself is kept as it is, and shows nothing of the value', async (t) => {
  const seal = await createSeal();
  const value = newKey();
  const sealedFor = (place: { workspaceId: string; sealId: string; provider: string }): string => {
    const head = {
      type: 'bearer',
      header: 'authorization',
      origins: ['https://api.openai.com'],
      createdAt: new Date(0).toISOString(),
    } as const;
    const payload = buildPayload(head, Buffer.from(value));
    return sealHpke
      .seal(Buffer.from(seal.publicKey, 'base64url'), sealContext(place), payload)
      .toString('base64');
  };
  const place = { workspaceId, sealId: seal.id, provider: 'openai' };
  const body = { name: 'k', provider: 'openai', protection: 'sealed', sealId: seal.id };
  const made = await call(owner, 'POST', '/api/api-keys', { ...body, sealedPayload: sealedFor(place) });
  t.equal(made.status, 201, made.text);
  t.match(made.json, { protection: 'sealed', last4: null, fingerprint: null });
  t.equal(await world.open(made.json.id, seal.ikm), value);
  const changed = await call(owner, 'PUT', `/api/api-keys/${made.json.id}`, {
    sealedPayload: sealedFor(place),
  });
  t.match(changed.json, { version: 2, last4: null });
  t.equal(await world.open(made.json.id, seal.ikm), value);

  for (const wrong of [
    { ...place, workspaceId: newId('ws') },
    { ...place, sealId: newId('seal') },
    { ...place, provider: 'groq' },
  ]) {
    const stored = await call(owner, 'POST', '/api/api-keys', { ...body, sealedPayload: sealedFor(wrong) });
    await t.rejects(world.open(stored.json.id, seal.ikm), { code: 'KEY_INVALID' }, 'made for another place');
  }
  const refusals: [object, number][] = [
    [{ sealedPayload: sealedFor(place), protection: undefined, sealId: undefined }, 400],
    [{ sealedPayload: sealedFor(place), sealId: undefined }, 400],
    [{ sealedPayload: sealedFor(place), value }, 400],
    [{ sealedPayload: `${sealedFor(place)}=` }, 400],
    [{ sealedPayload: 'AAAA' }, 400],
    [{ sealedPayload: Buffer.alloc(36_000).toString('base64') }, 400],
    [{ sealedPayload: randomBytes(32 + 255 + 16).toString('base64') }, 400],
    [{ sealedPayload: Buffer.alloc(65_537).toString('base64') }, 413],
  ];
  for (const [part, status] of refusals) {
    const answer = await call(owner, 'POST', '/api/api-keys', { ...body, ...part });
    t.equal(answer.status, status, JSON.stringify(part).slice(0, 80));
    t.notMatch(answer.text, value);
  }
});

t.test('a sealed key needs a seal of its own workspace, and a secret to seal', async (t) => {
  const b = await world.newWorkspace('b');
  const foreign = await createSeal(b.adminToken);
  t.equal((await storeSealed(foreign.id, newKey())).status, 404);
  t.equal((await storeSealed(newId('seal'), newKey())).status, 404);
  t.equal((await storeSealed('seal_x', newKey())).status, 404);
  t.equal((await storeSealed(make().secret, newKey())).status, 404, 'its secret in the place of its id');
  const noted = await storeSealed((await createSeal()).id, newKey(), { description: `is\n${make().secret}` });
  t.equal(noted.status, 400, 'its secret as a note');
  const plain = (await storeSealed((await createSeal()).id, newKey())).json.id;
  const change = { protection: 'sealed', sealId: make().secret, value: newKey() };
  t.equal((await call(owner, 'PATCH', `/api/api-keys/${plain}`, change)).status, 404);
  const bodies: object[] = [
    { protection: 'sealed', value: newKey() },
    { sealId: (await createSeal()).id, value: newKey() },
    { protection: 'sealed', sealId: null, value: newKey() },
    { protection: 'sealed', sealId: (await createSeal()).id },
    {
      provider: 'custom',
      name: 'local',
      auth: 'none',
      origins: ['http://127.0.0.1:1'],
      protection: 'sealed',
      sealId: (await createSeal()).id,
    },
  ];
  for (const body of bodies) {
    const answer = await call(owner, 'POST', '/api/api-keys', { name: 'k', provider: 'openai', ...body });
    t.equal(answer.json.code, 'REQUEST_INVALID', JSON.stringify(body));
  }
});

t.test('a member deletes his own seals and re-seals his own keys', async (t) => {
  const [ann, bob] = [
    await world.newUser(owner, 'member', 'ann'),
    await world.newUser(owner, 'member', 'bob'),
  ];
  const team = await createSeal();
  const next = await createSeal(ann.token);
  const hers = (await storeSealed(team.id, newKey(), { name: 'a' }, ann.token)).json.id;
  const shared = (await storeSealed(team.id, newKey(), { name: 'b', sharedWith: [ann.id] }, bob.token)).json
    .id;
  t.equal((await call(bob.token, 'DELETE', `/api/seals/${next.id}`)).status, 403);
  const named = await reseal(next.id, team.secret, next.secret, { keyIds: [shared] }, ann.token);
  t.equal(named.status, 403, 'shared with her is not hers');
  t.same((await reseal(next.id, team.secret, next.secret, {}, ann.token)).json.keyIds, [hers]);
  t.equal((await call(owner, 'GET', `/api/api-keys/${shared}`)).json.sealId, team.id);
  const mine = await createSeal(bob.token);
  t.equal((await call(bob.token, 'DELETE', `/api/seals/${mine.id}`)).status, 200);
  t.equal((await call(owner, 'DELETE', `/api/seals/${(await createSeal(bob.token)).id}`)).status, 200);
});

t.test('a seal that was put or changed in the database is none: nothing is sealed to it', async (t) => {
  const [seal, thief] = [await createSeal(), make()];
  const hex = Buffer.from(thief.publicKey, 'base64url').toString('hex');
  const forged = newId('seal');
  await world.tamper(
    'seals',
    `insert into seals (id, workspace_id, created_by, name, public_key, mac)
     values ('${forged}', '${workspaceId}', '${newId('usr')}', 'x', '\\x${hex}', '\\x${'00'.repeat(32)}')`,
  );
  const key = (await storeSealed(seal.id, newKey())).json.id;
  await world.tamper('seals', `update seals set public_key = '\\x${hex}' where id = '${seal.id}'`);
  for (const id of [forged, seal.id]) {
    t.equal((await call(owner, 'GET', `/api/seals/${id}`)).json.code, 'KEY_INVALID');
    t.equal((await storeSealed(id, newKey())).json.code, 'KEY_INVALID', 'no key is sealed to it');
    t.equal((await reseal(id, seal.secret, thief.secret)).json.code, 'KEY_INVALID');
    t.ok(world.forged.includes(`seals ${id}`), 'told to the operator');
  }
  const value = await call(owner, 'PATCH', `/api/api-keys/${key}`, { value: newKey() });
  t.equal(value.json.code, 'KEY_INVALID', 'nor a new value of an old key');
  const next = await createSeal();
  t.equal((await reseal(next.id, thief.secret, next.secret)).json.code, 'KEY_INVALID', 'nor from it');
  const listed = (await call(owner, 'GET', '/api/seals?limit=200')).json.data.map(
    (row: { id: string }) => row.id,
  );
  t.notOk(listed.includes(forged) || listed.includes(seal.id));
  t.equal(
    (await call(owner, 'DELETE', `/api/seals/${forged}`)).status,
    200,
    'to be rid of it is always right',
  );

  const [first, second] = [await createSeal(), await createSeal()];
  const moved = (await storeSealed(first.id, newKey())).json.id;
  await world.tamper(
    'provider_keys',
    `update provider_keys set seal_id = '${second.id}' where id = '${moved}'`,
  );
  const patched = await call(owner, 'PATCH', `/api/api-keys/${moved}`, { name: 'x' });
  t.equal(patched.json.code, 'KEY_INVALID', 'a key that was moved to another seal');
});

t.test(
  'what looks after the keys by itself passes over sealed ones, or works without the secret',
  async (t) => {
    const seal = await createSeal();
    const stored = (await storeSealed(seal.id, newKey())).json.id;
    t.same(await findUndecryptable(world), [], 'the survey looks at the outer lock alone');
    const caller = await world.callerOf(owner);
    const [first, second] = [newKey(), newKey()];
    const { id } = await world.services.keys.importManaged(caller, 'openai', Buffer.from(first));
    const body = { protection: 'sealed', sealId: seal.id, value: first };
    t.equal((await call(owner, 'PATCH', `/api/api-keys/${id}`, body)).json.protection, 'sealed');
    const same = await world.services.keys.importManaged(caller, 'openai', Buffer.from(first));
    t.match(same, { id, imported: false }, 'by its fingerprint');
    t.match(await world.services.keys.importManaged(caller, 'openai', Buffer.from(second)), {
      id,
      imported: true,
    });
    t.equal(await world.open(id, seal.ikm), second, 'a new value goes under the same seal');
    world.probes.result = new SallyportError('SEAL_REQUIRED', 'The key opens only with its seal.');
    const tested = await call(owner, 'POST', '/api/api-keys/test', { keyId: stored });
    t.match(tested, { status: 200, json: { ok: false, status: null, code: 'SEAL_REQUIRED' } });
  },
);

t.test('a seal that is deleted while a key is sealed to it: one of the two is refused', async (t) => {
  for (let round = 0; round < 4; round += 1) {
    const seal = await createSeal();
    const [stored, gone] = await Promise.all([
      storeSealed(seal.id, newKey()),
      call(owner, 'DELETE', `/api/seals/${seal.id}`),
    ]);
    t.same([stored.status, gone.status], stored.status === 201 ? [201, 409] : [404, 200]);
    const old = await createSeal();
    await storeSealed(old.id, newKey());
    const next = await createSeal();
    const [moved, away] = await Promise.all([
      reseal(next.id, old.secret, next.secret),
      call(owner, 'DELETE', `/api/seals/${next.id}`),
    ]);
    t.same([moved.status, away.status], moved.status === 200 ? [200, 409] : [404, 200]);
  }
});

t.test('the secret of a seal in a URL is refused, and stands nowhere', async (t) => {
  const { secret } = make();
  const escaped = secret.replaceAll(/./g, (char) => `%${char.charCodeAt(0).toString(16)}`);
  for (const url of [
    `/api/seals/${secret}`,
    `/api/seals?cursor=${secret}`,
    `/api/api-keys?provider=${escaped}`,
    `/api/nothing/${secret}?x`,
  ]) {
    const answer = await call(owner, 'GET', url);
    t.equal(answer.json.code, 'REQUEST_INVALID', url.slice(0, 20));
    t.notMatch(answer.text, secret);
    t.equal((await call(null, 'GET', url)).json.code, 'REQUEST_INVALID', 'before anybody is asked who he is');
  }
});

t.test('no answer, record or row holds the secret of a seal', async (t) => {
  t.same(await leaked(), []);
  t.same(world.faults, []);
});
