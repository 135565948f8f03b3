import t from 'tap';
import { runCommand } from '../support/command.ts';
import { startGateway } from '../support/gateway.ts';

t.setTimeout(60_000);

const gateway = await startGateway(t);

/** A command as the owner, or as whoever has `adminToken`. */
async function run(line: string, adminToken = gateway.adminToken) {
  const argv = line.split(' ');
  const { exit, output, error } = await runCommand({ origin: gateway.origin, adminToken }, ...argv);
  return {
    exit,
    output,
    error,
    json: argv.includes('--json') && output !== '' ? JSON.parse(output) : null,
  };
}

t.test('users are listed with their roles, shown and changed', async (t) => {
  const { body: ann } = await gateway.api('POST', '/users', {
    name: 'ann',
    externalId: 'a-1',
    email: 'ann@example.com',
  });
  await gateway.addKey('openai', 'sk-test-people-0123456789abcdef', { userId: ann.id });
  await gateway.api('POST', '/tokens', { name: 'app', userId: ann.id });
  const { body: gone } = await gateway.api('POST', '/tokens', { name: 'old', userId: ann.id });
  await gateway.api('DELETE', `/tokens/${gone.id}`);

  const listed = await run('users list --json');
  t.same(listed.json, { data: (await gateway.api('GET', '/users')).body.data });
  const table = await run('users list');
  t.match(table.output, /^ID +NAME +EXTERNAL ID +EMAIL +ROLE +MADE\n/);
  t.match(table.output, new RegExp(`^${ann.id} +ann +a-1 +ann@example.com +member +2\\S+Z$`, 'm'));
  t.match(table.output, /operator +– +– +owner /);

  const shown = await run('users show a-1');
  t.match(shown, { exit: 0, output: /^role +member\nkeys +1\ntokens +1$/m });
  t.same((await run('users show a-1 --json')).json, (await gateway.api('GET', `/users/${ann.id}`)).body);
  t.match(await run('users show nobody'), { exit: 3, error: /users list/ });

  const changed = await run('users update ann --name anna --email none --json');
  t.match(changed, { exit: 0, json: { id: ann.id, name: 'anna', email: null, externalId: 'a-1' } });
  t.match(await run('users update anna'), { exit: 2, error: /nothing to change/ });
  const { body: auditor } = await gateway.api('POST', '/users', { name: 'auditor' });
  await gateway.api('PATCH', `/members/${auditor.id}`, { role: 'auditor' });
  const { body: his } = await gateway.api('POST', '/tokens', {
    name: 'his',
    kind: 'admin',
    userId: auditor.id,
  });
  t.match(
    await run('users show anna', his.token),
    { exit: 0, output: /^keys +–\ntokens +–$/m },
    'who may see no keys is told of none',
  );
  t.match(await run('users update anna --name x', his.token), { exit: 1, error: /FORBIDDEN/ });
});

t.test('roles are listed, given and taken away', async (t) => {
  const { body: ben } = await gateway.api('POST', '/users', { name: 'ben' });
  t.match(await run('members set ben --role admin --json'), {
    exit: 0,
    json: { userId: ben.id, role: 'admin' },
  });
  t.match((await run('members list')).output, new RegExp(`^${ben.id} +ben +admin `, 'm'));
  const listed = await run('members list --json');
  t.same(listed.json, { data: (await gateway.api('GET', '/members')).body.data });
  t.match(await run('members rm ben --json'), { exit: 0, json: { userId: ben.id, deleted: true } });
  t.match((await run('users show ben')).output, /^role +none$/m);
  t.match(await run('members rm ben'), { exit: 3 });
  t.match(await run('members set ben --role king'), { exit: 2 });
});

t.test('workspaces are listed: all to the operator, his own to another', async (t) => {
  const { body: made } = await gateway.api('POST', '/workspaces', { name: 'second' });
  const all = await run('workspaces list');
  t.match(all, { exit: 0, output: /^ID +NAME +STORES KEYS +LENDS MANAGED KEYS +MADE\n/ });
  t.match(all.output, new RegExp(`^${made.workspaceId} +second +yes +to the operator +\\S+Z$`, 'm'));
  t.match(all.output, new RegExp(`^${gateway.workspaceId} .*commands go here$`, 'm'));
  const own = await run('workspaces list --json', made.adminToken);
  t.match(own.json, { data: [{ id: made.workspaceId, name: 'second' }] });
  t.equal(own.json.data.length, 1);

  const changed = await run('workspaces update --name renamed --managed-keys yes --json', made.adminToken);
  t.match(changed.json, { id: made.workspaceId, name: 'renamed', managedKeys: true });
  t.match((await run('workspaces show', made.adminToken)).output, /^lends managed keys +to all its users$/m);
  t.match(await run('workspaces update --managed-keys perhaps'), { exit: 2, error: /yes or no/ });
  t.match(await run('workspaces update'), { exit: 2 });
});
