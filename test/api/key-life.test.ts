import t from 'tap';
import { createReminders, type Reminder } from '../../src/admin/key-reminders.ts';
import { newId } from '../../src/ids.ts';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t);
const { call } = world;
const owner = world.first.adminToken;
const member = await world.newUser(owner, 'member');
const colleague = await world.newUser(owner, 'member', 'colleague');
const day = 24 * 3600 * 1000;

const admin = 'sk-admin-0123456789abcdefghij';

async function store(more: { auth?: string; [name: string]: unknown } = {}, token = owner): Promise<any> {
  const made = await call(token, 'POST', '/api/api-keys', {
    name: 'k',
    provider: 'openai',
    ...(more.auth === 'none' ? {} : { value: newKey() }),
    ...more,
  });
  if (made.status !== 201) throw new Error(`${made.status} ${made.json.detail}`);
  return made.json;
}

t.test(
  'a key with power over the account is kept for reports, and never becomes one for calls',
  async (t) => {
    const made = await store({ value: admin });
    t.equal(made.purpose, 'usage');
    t.match(
      (await store({ provider: 'anthropic', value: `sk-ant-admin01-${'a'.repeat(40)}` })).purpose,
      'usage',
    );
    t.equal(
      (await store({ provider: 'groq', value: admin, force: true })).purpose,
      'usage',
      'whatever it is for',
    );
    const relay = await store();
    t.equal(relay.purpose, 'relay');
    for (const force of [false, true]) {
      const up = await call(owner, 'PATCH', `/api/api-keys/${relay.id}`, { value: admin, force });
      t.match(up, { status: 422, json: { code: 'KEY_FORMAT', detail: /administrative power/ } });
      const down = await call(owner, 'PATCH', `/api/api-keys/${made.id}`, { value: newKey(), force });
      t.match(down, { status: 422, json: { code: 'KEY_FORMAT' } });
    }
    t.equal(
      await world.open(relay.id).then((value) => value.startsWith('sk-marker-')),
      true,
      'nothing was replaced',
    );
    const again = await call(owner, 'PATCH', `/api/api-keys/${made.id}`, { value: `${admin}2` });
    t.match(again.json, { version: 2, purpose: 'usage' });
    const tested = await call(owner, 'POST', '/api/api-keys/test', { keyId: made.id });
    t.match(tested, {
      status: 200,
      json: { ok: false, status: null, code: 'KEY_INVALID', message: /no call/ },
    });
    t.match(world.journalText(), /"event":"key.create.intent"[^\n]*"purpose":"usage"/);
  },
);

t.test('who edits the purpose in the database has broken the row', async (t) => {
  const { id } = await store({ value: `${admin}3` });
  await world.tamper('provider_keys', `update provider_keys set purpose = 'relay' where id = '${id}'`);
  const changed = await call(owner, 'PATCH', `/api/api-keys/${id}`, { name: 'x' });
  t.match(changed, { status: 409, json: { code: 'KEY_INVALID' } });
});

t.test('the environment cannot turn a key for calls into another', async (t) => {
  const operator = await world.callerOf(owner);
  const { keys } = world.services;
  const made = await keys.importManaged(operator, 'xai', Buffer.from('xai-0123456789abcdef'));
  await t.rejects(keys.importManaged(operator, 'xai', Buffer.from(admin)), { code: 'KEY_FORMAT' });
  t.match((await keys.get(operator, made.id)).key, { purpose: 'relay', version: 1 });
  const first = await keys.importManaged(operator, 'google', Buffer.from(admin));
  t.equal((await keys.get(operator, first.id)).key.purpose, 'usage');
});

t.test('equal values are found, among the keys that the reader sees', async (t) => {
  const value = newKey();
  const first = await store({ value, userId: member.id });
  t.same(first.duplicates, []);
  const second = await store({ value, userId: colleague.id });
  t.same(second.duplicates, [first.id], 'the answer to who stores it says so');
  const third = await store({ value });
  t.same(third.duplicates, [first.id, second.id]);
  const seen = await call(member.token, 'GET', `/api/api-keys/${first.id}`);
  t.same(seen.json.duplicates, [], 'a member is told of nobody’s');
  const listed = await call(owner, 'GET', `/api/api-keys?userId=${member.id}`);
  t.same(listed.json.data[0].duplicates, [second.id, third.id]);
  const replaced = await call(owner, 'PATCH', `/api/api-keys/${third.id}`, { value: newKey() });
  t.same(replaced.json.duplicates, []);
  t.same((await call(owner, 'GET', `/api/api-keys/${first.id}`)).json.duplicates, [second.id]);
  const none = await store({
    provider: 'custom',
    auth: 'none',
    origins: ['https://a.example.com'],
    name: 'a',
  });
  t.match(none, { duplicates: [], rotateAfterDays: null, rotationDueAt: null });
});

