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
