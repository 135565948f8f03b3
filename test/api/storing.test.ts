import { sql } from 'kysely';
import t from 'tap';
import { transactionWait } from '../support/lock-waits.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const operator = world.first.adminToken;

/** A workspace of its own, with a member. */
async function start(name: string) {
  const { adminToken } = await world.newWorkspace(name);
  const member = await world.newUser(adminToken, 'member');
  const owner = await world.callerOf(adminToken);
  const store = async (userId: string, more: object = {}) =>
    call(adminToken, 'POST', '/api/api-keys', {
      name: 'k',
      provider: 'openai',
      value: newKey(),
      userId,
      ...more,
    });
  return { adminToken, member, owner, store };
}

async function rowsOf(workspaceId: string): Promise<{ keys: string[]; versions: string[] }> {
  return world.store.asSystem(async (tx) => ({
    keys: (
      await tx.selectFrom('provider_keys').select('id').where('workspace_id', '=', workspaceId).execute()
    ).map(({ id }) => id),
    versions: (
      await tx
        .selectFrom('provider_key_versions')
        .select('key_id')
        .where('workspace_id', '=', workspaceId)
        .execute()
    ).map(({ key_id }) => key_id),
  }));
}

t.test(
  'a workspace that stores no keys any more shreds those that it has, when that is confirmed',
  async (t) => {
    const { adminToken, member, owner, store } = await start('a');
    const ids = [
      (await store(owner.userId)).json.id,
      (await store(member.id)).json.id,
      (await world.services.keys.importManaged(owner, 'groq', Buffer.from('gsk_0123456789abcdef'))).id,
    ];
    const url = '/api/workspaces/current';
    const refused = await call(adminToken, 'PATCH', url, { storeKeys: false });
    t.match(refused, {
      status: 409,
      json: {
        code: 'CONFLICT',
        detail: /^3 provider keys are stored for this workspace/,
        fix: /"confirm":"shred"/,
      },
    });
    const dry = await call(adminToken, 'PATCH', `${url}?dryRun=true`, { storeKeys: false, confirm: 'shred' });
    t.match(dry.json, { storeKeys: true, receipt: null });
    t.same(dry.json.shredded, ids);
    t.equal((await rowsOf(owner.workspaceId)).keys.length, 3, 'nothing has changed');

    const done = await call(adminToken, 'PATCH', url, {
      storeKeys: false,
      confirm: 'shred',
      name: 'keyless',
    });
    t.match(done, { status: 200, json: { storeKeys: false, name: 'keyless', receipt: /\.[0-9a-f]{16}$/ } });
    t.same(done.json.shredded, ids);
    t.same(await rowsOf(owner.workspaceId), { keys: [], versions: [] });

    const again = await store(member.id);
    t.match(again, {
      status: 403,
      json: { code: 'FORBIDDEN', detail: /storeKeys is off/, fix: /x-sallyport-provider-key/ },
    });
    await t.rejects(
      world.services.keys.importManaged(owner, 'groq', Buffer.from('gsk_0123456789abcdef')),
      { code: 'FORBIDDEN', message: /storeKeys is off/ },
      'also of the environment',
    );
    t.match((await call(adminToken, 'PATCH', url, { storeKeys: false })).json, {
      shredded: [],
      storeKeys: false,
    });
    t.equal((await call(adminToken, 'PATCH', url, { storeKeys: true })).json.storeKeys, true);
    t.equal((await store(member.id)).status, 201);

    await world.shipper.flush();
    for (const id of ids) {
      const audit = await call(adminToken, 'GET', `/api/audit?keyId=${id}&event=key.shred`);
      t.match(
        audit.json.data,
        [{ keyId: id, record: { act: done.json.receipt } }],
        'each is found by its id',
      );
    }
    const acts = (await call(adminToken, 'GET', '/api/audit?event=workspace.update.intent')).json.data;
    t.match(
      acts
        .map(({ record }: { record: object }) => record)
        .filter((record: { keyIds?: string[] }) => record.keyIds?.length === 3),
      [{ storeKeys: false, keyCount: 3, keyIds: ids }],
      'what went was named before it went',
    );
  },
);

