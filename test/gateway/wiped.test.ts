import { once } from 'node:events';
import * as http from 'node:http';
import t, { type Test } from 'tap';
import { mintToken } from '../../src/ids.ts';
import { diskFiles, type FileSeam } from '../../src/journal/file-seam.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { storeSeal } from '../support/sealed-key.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(60_000);

const given = 'sk-test-given-0123456789abcdef0123456789abcdef';
const stored = 'sk-test-sealed-0123456789abcdef0123456789abcdef';

t.test('a seal and a key that came with a call are wiped when it ends, whatever way it ends', async (t) => {
  /** The very memory that the calls' secrets lay in. */
  const held: Uint8Array[] = [];
  const prepared: {
    openInto(into: Buffer, offset: number, place: { origin: string; header: string }): number;
  }[] = [];
  const seen = (vault: Vault): Vault => ({
    ...vault,
    async prepare(row, seal = null) {
      if (seal !== null) held.push(seal);
      const key = await vault.prepare(row, seal);
      prepared.push(key);
      return key;
    },
    async prepareGiven(input) {
      held.push(input.secret);
      const key = await vault.prepareGiven(input);
      prepared.push(key);
      return key;
    },
  });
  const upstream = await scriptUpstream(t);
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin }, seen });
  gateway.watch(given);
  const [seal, other] = [await storeSeal(gateway), await storeSeal(gateway)];
  await gateway.addKey('openai', stored, { protection: 'sealed', sealId: seal.id });
  const place = { origin: upstream.origin, header: 'authorization' };

  async function wiped(what: string): Promise<void> {
    await gateway.app.dataPlane.gateway.idle();
    t.equal(held.length, 1, what);
    for (const bytes of held.splice(0))
      t.ok(
        bytes.every((byte) => byte === 0),
        `${what}: wiped`,
      );
    for (const key of prepared.splice(0))
      t.throws(
        () => key.openInto(Buffer.alloc(9000), 0, place),
        { code: 'VAULT_SEALED' },
        `${what}: and opens nothing more`,
      );
  }
  for (const [how, headers] of [
    ['a seal', { 'x-api-key': `${gateway.token}.${seal.secret}` }],
    ['a key', { 'x-api-key': gateway.token, 'x-sallyport-provider-key': given }],
  ] as const) {
    const call = (more: Parameters<typeof ask>[1] = {}) =>
      ask(`${gateway.origin}/openai/v1/chat/completions`, {
        headers,
        body: { model: 'm', stream: true },
        ...more,
      });
    upstream.respond([{ body: {} }]);
    t.equal((await call()).status, 200);
    await wiped(`${how}, answered`);
    upstream.respond([{ status: 401, body: {} }]);
    t.equal((await call()).status, 502);
    await wiped(`${how}, refused by the provider`);
    upstream.respond([{ events: ['{}'], ending: 'reset' }]);
    await call();
    await wiped(`${how}, broken off`);
    upstream.respond([{ events: ['{}'], ending: 'stall' }]);
    await call({ onHead: (answer) => answer.destroy() });
    await wiped(`${how}, left by the client`);
    await call({ onHead: () => gateway.app.dataPlane.gateway.cutAll() });
    await wiped(`${how}, cut`);
  }
  const wrong = await ask(`${gateway.origin}/openai/v1/models`, {
    headers: { 'x-api-key': `${gateway.token}.${other.secret}` },
  });
  t.equal(wrong.header('x-sallyport-code'), 'SEAL_WRONG');
  await wiped('a wrong seal');
});

/** Every piece of memory of one of these sizes that is made from now on, but for what the tests’ own canary makes. */
function memoryOf(t: Test, sizes: readonly number[]): Uint8Array[] {
  const made: Uint8Array[] = [];
  const plain = globalThis.ArrayBuffer;
  globalThis.ArrayBuffer = class extends plain {
    constructor(bytes: number, options?: { maxByteLength?: number }) {
      super(bytes, options);
      const isOurs =
        sizes.includes(bytes) && new Error('made by').stack?.includes('/support/canary.ts') === false;
      if (isOurs) made.push(new Uint8Array(this));
    }
  } as typeof plain;
  t.teardown(() => {
    globalThis.ArrayBuffer = plain;
  });
  return made;
}

