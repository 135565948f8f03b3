import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseKeyring } from '../../src/vault/keyring.ts';
import { createKeyringHome } from '../../src/vault/keyring-home.ts';
import { keyringText, newLocalKey, type RingKey } from '../../src/vault/keyring-text.ts';

/** A home of one active key, which is in use, and the file that it is in. */
async function homeOf(t: Test) {
  const folder = await files.mkdtemp(join(tmpdir(), 'keyring-home-'));
  t.teardown(() => files.rm(folder, { recursive: true }));
  const file = join(folder, 'keyring.json');
  const first = newLocalKey('active');
  const write = (keys: readonly RingKey[]) => files.writeFile(file, keyringText(keys), { mode: 0o600 });
  await write([first]);
  const ring = parseKeyring(await files.readFile(file, 'utf8'), file);
  t.teardown(() => ring.close());
  const home = createKeyringHome({
    ring,
    file,
    inUse: (ids) => Promise.resolve(ids.filter((id) => id === first.id)),
    prove: () => Promise.resolve(),
  });
  const ids = () => ring.list().map(({ id }) => id);
  return { home, first, write, ids };
}

/** Somebody else's edit that comes when ours has just got its name, and before anything else is done. */
function onRenamed(t: Test, edit: () => Promise<void>): void {
  const { rename } = files;
  const restore = (): void => {
    files.rename = rename;
    syncBuiltinESMExports();
  };
  files.rename = async (from, to) => {
    restore();
    await rename(from, to);
    await edit();
  };
  syncBuiltinESMExports();
  t.teardown(restore);
}

t.test('what we wrote ourselves is no news', async (t) => {
  const { home, first, ids } = await homeOf(t);
  await home.refresh();
  const staged = newLocalKey('staged');
  await home.edit((keys) => [...keys, staged]);
  t.same(ids(), [first.id, staged.id]);
  t.equal(await home.refresh(), false);
});

t.test('an edit of another’s right behind our own is seen by the next look', async (t) => {
  const { home, first, write, ids } = await homeOf(t);
  const [ours, theirs] = [newLocalKey('staged'), newLocalKey('staged')];
  onRenamed(t, () => write([first, ours, theirs]));
  await home.edit((keys) => [...keys, ours]);
  t.same(ids(), [first.id, ours.id], 'the edit is what it was to be');
  t.equal(await home.refresh(), true);
  t.same(ids(), [first.id, ours.id, theirs.id]);
  t.equal(await home.refresh(), false);
});

t.test('and is checked like every other: it takes away no key that is in use', async (t) => {
  const { home, first, write, ids } = await homeOf(t);
  const [ours, theirs] = [newLocalKey('staged'), newLocalKey('active')];
  onRenamed(t, () => write([theirs]));
  await home.edit((keys) => [...keys, ours]);
  t.same(ids(), [first.id, ours.id]);
  await t.rejects(home.refresh(), { code: 'CONFIG_INVALID', message: /in use/ });
  t.same(ids(), [first.id, ours.id]);
});
