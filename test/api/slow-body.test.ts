import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import t from 'tap';
import { startGateway, type TestGateway } from '../support/gateway.ts';

interface Person {
  readonly id: string;
  readonly token: string;
  readonly tokenId: string;
}

async function newAdmin(gateway: TestGateway): Promise<Person> {
  const { id } = (await gateway.api('POST', '/users', { name: 'admin' })).body;
  await gateway.api('PUT', `/members/${id}`, { role: 'admin' });
  const made = await gateway.api('POST', '/tokens', { name: 'lent', kind: 'admin', userId: id });
  return { id, token: made.body.token, tokenId: made.body.id };
}

/** A request that was let in, with the end of its body still to come. */
async function begin(gateway: TestGateway, { token, tokenId }: Person, path: string, body: object) {
  const text = JSON.stringify(body);
  const outgoing = request(`${gateway.origin}/api${path}`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    },
  });
  const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>;
  outgoing.write(text.slice(0, 1));
  // The last thing that is asked of the database before the body is waited for.
  while ((await gateway.api('GET', `/tokens/${tokenId}`)).body.lastUsedAt === null);
  return async () => {
    outgoing.end(text.slice(1));
    const [answer] = await answered;
    return { status: answer.statusCode, body: JSON.parse(Buffer.concat(await answer.toArray()).toString()) };
  };
}

const value = 'sk-test-slow-body-0123456789abcdef';
const acts: readonly (readonly [string, object])[] = [
  ['/tokens', { name: 'kept', kind: 'admin' }],
  ['/users', { name: 'kept' }],
  ['/api-keys', { name: 'kept', provider: 'openai', value, force: true }],
  ['/api-keys/find', { value, provider: 'openai' }],
];

for (const [what, end] of [
  ['token is revoked', (g, { tokenId }) => g.api('DELETE', `/tokens/${tokenId}`)],
  ['role is lowered', (g, { id }) => g.api('PUT', `/members/${id}`, { role: 'viewer' })],
  ['user is taken out', (g, { id }) => g.api('DELETE', `/members/${id}`)],
  ['user is erased', (g, { id }) => g.api('DELETE', `/users/${id}`)],
] as const satisfies readonly (readonly [string, (g: TestGateway, who: Person) => Promise<unknown>])[]) {
  t.test(`a request whose ${what} while its body comes does nothing any more`, async (t) => {
    const gateway = await startGateway(t);
    gateway.watch(value);
    for (const [path, body] of acts) {
      const person = await newAdmin(gateway);
      const finish = await begin(gateway, person, path, body);
      await end(gateway, person);
      t.match(await finish(), { status: 401, body: { code: 'AUTH_INVALID' } }, path);
    }
    for (const list of ['/tokens', '/users', '/api-keys']) {
      const { data } = (await gateway.api('GET', list)).body;
      t.notOk(
        data.some(({ name }: { name: string }) => name === 'kept'),
        list,
      );
    }
  });
}

t.test('a body that takes its time is no fault', async (t) => {
  const gateway = await startGateway(t);
  const finish = await begin(gateway, await newAdmin(gateway), '/users', { name: 'kept' });
  t.match(await finish(), { status: 201, body: { name: 'kept' } });
});
