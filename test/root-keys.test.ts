import { utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { readConfig } from '../src/config.ts';
import { createKeyringIds } from '../src/root-keys.ts';
import { inState, keyringText, newLocalKey } from '../src/vault/keyring-text.ts';

t.test('the ids of a ring are read anew when its file was written anew, and only then', async (t) => {
  const dataDir = t.testdir();
  const file = path.join(dataDir, 'keyring.json');
  const [first, second] = [newLocalKey('active'), newLocalKey('active')];
  const text = keyringText([first]);
  await writeFile(file, text, { mode: 0o600 });
  await utimes(file, 1, 1);
  const ids = createKeyringIds(readConfig({ DATA_DIR: dataDir }));
  t.same(await ids(), [first.id]);

  // Of the same stamp: whoever read it again would find that it is no ring.
  await writeFile(file, 'x'.repeat(text.length));
  await utimes(file, 1, 1);
  t.same(await ids(), [first.id], 'its text is not in memory once more');

  await writeFile(file, keyringText([inState(first, 'retired'), second]));
  t.same(await ids(), [second.id], 'what opens nothing any more is left out');
  await utimes(file, 2, 2);
  await writeFile(file, 'no ring');
  await t.rejects(ids(), { code: 'CONFIG_INVALID' });
});

t.test('the ids of a ring in the environment', async (t) => {
  const key = newLocalKey('active');
  const config = readConfig({ DATA_DIR: t.testdir(), SALLYPORT_KEYRING: keyringText([key]) });
  const ids = createKeyringIds(config);
  t.same(await ids(), [key.id]);
  t.same(await ids(), [key.id]);
});
