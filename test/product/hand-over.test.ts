import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { installProduct } from '../support/product.ts';

t.test('a first start that cannot hand its tokens over mints none', async (t) => {
  const product = await installProduct(t);
  const file = path.join(product.dataDir, 'first-start.json');
  mkdirSync(product.dataDir);
  writeFileSync(file, 'of another database');
  await t.rejects(product.serve());
  const said = Buffer.concat(product.said).toString('utf8');
  t.match(said, /first-start\.json/, 'says what is in the way');
  t.notMatch(said, /\n {4}at |EEXIST/, 'in a sentence');
  t.equal(readFileSync(file, 'utf8'), 'of another database', 'which is left as it was');

  renameSync(file, `${file}.old`);
  const serving = await product.serve();
  const { token, adminToken } = JSON.parse(readFileSync(file, 'utf8'));
  t.match(token, /^spt_/);
  const listed = await fetch(`${serving.origin}/api/tokens`, {
    headers: { authorization: `Bearer ${adminToken}` },
  });
  t.equal(listed.status, 200);
  serving.signal('SIGTERM');
  t.equal(await serving.ended, 0);
});

t.test('a first start that fails after its tokens were minted hands them over all the same', async (t) => {
  // Each is free by itself, so that only listening shows that they are one.
  const port = '28417';
  const product = await installProduct(t, { settings: { ADMIN_PORT: port, METRICS_PORT: port } });
  await t.rejects(product.serve());
  const file = path.join(product.dataDir, 'first-start.json');
  const isInitialised = existsSync(path.join(product.dataDir, 'keyring.json'));
  t.ok(!isInitialised || existsSync(file), 'nothing was minted, or all of it is there');
  if (existsSync(file))
    t.match(JSON.parse(readFileSync(file, 'utf8')), { adminToken: /^spa_/, token: /^spt_/ });
});