t.test('a value of another shape is told where keys are made', async (t) => {
  const refused = await call(owner, 'POST', '/api/api-keys', {
    name: 'x',
    provider: 'groq',
    value: newKey(),
  });
  t.match(refused, { status: 422, json: { fix: /https:\/\/console\.groq\.com\/keys/, detail: /gsk_/ } });
  const patched = await store();
  const changed = await call(owner, 'PATCH', `/api/api-keys/${patched.id}`, {
    value: 'gsk_0123456789abcdef',
  });
  t.match(changed, { status: 422, json: { fix: /https:\/\/platform\.openai\.com\/api-keys/ } });
});

t.test(
  'with the whole workspace a key is shared by owners and admins, with users by whoever has it',
  async (t) => {
    const refused = await call(member.token, 'POST', '/api/api-keys', {
      name: 'k',
      provider: 'openai',
      value: newKey(),
      sharedWith: 'workspace',
    });
    t.match(refused, { status: 403, json: { code: 'FORBIDDEN', detail: /keys:share/ } });
    const mine = await store({ sharedWith: [colleague.id] }, member.token);
    const url = `/api/api-keys/${mine.id}`;
    t.equal((await call(member.token, 'PATCH', url, { sharedWith: 'workspace' })).status, 403);
    t.same((await call(owner, 'GET', url)).json.sharedWith, [colleague.id], 'owners see who may use it');
    t.equal((await call(owner, 'PATCH', url, { sharedWith: 'workspace' })).status, 200);
    const kept = await call(member.token, 'PATCH', url, { name: 'new', sharedWith: 'workspace' });
    t.match(kept, { status: 200, json: { name: 'new', sharedWith: 'workspace' } }, 'what is so may stay');
    t.equal((await call(member.token, 'PATCH', url, { sharedWith: null })).status, 200, 'he takes it back');
    t.equal((await call(member.token, 'PATCH', url, { sharedWith: 'workspace' })).status, 403);
    const records = world
      .journalText()
      .split('\n')
      .filter((line) => line.includes('"key.update.intent"') && line.includes(mine.id))
      .map((line) => JSON.parse(line).sharedWith);
    t.same(records, ['workspace', 'workspace', 'workspace', null, 'workspace'], 'each try is on record');
  },
);

t.test('an age for values is kept, and bounds what it may be', async (t) => {
  const made = await store();
  t.equal(made.rotateAfterDays, 180);
  t.equal(Date.parse(made.rotationDueAt), Date.parse(made.createdAt) + 180 * day);
  const url = `/api/api-keys/${made.id}`;
  const changed = await call(owner, 'PATCH', url, { rotateAfterDays: 30 });
  t.equal(Date.parse(changed.json.rotationDueAt), Date.parse(made.createdAt) + 30 * day);
  const never = await call(owner, 'PATCH', url, { rotateAfterDays: null });
  t.match(never.json, { rotateAfterDays: null, rotationDueAt: null });
  for (const rotateAfterDays of [0, -1, 1.5, 3651, '30', true])
    t.equal((await call(owner, 'PATCH', url, { rotateAfterDays })).status, 400, String(rotateAfterDays));
  const none = await call(owner, 'POST', '/api/api-keys', {
    name: 'none',
    provider: 'custom',
    auth: 'none',
    origins: ['https://a.example.com'],
    rotateAfterDays: 9,
  });
  t.match(none, { status: 400, json: { errors: [{ path: '/rotateAfterDays' }] } });
});

t.test('lists tell which keys expire, and which values are old', async (t) => {
  const other = await world.newWorkspace('other');
  const token = other.adminToken;
  const at = (days: number): string => new Date(world.time.now + days * day).toISOString();
  const soon = await store({ name: 'soon', expiresAt: at(2) }, token);
  await store({ name: 'later', expiresAt: at(40) }, token);
  await store({ name: 'past', expiresAt: at(-1) }, token);
  const old = await store({ name: 'old', rotateAfterDays: 1 }, token);
  const names = async (query: string): Promise<string[]> =>
    (await call(token, 'GET', `/api/api-keys?${query}`)).json.data.map(({ name }: { name: string }) => name);
  t.same(await names('expiringWithin=14'), ['soon']);
  t.same(await names('expiringWithin=60'), ['later', 'soon']);
  t.same(await names('expiringWithin=0'), []);
  t.same(await names('rotationDue=true'), []);
  world.time.now += day;
  t.same(await names('rotationDue=true'), ['old']);
  t.same(await names('rotationDue=false'), ['past', 'later', 'soon']);
  t.equal((await call(token, 'GET', '/api/api-keys?expiringWithin=x')).status, 400);
  await call(token, 'PATCH', `/api/api-keys/${old.id}`, { value: newKey() });
  t.same(await names('rotationDue=true'), [], 'a new value is new');
  await call(token, 'DELETE', `/api/api-keys/${soon.id}`);
});

