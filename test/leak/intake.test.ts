import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { encodeContext } from '../../src/vault/context.ts';
import { createHpke } from '../../src/vault/hpke.ts';
import { ask } from '../support/http-client.ts';
import { installProduct, type Product, type Serving } from '../support/product.ts';
import { tlsFolder } from '../support/tls-files.ts';
import { testCa } from '../support/upstream.ts';
import { formsOf } from './forms.ts';
import { cannotReadMemory, searchMemory } from './memory-search.ts';

t.setTimeout(240_000);

const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const randomText = (length: number): string =>
  Array.from({ length }, () => digits[randomInt(digits.length)]).join('');

interface Stage {
  readonly product: Product;
  readonly gateway: Serving;
  readonly adminToken: string;
  readonly adminOrigin: string;
}

/** A gateway that listens for administration on a port of its own too. */
async function startStage(t: Test, hasAdminPort: boolean, hasTls = false): Promise<Stage> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  const settings = {
    ...(hasAdminPort ? { ADMIN_PORT: String(port) } : {}),
    ...(hasTls ? tlsFolder(t).settings : {}),
  };
  const product = await installProduct(t, { settings });
  const { adminToken } = await product.run(['init']);
  const gateway = await product.serve();
  return {
    product,
    gateway,
    adminToken,
    adminOrigin: hasAdminPort ? `${hasTls ? 'https' : 'http'}://127.0.0.1:${port}` : gateway.origin,
  };
}

async function post(t: Test, { adminOrigin, adminToken }: Stage, name: string, value: string): Promise<void> {
  const answer = await ask(`${adminOrigin}/api/api-keys`, {
    tls: { ca: testCa },
    headers: { authorization: `Bearer ${adminToken}` },
    body: { name, service: 'openai', value },
  });
  t.equal(answer.status, 201, `${name}: ${answer.status}`);
}

function newKeys(count: number) {
  const values = Array.from({ length: count }, () => `sk-${randomText(48)}`);
  return { values, patterns: values.flatMap((value, n) => formsOf(`key ${n}`, value)) };
}

/** What came in clear through a port: it is overwritten, and a header that came with it is found. */
async function checkPosted(t: Test, stage: Stage, isOverwrittenLater: boolean): Promise<void> {
  const { values, patterns } = newKeys(6);
  for (const [n, value] of values.entries()) await post(t, stage, `key ${n}`, value);
  const marker = { name: 'admin token', bytes: Buffer.from(stage.adminToken) };
  // The gateway overwrites Node's buffer for requests by a request to itself, after its answer.
  for (let left = isOverwrittenLater ? 100 : 0; left > 0; left -= 1) {
    const { found } = searchMemory(stage.gateway.pid, patterns);
    if (Object.keys(found).length === 0) break;
  }
  const { 'admin token': held, ...copies } = searchMemory(stage.gateway.pid, [...patterns, marker]).found;
  t.same(copies, {});
  t.ok(held, 'a header of the same requests is found (positive control)');
}

for (const [hasAdminPort, hasTls] of [
  [true, false],
  [true, true],
  [false, true],
] as const) {
  const door = `${hasAdminPort ? 'ADMIN_PORT' : 'the port of calls'}${hasTls ? ', by TLS,' : ''}`;
  t.test(
    `a running gateway that took keys in through ${door} holds none`,
    { skip: cannotReadMemory },
    async (t) => checkPosted(t, await startStage(t, hasAdminPort, hasTls), hasTls),
  );
}

t.test(
  'a running gateway that took keys in through its command line, sealed, from its environment, or over the port of calls holds none',
  { skip: cannotReadMemory },
  async (t) => {
    const { values, patterns } = newKeys(6);
    const [inEnvironment = '', ...sealed] = values;
    const product = await installProduct(t, {
      settings: { OPENAI_API_KEY: inEnvironment, IMPORT_ENV_KEYS: 'always' },
    });
    const { adminToken, workspaceId } = await product.run(['init']);
    const gateway = await product.serve();
    const { origin, pid } = gateway;
    const typed = newKeys(3);
    for (const [n, value] of typed.values.entries())
      await product.run(['keys', 'add', '--provider', 'openai', '--name', `typed ${n}`], `${value}\n`);
    const headers = { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' };
    const intake = (await (await fetch(`${origin}/api/intake-key`, { headers })).json()) as {
      readonly id: string;
      readonly publicKey: string;
    };
    const hpke = createHpke('sallyport/v1/intake');
    for (const [n, value] of sealed.entries()) {
      const text = hpke.seal(
        Buffer.from(intake.publicKey, 'base64url'),
        encodeContext(['intake', workspaceId, 'openai']),
        Buffer.from(value),
      );
      const answer = await fetch(`${origin}/api/api-keys`, {
        method: 'POST',
        headers,
        body: JSON.stringify({
          name: `sealed ${n}`,
          provider: 'openai',
          sealedValue: `${intake.id}.${text.toString('base64url')}`,
        }),
      });
      t.equal(answer.status, 201);
      t.match(await answer.json(), { last4: value.slice(-4) }, 'it was opened, and is the right one');
    }
    const { data } = (await (await fetch(`${origin}/api/api-keys`, { headers })).json()) as {
      readonly data: readonly unknown[];
    };
    t.equal(data.length, values.length + typed.values.length, 'the one of the environment was imported too');
    t.same(searchMemory(pid, [...patterns, ...typed.patterns]).found, {});
    // Last, because what holds these for a moment is what overwrites the others.
    await checkPosted(t, { product, gateway, adminToken, adminOrigin: origin }, true);
  },
);
