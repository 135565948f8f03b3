import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import t from 'tap';
import { installProduct, type Product } from '../support/product.ts';
import { scriptUpstream } from '../support/upstream.ts';

// A dozen processes, one after the other.
t.setTimeout(180_000);

const key = 'sk-drill-0123456789abcdefghij';

/** Asks again where it is told to: on a busy machine a node may be a second behind its database. */
async function call(origin: string, token: string, left = 20): Promise<number> {
  const response = await fetch(`${origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] }),
  });
  await response.arrayBuffer();
  return response.status === 503 && left > 0 ? call(origin, token, left - 1) : response.status;
}

/** `/api` of a running gateway; a command apiece would take a second each. */
async function api(origin: string, token: string, url: string, body?: unknown) {
  const response = await fetch(`${origin}/api${url}`, {
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  });
  return (await response.json()) as { id: string; data: { id: string }[] };
}

/** What a product's run ended with, where that is not 0. */
async function refusal(product: Product, args: readonly string[]): Promise<string> {
  return product.run(args).then(
    () => 'it was done',
    (error: Error) => error.message,
  );
}

t.test('the drill: write, back up, write, lose it all, restore, and serve', async (t) => {
  const upstream = await scriptUpstream(t, { key, script: () => ({ body: { choices: [], usage: {} } }) });
  const product = await installProduct(t, { settings: { SALLYPORT_OPENAI_ORIGIN: upstream.origin } });
  const { dataDir } = product;
  const folder = path.dirname(dataDir);
  const backups = path.join(folder, 'backups');
  const identity = await generateX25519Identity();
  const recipient = await identityToRecipient(identity);
  writeFileSync(path.join(folder, 'identity.txt'), `# kept elsewhere\n${identity}\n`);

  const serving = await product.serve();
  const first = JSON.parse(readFileSync(path.join(dataDir, 'first-start.json'), 'utf8'));
  const a = await api(serving.origin, first.adminToken, '/api-keys', {
    name: 'A',
    provider: 'openai',
    value: key,
    force: true,
  });
  t.equal(await call(serving.origin, first.token), 200);

  const made = await product.run(['backup', '--to', backups, '--age', recipient]);
  t.match(made, { id: /^backup-\d{8}T\d{6}\.\d{3}Z$/, pruned: [] });
  t.equal(statSync(made.folder).mode & 0o777, 0o700);
  const files = readdirSync(made.folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
  t.same(
    files.filter((name) => (statSync(name).mode & 0o077) !== 0),
    [],
    'nobody else may read them',
  );
  const text = readFileSync(path.join(dataDir, 'keyring.json'));
  const secret = text.subarray(text.indexOf('base64:') + 'base64:'.length).subarray(0, 43);
  t.same(
    files.filter((name) => readFileSync(name).includes(secret)),
    [],
    'the keyring is not in it in clear',
  );

  const b = await api(serving.origin, first.adminToken, '/api-keys', {
    name: 'B',
    provider: 'anthropic',
    value: 'sk-ant-drill-0123456789abcdefghij',
  });
  t.match(b.id, /^key_/);
  t.equal(await call(serving.origin, first.token), 200);
  serving.signal('SIGKILL');
  await serving.ended;
  t.match(
    await refusal(product, ['restore', '--from', backups]),
    /ended with 1: .*is not empty; nothing was changed/s,
  );

  // Its server is still alive, as after any kill: the next command takes it over and ends it.
  await product.run(['migrate']);
  rmSync(dataDir, { recursive: true });
  t.match(
    await refusal(product, ['restore', '--from', backups, '--at', '2020-01-01T00:00:00Z']),
    /ended with 3: .*No backup is that old/s,
  );
  t.notOk(existsSync(dataDir), 'nothing was made');

  const damaged = path.join(folder, 'damaged', made.id);
  mkdirSync(path.dirname(damaged));
  cpSync(made.folder, damaged, { recursive: true });
  const victim = path.join(damaged, 'database.tar.zst');
  const bytes = readFileSync(victim);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(victim, bytes);
  t.match(
    await refusal(product, ['restore', '--from', path.dirname(damaged)]),
    /ended with 1: .*cannot be used: database\.tar\.zst does not unpack|is not what was packed/s,
  );
  t.same(existsSync(dataDir) ? readdirSync(dataDir) : [], [], 'nothing half is left');

  const restored = await product.run([
    'restore',
    `--from=${backups}`,
    `--identity=${path.join(folder, 'identity.txt')}`,
  ]);
  t.match(restored, { backup: made.id, restoredTo: made.finishedAt, hasKeyring: true, cut: null });
  t.equal(statSync(path.join(dataDir, 'keyring.json')).mode & 0o777, 0o600);
  t.ok(readFileSync(path.join(dataDir, 'keyring.json')).equals(text));

  const again = await product.serve();
  const { data } = await api(again.origin, first.adminToken, '/api-keys');
  t.same(
    data.map(({ id }) => id),
    [a.id],
    'A is there, B is not',
  );
  t.equal(await call(again.origin, first.token), 200, 'the restored key opens');
  t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${key}`);
  await t.test('and the vault alone moves to another installation, for an age identity', async (t) => {
    const file = path.join(folder, 'vault.jsonl');
    const exported = await product.run(['vault', 'export', '--to', file, '--age', recipient]);
    t.match(exported, { file, isPortable: true, counts: { workspaces: 1, provider_keys: 1, tokens: 2 } });
    t.equal(statSync(file).mode & 0o777, 0o600);
    t.notOk(readFileSync(file).includes(key));
    t.match(await refusal(product, ['vault', 'export', '--to', file]), /ended with 1: .*is there already/s);
    again.signal('SIGTERM');
    t.equal(await again.ended, 0);
    const found = await product.run(['journal', 'verify']);
    t.same(found.problems, [], 'restored, served and exported: no record is missing or out of place');
    const identified = `--identity=${path.join(folder, 'identity.txt')}`;
    t.match(
      await refusal(product, ['vault', 'import', file, identified]),
      /ended with 1: .*holds a deployment already/s,
    );
    rmSync(dataDir, { recursive: true });
    t.match(await refusal(product, ['vault', 'import', file]), /ended with 2: .*its identity is needed/s);
    t.notOk(existsSync(dataDir), 'nothing was made');
    const imported = await product.run(['vault', 'import', file, identified]);
    t.equal(imported.deploymentId, exported.deploymentId);
    t.notSame(imported.rootKeyIds, exported.rootKeyIds);
    const moved = await product.serve();
    t.equal(await call(moved.origin, first.token), 200, 'same token, same key, another root key');
    t.match(await refusal(product, ['backup', '--to', backups]), /ended with 1: .*another database/s);
  });
});
