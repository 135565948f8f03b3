import t from 'tap';
import type { Role } from '../../src/db/schema.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';

t.test('the numbers of all workspaces are for the people of the operator’s', async (t) => {
  const gateway = await startGateway(t);
  const other = (await gateway.api('POST', '/workspaces', { name: 'other' })).body;
  async function scrape(admin: string, role: Role): Promise<number> {
    const { id } = (await gateway.api('POST', '/users', { name: role }, admin)).body;
    await gateway.api('PUT', `/members/${id}`, { role }, admin);
    const made = await gateway.api('POST', '/tokens', { name: role, kind: 'admin', userId: id }, admin);
    const headers = { authorization: `Bearer ${made.body.token}`, 'x-forwarded-for': '192.0.2.1' };
    const answer = await ask(`${gateway.origin}/metrics`, { headers });
    t.equal(answer.body.includes('sallyport_cost_nano_usd_total'), answer.status === 200);
    return answer.status;
  }
  for (const role of ['owner', 'admin', 'auditor'] as const)
    t.equal(await scrape(gateway.adminToken, role), 200, role);
  for (const role of ['member', 'viewer'] as const)
    t.equal(await scrape(gateway.adminToken, role), 403, role);
  for (const role of ['owner', 'admin', 'auditor', 'member', 'viewer'] as const)
    t.equal(await scrape(other.adminToken, role), 403, `${role} of another workspace`);
});

t.test('a page that has its own name lead to this machine is told no numbers', async (t) => {
  const gateway = await startGateway(t);
  const asked = async (host: string) =>
    (await ask(`${gateway.origin}/metrics`, { headers: { host } })).status;
  for (const host of [
    'page.example',
    'page.example:8080',
    'localhost.page.example',
    '127.0.0.1.page.example',
  ])
    t.equal(await asked(host), 403, host);
  for (const host of ['localhost', 'localhost:8080', '127.0.0.1:8080', '[::1]:8080', 'gateway:9090'])
    t.equal(await asked(host), 200, host);
});
