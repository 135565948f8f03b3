import t from 'tap';
import { createLog } from '../../src/telemetry/log.ts';
import { marker, newKey, startWorld } from './world.ts';

t.test('a provider key goes in and nothing of it comes out', async (t) => {
  const world = await startWorld(t);
  const { call } = world;
  const owner = world.first.adminToken;
  const lines: string[] = [];
  const log = createLog({ level: 'debug', write: (line) => lines.push(line) });

  const body = (more: object = {}) => ({ name: 'k', provider: 'openai', value: newKey(), ...more });
  const stored = await call(owner, 'POST', '/api/api-keys', body());
  t.equal(stored.status, 201);
  const id = stored.json.id as string;
  // Every way in which storing and replacing can go wrong, with the key in the body.
  await call(owner, 'POST', '/api/api-keys', body(), { 'idempotency-key': 'k1' });
  await call(owner, 'POST', '/api/api-keys', body(), { 'idempotency-key': 'k1' });
  await call(owner, 'POST', '/api/api-keys', body({ colour: 'red' }));
  await call(owner, 'POST', '/api/api-keys', body({ provider: 'groq' }));
  await call(owner, 'POST', '/api/api-keys', body({ provider: newKey() }));
  await call(owner, 'POST', '/api/api-keys', body({ name: newKey() }));
  await call(owner, 'POST', '/api/api-keys', body({ userId: newKey() }));
  await call(owner, 'POST', '/api/api-keys', body({ sharedWith: newKey() }));
  await call(owner, 'POST', '/api/api-keys', body({ auth: newKey() }));
  await call(owner, 'POST', '/api/api-keys', body({ expiresAt: newKey() }));
  await call(owner, 'POST', '/api/api-keys', body({ [newKey()]: newKey() }));
  await call(owner, 'POST', '/api/api-keys', body({ provider: 'custom', origins: [newKey()] }));
  await call(owner, 'POST', '/api/api-keys', `{"value":"${newKey()}",}`);
  await call(owner, 'POST', '/api/api-keys', `"${newKey()}"`);
  await call(owner, 'POST', '/api/api-keys', newKey(), { 'content-type': 'text/plain' });
  await call(owner, 'PATCH', `/api/api-keys/${id}`, { value: newKey() });
  await call(owner, 'PATCH', `/api/api-keys/${id}`, { value: newKey() }, { 'if-match': '"x"' });
  await call(owner, 'PATCH', `/api/api-keys/${id}`, { sharedWith: [newKey()] });
  await call(owner, 'PATCH', `/api/api-keys/${id}`, { expiresAt: newKey() });
  await call(owner, 'POST', '/api/tokens', { name: 't', userId: newKey() });
  await call(owner, 'POST', '/api/tokens', { name: 't', keyIds: [newKey()] });
  await call(owner, 'PATCH', `/api/members/${newKey()}`, { role: 'member' });
  await call(owner, 'DELETE', `/api/users/${newKey()}`);
  await call(owner, 'PATCH', `/api/api-keys/${newKey()}`, { value: newKey() });
  await call(owner, 'GET', `/api/api-keys/${newKey()}`);
  await call(owner, 'GET', `/api/api-keys?provider=${newKey()}`);
  await call(owner, 'GET', `/api/${newKey()}`);
  await call(newKey(), 'GET', '/api/api-keys');
  await call(owner, 'POST', '/api/tokens', { name: 't', value: newKey() });
  await call(owner, 'GET', '/api/api-keys');
  await call(owner, 'GET', `/api/api-keys/${id}`);
  await world.shipper.flush();
  await call(owner, 'GET', '/api/audit?limit=200');
  for (const fault of world.faults) log.error('fault', { error: fault });

  const named = world.heard.filter((text) => text.includes(marker) && !text.includes(`"name":"${marker}`));
  t.same(named, [], 'no answer');
  t.notMatch(world.journalText(), marker, 'no line of the journal');
  t.notMatch(lines.join('\n'), marker, 'no line of the log');
  t.same(world.faults, [], 'and nothing failed inside');

  const tables = await world.store.asSystem(async (tx) => ({
    keys: await tx.selectFrom('provider_keys').selectAll().where('name', 'not like', `${marker}%`).execute(),
    versions: await tx.selectFrom('provider_key_versions').selectAll().execute(),
    tokens: await tx.selectFrom('tokens').selectAll().execute(),
    journal: await tx.selectFrom('journal').select('line').execute(),
  }));
  const dump = JSON.stringify(tables, (_name, value: unknown) =>
    typeof value === 'bigint'
      ? String(value)
      : (value as { type?: string } | null)?.type === 'Buffer'
        ? Buffer.from((value as { data: number[] }).data).toString('latin1')
        : value,
  );
  t.ok(dump.length > 10_000);
  t.notMatch(dump, marker, 'no column');
});
