import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import t from 'tap';
import { backupIds } from '../../src/backup/archive.ts';
import { readFollowed } from '../../src/backup/follow.ts';
import { installProduct } from '../support/product.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.setTimeout(180_000);

const key = 'sk-rotated-0123456789abcdefghij';
const program = fileURLToPath(new URL('../../bin/sallyport', import.meta.url));

/** Until when the newest backup and what follows it were copied; an empty text: there is none yet. */
function copiedUntil(backups: string): string {
  const id = existsSync(backups) ? backupIds(backups).at(-1) : undefined;
  return id === undefined ? '' : (readFollowed({ folder: path.join(backups, id) })?.at ?? '');
}

t.test('a root key that was exchanged since the last backup comes back with what it opens', async (t) => {
  const upstream = await scriptUpstream(t, { key, script: () => ({ body: { choices: [], usage: {} } }) });
  const product = await installProduct(t, { settings: { SALLYPORT_OPENAI_ORIGIN: upstream.origin } });
  const { dataDir } = product;
  const folder = path.dirname(dataDir);
  const backups = path.join(folder, 'backups');
  const identity = await generateX25519Identity();
  writeFileSync(path.join(folder, 'identity.txt'), `${identity}\n`);
  const serving = await product.serve();
  const first = JSON.parse(readFileSync(path.join(dataDir, 'first-start.json'), 'utf8'));
  await product.run(['keys', 'add', '--provider', 'openai', '--name', 'main', '--force'], key);

  const age = await identityToRecipient(identity);
  const copier = spawn(program, ['backup', '--to', backups, '--every', '24h', '--age', age], {
    env: { ...process.env, DATA_DIR: dataDir },
    stdio: 'ignore',
  });
  const ended = once(copier, 'close');
  t.teardown(async () => {
    copier.kill('SIGTERM');
    await ended;
  });
  const copied = async (since: string): Promise<void> => {
    for (; copier.exitCode === null && copiedUntil(backups) < since;) await pause(50);
  };
  await copied('2000');
  await product.run(['keyring', 'stage']);
  await product.run(['keyring', 'promote']);
  const ring = await product.run(['keyring', 'rewrap']);
  const old = ring.keys.find(({ state }: { state: string }) => state === 'decrypt_only');
  await product.run(['keyring', 'retire', old.id, '--yes']);
  await copied(new Date().toISOString());
  copier.kill('SIGTERM');
  await ended;
  serving.signal('SIGTERM');
  await serving.ended;
  rmSync(dataDir, { recursive: true });

  const restored = await product.run([
    'restore',
    `--from=${backups}`,
    `--identity=${path.join(folder, 'identity.txt')}`,
  ]);
  t.match(restored, { hasKeyring: true, rootKeyIds: [ring.activeRootKey], missingRootKeyIds: [] });
  const again = await product.serve();
  const response = await fetch(`${again.origin}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${first.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] }),
  });
  t.equal(response.status, 200, await response.text());
});
