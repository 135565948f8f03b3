import t, { type Test } from 'tap';
import { secretCopy } from '../../src/secret.ts';
import { startGateway } from '../support/gateway.ts';
import { ask, type Answered } from '../support/http-client.ts';
import { storeSeal } from '../support/sealed-key.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(90_000);

const given = 'sk-test-given-0123456789abcdef0123456789abcdef';
const valueOf = (name: string): string => `sk-test-${name}-0123456789abcdef0123456789abcdef`;
const upstream = await scriptUpstream(t, { script: [{ events: ['{"choices":[]}'], ending: 'stall' }] });
const upstreams = { openai: upstream.origin };
const first = await startGateway(t, { upstreams });
/** Calls go to this node, acts to the other: nothing tells it but the database. */
const second = await startGateway(t, { upstreams, beside: first });
second.watch(given);

interface Person {
  readonly id: string;
  readonly token: string;
  readonly tokenId: string;
}

async function person(node = first): Promise<Person> {
  const { body: user } = await node.api('POST', '/users', { name: 'someone' });
  const { body: token } = await node.api('POST', '/tokens', { name: 'x', userId: user.id });
  return { id: user.id, token: token.token, tokenId: token.id };
}

const body = { model: 'gpt-4o', stream: true };

/** A stream that runs on the second node. Settles with its whole answer, however that ends. */
async function running(
  credential: string,
  more: Readonly<Record<string, string>> = {},
): Promise<{ ended: Promise<Answered> }> {
  const head = Promise.withResolvers<void>();
  const ended = ask(`${second.origin}/v1/chat/completions`, {
    headers: { 'x-api-key': credential, ...more },
    body,
    onData: () => head.resolve(),
  });
  await Promise.race([head.promise, ended]);
  return { ended };
}

function isCut(t: Pick<Test, 'notOk' | 'match'>, { isWhole, body }: Answered, code: string): void {
  t.notOk(isWhole);
  t.match(
    body.toString(),
    new RegExp(`^data: \\{"choices":\\[\\]\\}\\n+data: \\{"error":.*"code":"${code}"\\}\\}\\n\\n$`),
  );
}

interface Scene {
  /** What the call carries. */
  readonly credential: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly act: () => Promise<{ readonly status: number }>;
  /** As the stream is told, and as a new call is. */
  readonly codes: readonly [string, string];
}

async function withKey(
  more: object,
  act: (ids: { key: string; user: Person }) => readonly [string, string, object?],
): Promise<Omit<Scene, 'codes'>> {
  const user = await person();
  const key = await first.addKey('openai', valueOf('own'), { userId: user.id, ...more });
  const [method, path, sent] = act({ key, user });
  return { credential: user.token, act: () => first.api(method, path, sent) };
}

const scenes: Readonly<Record<string, () => Promise<Scene>>> = {
  'a key that is disabled': async () => ({
    ...(await withKey({}, ({ key }) => ['PATCH', `/api-keys/${key}`, { isActive: false }])),
    codes: ['KEY_DISABLED', 'KEY_DISABLED'],
  }),
  'a sealed key that is deleted': async () => {
    const seal = await storeSeal(first);
    second.watch(seal.secret);
    const scene = await withKey({ protection: 'sealed', sealId: seal.id }, ({ key }) => [
      'DELETE',
      `/api-keys/${key}`,
    ]);
    return {
      ...scene,
      credential: `${scene.credential}.${seal.secret}`,
      codes: ['KEY_MISSING', 'KEY_MISSING'],
    };
  },
  'a key that is shared no longer': async () => {
    const user = await person();
    const scene = await withKey({ sharedWith: [user.id] }, ({ key }) => [
      'PATCH',
      `/api-keys/${key}`,
      { sharedWith: null },
    ]);
    return { ...scene, credential: user.token, codes: ['KEY_MISSING', 'KEY_MISSING'] };
  },
  'a token that is revoked': async () => ({
    ...(await withKey({}, ({ user }) => ['DELETE', `/tokens/${user.tokenId}`])),
    codes: ['invalid_api_key', 'AUTH_INVALID'],
  }),
  'a token that is revoked, of a key that came with the call': async () => ({
    ...(await withKey({}, ({ user }) => ['DELETE', `/tokens/${user.tokenId}`])),
    headers: { 'x-sallyport-provider-key': given },
    codes: ['invalid_api_key', 'AUTH_INVALID'],
  }),
  'a user who is deleted': async () => ({
    ...(await withKey({}, ({ user }) => ['DELETE', `/users/${user.id}`])),
    codes: ['invalid_api_key', 'AUTH_INVALID'],
  }),
  'a user whose keys may be stored no longer': async () => ({
    ...(await withKey({}, ({ user }) => [
      'PATCH',
      `/users/${user.id}`,
      { storeKeys: false, confirm: 'shred' },
    ])),
    codes: ['KEY_MISSING', 'KEY_MISSING'],
  }),
  'managed keys that are switched off': async () => {
    const value = secretCopy(Buffer.from(valueOf('managed')));
    await first.app.keys.importManaged(await first.app.operatorCaller(), 'openai', value);
    await first.api('PATCH', '/workspaces/current', { managedKeys: true });
    return {
      credential: (await person()).token,
      act: () => first.api('PATCH', '/workspaces/current', { managedKeys: false }),
      codes: ['KEY_MISSING', 'KEY_MISSING'],
    };
  },
  'a workspace that stores no keys any more': async () => ({
    ...(await withKey({}, () => ['PATCH', '/workspaces/current', { storeKeys: false, confirm: 'shred' }])),
    codes: ['KEY_MISSING', 'KEY_MISSING'],
  }),
};

