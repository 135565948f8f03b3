import t from 'tap';
import { newKey, startWorld } from './world.ts';

const world = await startWorld(t, { allowOrigins: ['http://10.0.0.7:8000'] });
const { call } = world;
const owner = world.first.adminToken;
const make = (alias: string, target: string, headers = {}) =>
  call(owner, 'POST', '/api/aliases', { alias, target }, headers);
const custom = {
  name: 'ollama',
  provider: 'custom',
  origins: ['http://10.0.0.7:8000'],
  value: newKey(),
};
await call(owner, 'POST', '/api/api-keys', custom);

t.test('a workspace gives models names of its own, and takes them back', async (t) => {
  const made = await make('fast', 'openai/gpt-4o-mini');
  const { userId } = await world.callerOf(owner);
  t.match(made, { status: 201, json: { alias: 'fast', target: 'openai/gpt-4o-mini', createdBy: userId } });
  t.match(made.json.id, /^alias_[0-9a-f]{32}$/);
  t.same((await call(owner, 'GET', '/api/aliases')).json, { data: [made.json], nextCursor: null });
  t.match((await make('fast', 'openai/gpt-4o')).json, { code: 'CONFLICT' });
  const gone = await call(owner, 'DELETE', `/api/aliases/${made.json.id}`);
  t.match(gone.json, { id: made.json.id, deleted: true, receipt: /\.\d+\.[0-9a-f]{16}$/ });
  t.equal((await call(owner, 'DELETE', `/api/aliases/${made.json.id}`)).status, 404);
  t.same((await call(owner, 'GET', '/api/aliases')).json.data, []);
});

t.test('the same request again makes one alias', async (t) => {
  const headers = { 'idempotency-key': 'alias-1' };
  const first = await make('once', 'gpt-4o', headers);
  t.same((await make('once', 'gpt-4o', headers)).json, first.json);
  t.match((await make('once', 'gpt-4.1', headers)).json, { code: 'CONFLICT' });
});

t.test('who redirected what to where stands in the journal', async (t) => {
  const { json } = await make('audited', 'groq/llama-3.3-70b-versatile');
  await call(owner, 'DELETE', `/api/aliases/${json.id}`);
  const lines = world
    .journalText()
    .split('\n')
    .filter((line) => line.includes(json.id));
  for (const event of ['alias.create.intent', 'alias.delete.intent']) {
    const record = lines.find((line) => line.includes(`"event":"${event}"`)) ?? '';
    t.match(record, /"alias":"audited".*"target":"groq\/llama-3\.3-70b-versatile"/, event);
  }
});

t.test('an alias takes over no provider’s name, and stands for something that is there', async (t) => {
  for (const [alias, target] of [
    ['openai/gpt-4o', 'groq/llama'],
    ['openai/*', 'groq/*'],
    ['custom/x', 'groq/llama'],
    ['ollama/qwen3', 'openai/gpt-4o'],
    ['*/gpt-4o', 'groq/llama'],
    ['o*/gpt-4o', 'groq/llama'],
    ['/gpt-4o', 'groq/llama'],
    ['a*b*', 'groq/*'],
    ['a*', 'groq/*-*'],
    ['a', 'groq/*'],
    ['a', 'nobody/llama'],
    ['a', 'custom/llama'],
    ['a', 'openai/'],
    ['a', '/gpt-4o'],
    ['a', 'llama-3'],
    ['a/*', '*'],
    ['a/*', '*/x'],
    ['gpt-4o', 'gpt-4o'],
    ['two words', 'gpt-4o'],
    ['', 'gpt-4o'],
    ['a'.repeat(257), 'gpt-4o'],
    [`a-${world.first.token}`, 'gpt-4o'],
  ] as const)
    t.match(
      await make(alias, target),
      { status: 400, json: { code: 'REQUEST_INVALID' } },
      `${alias} ${target}`,
    );
  for (const [alias, target] of [
    ['gpt-4', 'gpt-4.1'],
    ['team/*', 'ollama/*'],
    ['meta-llama/*', 'ollama/meta-llama/*'],
    ['cheap-*', 'groq/openai/gpt-oss-*'],
    ['any*', 'xai/grok-4'],
    ['claude', 'claude-sonnet-4-5'],
  ] as const)
    t.equal((await make(alias, target)).status, 201, `${alias} ${target}`);
});

t.test('an alias that was written round the gateway is not shown, and can be deleted', async (t) => {
  const { id } = (await make('mine', 'openai/gpt-4o')).json;
  await world.tamper('model_aliases', `update model_aliases set target = 'ollama/x' where id = '${id}'`);
  const listed = (await call(owner, 'GET', '/api/aliases')).json.data;
  t.notOk(listed.some((alias: { id: string }) => alias.id === id));
  t.ok(world.forged.includes(`model_aliases ${id}`));
  t.equal((await call(owner, 'DELETE', `/api/aliases/${id}`)).status, 200);
});

t.test('a workspace has 500 of them at most, also with many at once', async (t) => {
  const { workspaceId } = await world.callerOf(owner);
  const { length } = (await call(owner, 'GET', '/api/aliases?limit=200')).json.data;
  await world.tamper(
    'model_aliases',
    `insert into model_aliases (id, workspace_id, alias, target, created_by, mac)
     select 'alias_' || lpad(to_hex(n), 32, '0'), '${workspaceId}', 'n' || n, 'gpt-4o', 'usr_x', '' from generate_series(1, ${498 - length}) n`,
  );
  const answers = await Promise.all([1, 2, 3, 4].map((n) => make(`last-${n}`, 'gpt-4o')));
  t.equal(answers.filter(({ status }) => status === 201).length, 2);
});

t.test('faults of the gateway say nothing of themselves', (t) => {
  t.same(world.faults, []);
  t.end();
});