t.test(
  'an owner is reminded 14, 3 and 1 days before a key expires, once, on however many nodes',
  async (t) => {
    const told: Reminder[] = [];
    const node = (): ReturnType<typeof createReminders> =>
      createReminders({
        store: world.store,
        journal: world.journal,
        clock: world.clock,
        onReminder: (reminder) => told.push(reminder),
      });
    const nodes = [node(), node(), node()];
    const { id } = await store({ expiresAt: new Date(world.time.now + 20 * day).toISOString() });
    const off = await store({ expiresAt: new Date(world.time.now + 20 * day).toISOString() });
    await call(owner, 'PATCH', `/api/api-keys/${off.id}`, { isActive: false });
    const remind = async (): Promise<(number | null)[]> => {
      told.length = 0;
      await Promise.all(nodes.map((each) => each.remind()));
      return told.filter(({ keyId }) => keyId === id).map(({ daysLeft }) => daysLeft);
    };
    t.same(await remind(), []);
    world.time.now += 6 * day;
    t.same(await remind(), [14]);
    t.same(await remind(), []);
    world.time.now += 9 * day;
    t.same(await remind(), [], 'between two dates there is nothing to say');
    world.time.now += 3 * day;
    t.same(await remind(), [2]);
    t.same(await remind(), []);
    world.time.now += 1.5 * day;
    t.same(await remind(), [1]);
    world.time.now += day;
    t.same(await remind(), [], 'expired is no news any more');

    await call(owner, 'PATCH', `/api/api-keys/${id}`, {
      expiresAt: new Date(world.time.now + 3 * day).toISOString(),
    });
    t.same(await remind(), [3], 'a date that was moved counts anew');
    await call(owner, 'PATCH', `/api/api-keys/${id}`, { name: 'renamed' });
    t.same(await remind(), []);
    await call(owner, 'PATCH', `/api/api-keys/${id}`, { value: newKey() });
    t.same(await remind(), [3], 'and a new value that dies with the old date');

    t.notOk(
      told.some(({ keyId }) => keyId === off.id),
      'a disabled key is used by nobody',
    );
    await world.shipper.flush();
    const audit = await call(owner, 'GET', `/api/audit?keyId=${id}&event=key.expiring`);
    t.same(
      audit.json.data.map(({ record }: { record: { daysLeft: number } }) => record.daysLeft),
      [3, 3, 1, 2, 14],
    );
    t.match(audit.json.data[0], {
      actor: { type: 'system', id: 'housekeeping' },
      record: { workspaceId: /^ws_/, userId: /^usr_/, provider: 'openai', expiresAt: /Z$/ },
    });
  },
);

t.test('an owner is reminded once of a value that is older than he wants', async (t) => {
  const told: string[] = [];
  const { remind } = createReminders({
    store: world.store,
    journal: world.journal,
    clock: world.clock,
    onReminder: ({ event, keyId }) => {
      if (keyId === id) told.push(`${event} ${keyId}`);
    },
  });
  const { id } = await store({ rotateAfterDays: 10 });
  const due = [`key.rotation-due ${id}`];
  await remind();
  t.same(told, []);
  world.time.now += 10 * day;
  await Promise.all([remind(), remind()]);
  t.same(told, due);
  await remind();
  t.same(told, due);
  await call(owner, 'PATCH', `/api/api-keys/${id}`, { rotateAfterDays: 20 });
  await remind();
  t.same(told, due, 'he waits longer now');
  world.time.now += 10 * day;
  await remind();
  t.same(told, [...due, ...due]);
  await call(owner, 'PATCH', `/api/api-keys/${id}`, { value: newKey() });
  await remind();
  t.equal(told.length, 2);
  world.time.now += 20 * day;
  await remind();
  t.equal(told.length, 3, 'the new value has its own age');
  await call(owner, 'PATCH', `/api/api-keys/${id}`, { rotateAfterDays: null });
  world.time.now += 100 * day;
  await remind();
  t.equal(told.length, 3);
});

t.test('a reminder that cannot be recorded is not lost', async (t) => {
  const { id } = await store({ expiresAt: new Date(world.time.now + day).toISOString() });
  const told: string[] = [];
  const deps = {
    store: world.store,
    clock: world.clock,
    onReminder: ({ keyId }: Reminder) => told.push(keyId),
  };
  const broken = createReminders({
    ...deps,
    journal: { append: () => Promise.reject(new Error('the disk is full')) },
  });
  await t.rejects(broken.remind(), { message: 'the disk is full' });
  t.same(told, []);
  await createReminders({ ...deps, journal: world.journal }).remind();
  t.ok(told.includes(id));
});

t.test('a key that nobody can have expires for nobody', async (t) => {
  t.equal((await call(owner, 'GET', `/api/api-keys/${newId('key')}`)).status, 404);
  t.same(world.faults, []);
});