t.test('they are wiped too where a call ends before a key is looked for, or between its steps', async (t) => {
  let onSync = (): void => {};
  const journalFiles: FileSeam = {
    ...diskFiles,
    async create(path, sync) {
      const file = await diskFiles.create(path, sync);
      return {
        write: (...args) => {
          onSync();
          return file.write(...args);
        },
        datasync: () => file.datasync(),
        close: () => file.close(),
      };
    },
  };
  const upstream = await scriptUpstream(t, { script: [{ body: {} }] });
  const settings = { CORS_ORIGINS: 'https://app.example' };
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin }, journalFiles, settings });
  gateway.watch(given);
  const seal = await storeSeal(gateway);
  await gateway.addKey('openai', stored, { protection: 'sealed', sealId: seal.id });
  const { body: single } = await gateway.api('POST', '/tokens', { name: 'x', requestsPerMinute: 1 });
  const { body: bound } = await gateway.api('POST', '/tokens', { name: 'y', models: ['gpt-4o-mini'] });
  const url = `${gateway.origin}/openai/v1/chat/completions`;
  const both = (token: string, key = given) => ({
    'x-api-key': `${token}.${seal.secret}`,
    'x-sallyport-provider-key': key,
    'content-type': 'application/json',
  });
  const call = (token: string, key = given, more: Parameters<typeof ask>[1] = {}) =>
    ask(url, { headers: both(token, key), body: { model: 'gpt-4o' }, ...more });
  /** A call whose body stops in its middle; resolves when the gateway reads it. */
  const halfway = async (token: string): Promise<http.ClientRequest> => {
    const arrived = once(gateway.app.main.app.server, 'request');
    const request = http.request(url, { method: 'POST', headers: { ...both(token), 'content-length': 100 } });
    request.on('error', () => {}).write('{"model":');
    await arrived;
    return request;
  };
  await call(gateway.token);
  const made = memoryOf(t, [32, given.length]);
  const wiped = async (what: string, isTaken = true): Promise<void> => {
    await gateway.app.dataPlane.gateway.idle();
    t.equal(made.length > 0, isTaken, `${what}: its secrets were ${isTaken ? '' : 'not '}taken up`);
    t.ok(
      made.splice(0).every((bytes) => bytes.every((byte) => byte === 0)),
      `${what}: wiped`,
    );
  };

  t.equal((await call(mintToken('spt').text)).status, 401);
  await wiped('an unknown token');
  t.equal((await call(gateway.token, 'sk test with a space')).header('x-sallyport-code'), 'KEY_FORMAT');
  await wiped('a seal beside what is no key');
  t.equal((await call(single.token)).status, 200);
  await wiped('answered');
  t.equal((await call(single.token)).status, 429);
  await wiped('one too many');
  t.equal((await call(bound.token)).header('x-sallyport-code'), 'MODEL_FORBIDDEN');
  await wiped('another model than the token’s');
  const asked = { origin: 'https://app.example', 'access-control-request-method': 'POST' };
  t.equal((await ask(url, { method: 'OPTIONS', headers: { ...both(gateway.token), ...asked } })).status, 204);
  await wiped('a preflight', false);
  (await halfway(gateway.token)).destroy();
  await wiped('left in the middle of the body');
  const cut = await halfway(gateway.token);
  gateway.app.dataPlane.gateway.cutAll();
  cut.end('"gpt-4o"}'.padEnd(91));
  const [refused] = (await once(cut, 'response')) as [http.IncomingMessage];
  t.equal(refused.headers['x-sallyport-code'], 'SHUTTING_DOWN');
  refused.resume();
  await wiped('cut in the middle of the body');

  const before = upstream.requests.length;
  onSync = () => gateway.app.dataPlane.gateway.cutAll();
  t.equal((await call(gateway.token)).header('x-sallyport-code'), 'SHUTTING_DOWN');
  onSync = () => {};
  t.equal(upstream.requests.length, before, 'nothing was sent');
  await wiped('cut while its record was being written');
  upstream.respond((seen, answer) => {
    if (seen.connection > 1) return { body: {} };
    answer.socket?.resetAndDestroy();
    return undefined;
  });
  t.equal((await call(gateway.token)).header('x-sallyport-attempts'), '2');
  t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${given}`);
  await wiped('repeated on another connection');
});
