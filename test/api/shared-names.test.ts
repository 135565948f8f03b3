import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.test('no member can put his own origin under a name that others call by a shared key', async (t) => {
  const [good, evil] = [await scriptUpstream(t), await scriptUpstream(t)];
  const gateway = await startGateway(t, {
    settings: { SALLYPORT_ALLOW_ORIGINS: `${good.origin},${evil.origin}` },
  });
  const api: typeof gateway.api = (...request) => gateway.api(...request);
  async function member(name: string) {
    const { id } = (await api('POST', '/users', { name })).body;
    const made = await api('POST', '/tokens', { name, kind: 'admin', userId: id });
    return { id: id as string, admin: made.body.token as string };
  }
  const [mallory, alice] = [await member('Mallory'), await member('Alice')];
  const ofMallory = (origin: string, more: object) =>
    api('POST', '/api-keys', { provider: 'custom', origins: [origin], auth: 'none', ...more }, mallory.admin);

  await gateway.addKey('custom', '', {
    name: 'llm',
    origins: [good.origin],
    auth: 'none',
    value: undefined,
    sharedWith: 'workspace',
  });
  const { token } = (await api('POST', '/tokens', { name: 'app', userId: alice.id })).body;
  const call = () =>
    fetch(`${gateway.origin}/custom/llm/v1/chat`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
    });
  t.equal((await call()).status, 200);
  t.equal(good.requests.length, 1);

  const refused = await ofMallory(evil.origin, { name: 'llm', sharedWith: [alice.id] });
  t.match(refused, { status: 409, body: { code: 'CONFLICT' } }, 'shared with a user');
  for (const name of ['llm', 'mine'])
    t.match(
      await ofMallory(evil.origin, { name, sharedWith: 'workspace' }),
      { status: 403 },
      'shared with all',
    );
  const own = await ofMallory(evil.origin, { name: 'llm' });
  t.equal(own.status, 201, 'for himself he may');
  const other = await ofMallory(evil.origin, { name: 'other', sharedWith: [alice.id] });
  t.equal(other.status, 201);
  const change = (id: string, body: object) => api('PATCH', `/api-keys/${id}`, body, mallory.admin);
  t.match(await change(own.body.id, { sharedWith: [alice.id] }), { status: 409 }, 'shared later');
  t.match(await change(other.body.id, { name: 'llm' }), { status: 409 }, 'renamed later');
  t.match(
    await change(other.body.id, { description: 'mine', sharedWith: [alice.id] }),
    { status: 200 },
    'its own name stands in nobody’s way',
  );
  t.match(await change(own.body.id, { sharedWith: [] }), { status: 200 }, 'with nobody is not shared');

  const both = await Promise.all(
    [mallory.admin, alice.admin].map((admin) =>
      api(
        'POST',
        '/api-keys',
        {
          provider: 'custom',
          name: 'race',
          origins: [good.origin],
          auth: 'none',
          sharedWith: [mallory.id, alice.id],
        },
        admin,
      ),
    ),
  );
  t.same(new Set(both.map(({ status }) => status)), new Set([201, 409]), 'two at once');

  t.equal((await call()).status, 200);
  t.equal(evil.requests.length, 0);
});

t.test('no member can put his own key before a managed one that others call by', async (t) => {
  const upstream = await scriptUpstream(t);
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin, groq: upstream.origin } });
  const api: typeof gateway.api = (...request) => gateway.api(...request);
  const valueOf = (name: string): string => `sk-test-${name}-0123456789abcdef`;
  const [managed, evil] = [valueOf('managed'), valueOf('mallory')];
  await api('PATCH', '/workspaces/current', { managedKeys: true });
  await api('POST', '/api-keys/import', { provider: 'openai', value: managed });
  const { id: mallory } = (await api('POST', '/users', { name: 'Mallory' })).body;
  const { id: alice } = (await api('POST', '/users', { name: 'Alice' })).body;
  const made = await api('POST', '/tokens', { name: 'm', kind: 'admin', userId: mallory });
  const admin: string = made.body.token;
  const { token } = (await api('POST', '/tokens', { name: 'app', userId: alice })).body;
  const paidBy = async () => {
    const answer = await fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: '{"model":"gpt-4o"}',
    });
    await answer.text();
    return answer.headers.get('x-sallyport-key-source');
  };
  t.equal(await paidBy(), 'managed');

  const ofMallory = { name: 'mine', provider: 'openai', value: evil, force: true };
  const refused = await api('POST', '/api-keys', { ...ofMallory, sharedWith: [alice] }, admin);
  t.match(refused, { status: 409, body: { code: 'CONFLICT' } });
  const { id } = (await api('POST', '/api-keys', ofMallory, admin)).body;
  t.match(await api('PATCH', `/api-keys/${id}`, { sharedWith: [alice] }, admin), { status: 409 }, 'later');
  t.equal(await paidBy(), 'managed');
  t.notOk(upstream.requests.some(({ headers }) => headers.authorization === `Bearer ${evil}`));

  const other = { ...ofMallory, provider: 'groq', sharedWith: [alice] };
  t.match(await api('POST', '/api-keys', other, admin), { status: 201 }, 'where none is lent he may');
  t.match(await api('PATCH', `/api-keys/${id}`, { sharedWith: [alice] }), { status: 200 }, 'an owner may');
  t.match(
    await api('PATCH', `/api-keys/${id}`, { sharedWith: [alice] }, admin),
    { status: 200 },
    'it stays so',
  );
  t.equal(await paidBy(), 'shared');
});