t.test('a user’s preference is his own, and the stricter one wins', async (t) => {
  const { adminToken, member, owner, store } = await start('b');
  const mine = (await store(member.id)).json.id;
  const ofOwner = (await store(owner.userId)).json.id;
  const url = `/api/users/${member.id}`;
  t.match(await call(member.token, 'PATCH', url, { storeKeys: false }), {
    status: 409,
    json: { detail: /^A provider key is stored for this user/ },
  });
  t.same((await call(member.token, 'PATCH', `${url}?dryRun=true`, { storeKeys: false })).json.shredded, [
    mine,
  ]);
  const done = await call(member.token, 'PATCH', url, { storeKeys: false, confirm: 'shred' });
  t.match(done, { status: 200, json: { storeKeys: false, receipt: /\./ } });
  t.same(done.json.shredded, [mine]);
  t.same((await rowsOf(owner.workspaceId)).keys, [ofOwner], 'nobody else’s');

  for (const token of [member.token, adminToken]) {
    const body = { name: 'k', provider: 'openai', value: newKey(), userId: member.id };
    const refused = await call(token, 'POST', '/api/api-keys', body);
    t.match(refused, { status: 403, json: { code: 'FORBIDDEN', detail: /for this user/ } });
  }
  t.equal((await store(owner.userId)).status, 201, 'others store');
  await call(adminToken, 'PATCH', '/api/workspaces/current', { storeKeys: false, confirm: 'shred' });
  await call(member.token, 'PATCH', url, { storeKeys: true });
  t.match(
    (await store(member.id)).json,
    { detail: /This workspace/ },
    'his wish does not open the workspace’s',
  );
});

t.test('a new value is storing too', async (t) => {
  const { member, owner, store } = await start('c');
  const { id } = (await store(member.id)).json;
  await world.tamper('users', `update users set store_keys = false where id = '${member.id}'`);
  const refused = await call(member.token, 'PATCH', `/api/api-keys/${id}`, { value: newKey() });
  t.match(refused, { status: 403, json: { code: 'FORBIDDEN' } });
  t.equal((await call(member.token, 'PATCH', `/api/api-keys/${id}`, { name: 'x' })).status, 200);
  t.ok(owner);
});

t.test('managed keys are the workspace’s: they stay when the operator stores none of his own', async (t) => {
  const caller = await world.callerOf(operator);
  const managed = await world.services.keys.importManaged(
    caller,
    'groq',
    Buffer.from('gsk_0123456789abcdef'),
  );
  const own = await call(operator, 'POST', '/api/api-keys', {
    name: 'k',
    provider: 'openai',
    value: newKey(),
  });
  const url = `/api/users/${caller.userId}`;
  const done = await call(operator, 'PATCH', url, { storeKeys: false, confirm: 'shred' });
  t.same(done.json.shredded, [own.json.id]);
  t.equal((await call(operator, 'GET', `/api/api-keys/${managed.id}`)).status, 200);
  await world.services.keys.importManaged(caller, 'groq', Buffer.from('gsk_fedcba9876543210'));
  await call(operator, 'PATCH', url, { storeKeys: true });
});

t.test('who may change whom', async (t) => {
  const { adminToken, member, owner } = await start('d');
  const admin = await world.newUser(adminToken, 'admin');
  const other = await world.newUser(adminToken, 'member', 'other');
  const viewer = await world.newUser(adminToken, 'viewer');
  const change = (token: string, id: string, body: object) => call(token, 'PATCH', `/api/users/${id}`, body);
  t.equal((await change(member.token, other.id, { storeKeys: false })).status, 403);
  t.equal((await change(member.token, member.id, { name: 'new' })).status, 403);
  t.equal((await change(member.token, member.id, { storeKeys: true, email: 'a@b.c' })).status, 403);
  t.equal((await change(viewer.token, viewer.id, { storeKeys: false })).status, 403);
  t.equal((await change(admin.token, owner.userId, { email: 'mine@example.com' })).status, 403, 'an owner');
  t.equal((await change(admin.token, owner.userId, { storeKeys: false, confirm: 'shred' })).status, 403);
  t.match(await change(admin.token, member.id, { name: 'new', email: 'a@b.c', externalId: 'x1' }), {
    status: 200,
    json: { name: 'new', email: 'a@b.c', externalId: 'x1', shredded: [] },
  });
  t.equal((await change(admin.token, other.id, { externalId: 'x1' })).status, 409, 'taken');
  t.equal((await change(admin.token, other.id, { confirm: 'shred' })).status, 400, 'nothing to confirm');
  t.equal((await change(admin.token, other.id, { storeKeys: true, confirm: 'shred' })).status, 400);
  t.equal((await change(admin.token, other.id, { storeKeys: false, confirm: 'yes' })).status, 400);
  t.match(await change(admin.token, other.id, {}), { status: 200, json: { receipt: null } });
  t.equal((await change(adminToken, owner.userId, { name: 'boss' })).status, 200);
  t.equal((await call(member.token, 'PATCH', '/api/workspaces/current', { storeKeys: false })).status, 403);
});

