import { chownSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { installProduct } from '../support/product.ts';

const daemon = 1;

/** What below a folder is not its owner's. */
function strangers(dataDir: string): string[] {
  const { uid } = statSync(dataDir);
  const names = readdirSync(dataDir, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => statSync(path.join(dataDir, name)).uid !== uid);
}

t.test(
  'what root does on a service user’s data directory leaves nothing that this user cannot read',
  { skip: process.getuid?.() === 0 ? false : 'only root can work for another user' },
  async (t) => {
    const product = await installProduct(t, {
      settings: { CHECKPOINT_OUTLETS: 'file', SHUTDOWN_DELAY_SECONDS: '0' },
    });
    mkdirSync(product.dataDir, { mode: 0o700 });
    chownSync(product.dataDir, daemon, daemon);
    await product.run(['init']);
    t.same(strangers(product.dataDir), [], 'init');
    await product.run(['keyring', 'stage']);
    t.same(strangers(product.dataDir), [], 'a command that opens the installation itself');
    const backups = path.join(path.dirname(product.dataDir), 'backups');
    const restored = path.join(path.dirname(product.dataDir), 'restored');
    await product.run(['backup', '--to', backups]);
    mkdirSync(restored, { mode: 0o700 });
    chownSync(restored, daemon, daemon);
    await product.run(['restore', '--from', backups], '', { DATA_DIR: restored });
    t.same(strangers(restored), [], 'restore into a folder of that user’s');
    const serving = await product.serve();
    serving.signal('SIGTERM');
    await serving.ended;
    t.same(strangers(product.dataDir), [], 'serve');
  },
);