for (const [what, prepare] of Object.entries(scenes)) {
  t.test(
    `${what}: its stream on another node is cut within a second, and its next call refused`,
    async (t) => {
      const { credential, headers = {}, act, codes } = await prepare();
      const bystander = await running((await person()).token, { 'x-sallyport-provider-key': given });
      const { ended } = await running(credential, headers);
      const from = performance.now();
      t.equal((await act()).status, 200);
      isCut(t, await ended, codes[0]);
      const refused = await ask(`${second.origin}/v1/chat/completions`, {
        headers: { 'x-api-key': credential, ...headers },
        body,
      });
      t.equal(refused.header('x-sallyport-code'), codes[1]);
      t.ok(performance.now() - from < 1000, 'within a second');
      t.equal(second.app.dataPlane.gateway.callsInFlight(), 1, 'the call of another goes on');
      second.app.dataPlane.gateway.cutAll();
      isCut(t, await bystander.ended, 'SHUTTING_DOWN');
    },
  );
}

t.test('where nothing is stored a key that comes with its call still goes through', async (t) => {
  const { token } = await person();
  const { ended } = await running(token, { 'x-sallyport-provider-key': given });
  t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${given}`);
  second.app.dataPlane.gateway.cutAll();
  await ended;
  t.match(
    (await first.api('POST', '/api-keys', { name: 'x', provider: 'openai', value: valueOf('late') })).body,
    { code: /./ },
  );
  const rows = await first.database.store.asSystem((tx) =>
    tx.selectFrom('provider_keys').select('id').execute(),
  );
  t.same(rows, []);
});

t.test('time runs out in the midst of a stream too', async (t) => {
  await second.api('PATCH', '/workspaces/current', { storeKeys: true });
  const [expiringToken, expiringKey] = [await person(second), await person(second)];
  const soon = () => new Date(Date.now() + 900).toISOString();
  await second.addKey('openai', valueOf('lasting'), { userId: expiringToken.id });
  const { body: short } = await second.api('POST', '/tokens', {
    name: 'x',
    userId: expiringToken.id,
    expiresAt: soon(),
  });
  await second.addKey('openai', valueOf('short'), { userId: expiringKey.id, expiresAt: soon() });
  const streams = [
    await running(short.token),
    await running(expiringKey.token),
    await running(expiringToken.token),
  ] as const;
  isCut(t, await streams[0].ended, 'invalid_api_key');
  isCut(t, await streams[1].ended, 'KEY_EXPIRED');
  const late = Date.now() - Date.parse(short.expiresAt);
  t.ok(late >= 0 && late < 1500, `not before, and soon after: ${late} ms`);
  t.equal(second.app.dataPlane.gateway.callsInFlight(), 1);
  second.app.dataPlane.gateway.cutAll();
  await streams[2].ended;
});