t.test('a key that is stored at the very moment does not survive', async (t) => {
  for (let round = 0; round < 4; round += 1) {
    const { adminToken, member, owner, store } = await start(`race ${round}`);
    const { id } = (await store(owner.userId)).json;
    const scopes = [
      ['/api/workspaces/current', null],
      [`/api/users/${member.id}`, member.id],
    ] as const;
    const [url, userId] = scopes[round % 2] as (typeof scopes)[number];
    const custom = (name: string) => ({
      provider: 'custom',
      origins: ['https://llm.example.com'],
      sharedWith: 'workspace',
      name,
    });
    const storing = Array.from({ length: 6 }, (_, i) => store(member.id, i % 2 === 0 ? custom(`c${i}`) : {}));
    const replacing = [newKey(), newKey()].map((value) =>
      call(adminToken, 'PATCH', `/api/api-keys/${id}`, { value }),
    );
    const [off, ...stored] = await Promise.all([
      call(adminToken, 'PATCH', url, { storeKeys: false, confirm: 'shred' }),
      ...storing,
    ]);
    t.ok([200, 409].includes(off.status), String(off.status));
    for (const { status } of stored) t.ok(status === 201 || status === 403, String(status));
    for (const { status } of await Promise.all(replacing))
      t.ok([200, 403, 404].includes(status), String(status));
    // Told to repeat, where keys came all the time.
    if (off.status === 409)
      t.equal((await call(adminToken, 'PATCH', url, { storeKeys: false, confirm: 'shred' })).status, 200);
    const left = await rowsOf(owner.workspaceId);
    t.equal(left.keys.length, userId === null ? 0 : 1);
    t.same(left.versions.toSorted(), left.keys.toSorted());
    t.equal((await store(member.id)).status, 403);
  }
});

t.test('deleting a user names his keys, and leaves his seals to the workspace', async (t) => {
  const { adminToken, member, store } = await start('e');
  const { id } = (await store(member.id)).json;
  const publicKey = Buffer.alloc(32, 9).toString('base64url');
  const seal = await call(member.token, 'POST', '/api/seals', { name: 's', publicKey });
  t.equal(seal.status, 201, seal.json.detail);
  const gone = await call(adminToken, 'DELETE', `/api/users/${member.id}`);
  t.equal(gone.status, 200);
  await world.shipper.flush();
  const acts = (await call(adminToken, 'GET', `/api/audit?userId=${member.id}&event=user.erase.intent`)).json;
  t.match(acts.data, [{ record: { keyCount: 1, keyIds: [id] } }]);
  const done = (await call(adminToken, 'GET', `/api/audit?userId=${member.id}&event=user.erase.done`)).json
    .data;
  t.ok(
    gone.json.receipt.includes(`.${done[0].seq}.${done[0].hash.slice(0, 16)}`),
    'the receipt names the record',
  );
  const shredded = (await call(adminToken, 'GET', `/api/audit?keyId=${id}&event=key.shred`)).json.data;
  t.match(shredded, [{ record: { userId: member.id, act: gone.json.receipt } }]);
  t.equal((await call(adminToken, 'GET', `/api/seals/${seal.json.id}`)).status, 200);
});

t.test('an erasure that the database ends for a deadlock is done all the same', async (t) => {
  const { adminToken, member, store } = await start('deadlocked');
  const keyId = (await store(member.id)).json.id;
  const { erasing } = await world.store.asSystem(async (tx) => {
    await sql`select from tokens where user_id = ${member.id} for update`.execute(tx);
    const begun = call(adminToken, 'DELETE', `/api/users/${member.id}`);
    await transactionWait(world.store);
    // It holds the key and waits for the token; whoever has waited longest is told first.
    await sql`select from provider_keys where id = ${keyId} for update`.execute(tx);
    return { erasing: begun };
  });
  t.match(await erasing, { status: 200, json: { deleted: true } });
  await world.shipper.flush();
  const { data } = (await call(adminToken, 'GET', `/api/audit?userId=${member.id}`)).json;
  const events = data.map(({ record }: { record: { event: string } }) => record.event);
  t.same(
    events.filter((event: string) => event.startsWith('user.erase')).toReversed(),
    ['intent', 'failed', 'intent', 'done'].map((step) => `user.erase.${step}`),
    'it was one',
  );
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});
