import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { newKeyringText } from '../../src/vault/keyring.ts';
import { installProduct } from '../support/product.ts';

t.setTimeout(120_000);

const product = await installProduct(t);

t.test('a command on a folder that was never set up says so and makes nothing there', async (t) => {
  for (const args of [['keys', 'list'], ['tokens', 'create', '--name', 'app'], ['usage']])
    await t.rejects(product.run(args), { message: /ended with 78: .*sallyport init/s });
  t.notOk(existsSync(product.dataDir));
});

t.test('an unknown setting or a bad value: exit 78 and one clear sentence', async (t) => {
  const unknown = product.run(['init'], '', { SALLYPORT_OPENAI_ORIGN: 'https://x.example' });
  await t.rejects(unknown, { message: /ended with 78: .*SALLYPORT_OPENAI_ORIGIN/s });
  const bad = product.run(['init'], '', { MAX_JSON_BYTES: 'lots' });
  await t.rejects(bad, { message: /ended with 78: .*MAX_JSON_BYTES/s });
});

t.test('a debugger, and certificates unchecked: exit 78 before anything is opened', async (t) => {
  const watched = product.run(['serve'], '', { NODE_OPTIONS: '--inspect=127.0.0.1:0' });
  await t.rejects(watched, { message: /ended with 78: .*debugger/s });
  const careless = product.run(['serve'], '', { NODE_TLS_REJECT_UNAUTHORIZED: '0' });
  await t.rejects(careless, { message: /ended with 78: .*NODE_EXTRA_CA_CERTS/s });
  t.notOk(existsSync(product.dataDir));
});

t.test(
  'PORT, ADMIN_PORT or METRICS_PORT taken: exit 78, a command that helps, and nothing minted',
  async (t) => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    t.teardown(() => other.close());
    const port = (other.address() as AddressInfo).port;
    for (const name of ['PORT', 'ADMIN_PORT', 'METRICS_PORT']) {
      await t.rejects(product.run(['serve'], '', { [name]: String(port) }), {
        message: new RegExp(`ended with 78: .*Port ${port} is taken.*${name}=${port + 1}`, 's'),
      });
    }
    t.match(await product.run(['init']), { token: /^spt_/ }, 'the folder is still empty');
  },
);

t.test('a wrong keyring refuses to start and leaves the database as it was', async (t) => {
  const file = path.join(product.dataDir, 'keyring.json');
  const right = readFileSync(file);
  writeFileSync(file, newKeyringText());
  await t.rejects(product.run(['serve']), { message: /ended with 78: .*CONFIG_INVALID/s });
  writeFileSync(file, right);
  chmodSync(file, 0o644);
  await t.rejects(product.run(['serve']), { message: /ended with 78: .*chmod 600/s });
  rmSync(file);
  await t.rejects(product.run(['serve']), { message: /ended with 78: .*Bring it back/s });
  writeFileSync(file, right, { mode: 0o600 });
  t.match(await product.run(['doctor']), { ok: true });
});

t.test('a second gateway on the same data directory is refused while the first one serves', async (t) => {
  const serving = await product.serve();
  await t.rejects(product.run(['serve']), { message: /ended with 78/ });
  t.equal((await fetch(`${serving.origin}/readyz`)).status, 200);
});
