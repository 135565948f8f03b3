import t from 'tap';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t, { allowOrigins: ['http://10.0.0.7:8000'] });
const { call } = world;
const owner = world.first.adminToken;
const given = { provider: 'openai', model: 'gpt-4o', prices: { output: '8', input: '2.5' } };
const make = (more: object, headers = {}) =>
  call(owner, 'POST', '/api/prices', { ...given, ...more }, headers);
const custom = { name: 'ollama', provider: 'custom', origins: ['http://10.0.0.7:8000'], value: newKey() };
await call(owner, 'POST', '/api/api-keys', custom);

t.test('a workspace sets prices of its own, and takes them back', async (t) => {
  const made = await make({ effectiveFrom: '2026-01-01T00:00:00.000Z' });
  const { userId } = await world.callerOf(owner);
  t.match(made, {
    status: 201,
    json: { ...given, effectiveFrom: '2026-01-01T00:00:00.000Z', createdBy: userId },
  });
  t.match(made.json.id, /^price_[0-9a-f]{32}$/);
  t.same((await call(owner, 'GET', '/api/prices')).json, { data: [made.json], nextCursor: null });
  const gone = await call(owner, 'DELETE', `/api/prices/${made.json.id}`);
  t.match(gone.json, { id: made.json.id, deleted: true, receipt: /\.\d+\.[0-9a-f]{16}$/ });
  t.equal((await call(owner, 'DELETE', `/api/prices/${made.json.id}`)).status, 404);
  t.same((await call(owner, 'GET', '/api/prices')).json.data, []);
  const lines = world
    .journalText()
    .split('\n')
    .filter((line) => line.includes(made.json.id));
  t.ok(lines.some((line) => /"event":"price\.create\.intent".*\\"input\\":\\"2\.5\\"/.test(line)));
  t.ok(
    lines.some(
      (line) => line.includes('"event":"price.delete.done"') || line.includes('price.delete.intent'),
    ),
  );
});

t.test('the same request again sets one price', async (t) => {
  const headers = { 'idempotency-key': 'price-1' };
  const first = await make({ model: 'once' }, headers);
  t.same((await make({ model: 'once' }, headers)).json, first.json);
  t.match((await make({ model: 'twice' }, headers)).json, { code: 'CONFLICT' });
});

t.test('a price is exact, of a unit that exists and for a provider that is there', async (t) => {
  for (const more of [
    { prices: { input: '1e3' } },
    { prices: { input: 2.5 } },
    { prices: { input: '-1' } },
    { prices: { input: '0.0000000001' } },
    { prices: { input: '1000000' } },
    { prices: { inputs: '1' } },
    { prices: null },
    { provider: 'opeani' },
    { provider: 'custom' },
    { provider: 'someone-else' },
    { model: '' },
    { model: 'a'.repeat(257) },
    { model: 'two words' },
    { model: world.first.token },
    { effectiveFrom: '2026-02-30T00:00:00Z' },
    { effectiveFrom: 'soon' },
    { extra: 1 },
  ])
    t.match(await make(more), { status: 400, json: { code: 'REQUEST_INVALID' } }, JSON.stringify(more));
  for (const more of [
    { prices: {} },
    { prices: { input: '0', images: '0.04', audio: '0.36' } },
    { provider: 'ollama', model: '*' },
    { model: 'gpt-*-mini*' },
    { effectiveFrom: '2030-01-01' },
  ])
    t.equal((await make(more)).status, 201, JSON.stringify(more));
});

t.test('a price that was written round the gateway is not shown, and can be deleted', async (t) => {
  const { id } = (await make({ model: 'mine' })).json;
  await world.tamper('price_overrides', `update price_overrides set prices = '{}' where id = '${id}'`);
  const listed = (await call(owner, 'GET', '/api/prices')).json.data;
  t.notOk(listed.some((price: { id: string }) => price.id === id));
  t.ok(world.forged.includes(`price_overrides ${id}`));
  t.equal((await call(owner, 'DELETE', `/api/prices/${id}`)).status, 200);
});

t.test('a workspace has 200 of them at most, also with many at once', async (t) => {
  const { workspaceId } = await world.callerOf(owner);
  const { length } = (await call(owner, 'GET', '/api/prices?limit=200')).json.data;
  await world.tamper(
    'price_overrides',
    `insert into price_overrides (id, workspace_id, provider, model, prices, effective_from, created_by, mac)
     select 'price_' || lpad(to_hex(n), 32, '0'), '${workspaceId}', 'openai', 'n' || n, '{}', now(), 'usr_x', '' from generate_series(1, ${198 - length}) n`,
  );
  const answers = await Promise.all([1, 2, 3, 4].map((n) => make({ model: `last-${n}` })));
  t.equal(answers.filter(({ status }) => status === 201).length, 2);
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});
