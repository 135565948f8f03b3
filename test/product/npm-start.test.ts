import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { freePort } from '../../bench/free-port.ts';

const checkout = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-npm-'));
// Run by root, the embedded database is another user, who has to get through here.
chmodSync(folder, 0o711);
const dataDir = path.join(folder, 'data');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** `npm start`, serving; in a process group of its own, as a terminal or a service manager gives it. */
async function npmStart(t: Test, settings: Readonly<Record<string, string>> = {}) {
  const port = await freePort();
  const { PATH = '', HOME = '' } = process.env;
  const own = {
    DATA_DIR: dataDir,
    HOST: '127.0.0.1',
    PORT: String(port),
    IMPORT_ENV_KEYS: 'off',
  };
  const npm = spawn('npm', ['start'], {
    cwd: checkout,
    env: { PATH, HOME, ...own, ...settings },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const group = -(npm.pid as number);
  let said = '';
  const serving = Promise.withResolvers<void>();
  const hear = (chunk: Buffer): void => {
    said += String(chunk);
    if (said.includes('"event":"serving"')) serving.resolve();
  };
  npm.stdout.on('data', hear);
  npm.stderr.on('data', hear);
  // When nobody holds the pipes any more, orphans included.
  const closed = once(npm, 'close').then(() => serving.reject(new Error(said)));
  const ended = once(npm, 'exit');
  t.teardown(async () => {
    try {
      process.kill(group, 'SIGTERM');
    } catch {
      // Nobody is left in it.
    }
    await closed;
  });
  await serving.promise;
  // At rest: signals that come while it begins would be taken as one.
  await (await fetch(`http://127.0.0.1:${port}/readyz`)).text();
  return { npm, group, ended, said: () => said };
}

t.test('npm start ends with its gateway and its database, when npm alone is told', async (t) => {
  const { npm, ended, said } = await npmStart(t);
  npm.kill('SIGTERM');
  await ended;
  t.notOk(existsSync(path.join(dataDir, 'run', 'admin.sock')), 'the gateway is gone');
  t.notOk(existsSync(path.join(dataDir, 'postgres', 'postmaster.pid')), 'its database is gone');
  t.match(said(), /"signal":"SIGTERM","event":"stopping"/);
});

t.test('a signal that comes to the whole group, and again from npm, is one', async (t) => {
  const { group, ended } = await npmStart(t, { SHUTDOWN_DELAY_SECONDS: '2' });
  const startedAt = performance.now();
  process.kill(group, 'SIGTERM');
  await ended;
  t.ok(performance.now() - startedAt >= 1900, 'the load balancer has its time: it is no quick stop');
});
