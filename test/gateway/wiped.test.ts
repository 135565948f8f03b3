import t from 'tap';
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
