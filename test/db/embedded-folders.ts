import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { withClient } from '../../src/db/connection.ts';
import { type Embedded, startEmbedded } from '../../src/db/embedded.ts';
import { mayBePostgres, readPidFile } from '../../src/db/embedded-pidfile.ts';
import { stopServer } from '../../src/db/embedded-process.ts';

const gateway = fileURLToPath(new URL('./embedded-gateway.ts', import.meta.url));
export const isRoot = process.getuid?.() === 0;
/** One initdb for the tests that are about something else; they get a copy of its folder. */
const seed = mkdtempSync(path.join(tmpdir(), 'sallyport-seed-'));
chmodSync(seed, 0o711);
t.teardown(() => rmSync(seed, { recursive: true, force: true }));
t.before(async () => (await startEmbedded({ dataDir: seed })).stop());

/** A folder that goes with the test; passable, because as root the server runs under another uid. */
export function folder(t: Test, ...below: string[]): string {
  const made = mkdtempSync(path.join(tmpdir(), 'sallyport-db-'));
  chmodSync(made, 0o711);
  t.teardown(async () => {
    // A killed gateway's server, where the test left one.
    const databaseDir = path.join(made, ...below, 'postgres');
    const left = readPidFile(databaseDir);
    if (left !== null && mayBePostgres(left.pid)) await stopServer(databaseDir, left.pid);
    rmSync(made, { recursive: true, force: true });
  });
  return path.join(made, ...below);
}

/** A data directory with a stopped, empty database in it. */
export function seeded(t: Test, ...below: string[]): string {
  const dataDir = folder(t, ...below);
  mkdirSync(dataDir, { recursive: true });
  // Every folder on the way, whatever the umask.
  for (let at = dataDir; at !== tmpdir(); at = path.dirname(at)) chmodSync(at, 0o711);
  t.equal(spawnSync('cp', ['-Rp', path.join(seed, 'postgres'), dataDir]).status, 0);
  return dataDir;
}

export interface Gateway {
  readonly process: ChildProcess;
  line(): Promise<Record<string, unknown>>;
  kill(): Promise<void>;
}

export function spawnGateway(t: Test, dataDir: string, ids: { uid?: number; gid?: number } = {}): Gateway {
  const child = spawn(process.execPath, [gateway, dataDir], {
    ...ids,
    cwd: '/',
    env: {},
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const gone = once(child, 'exit');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
  };
  t.teardown(kill);
  return {
    process: child,
    kill,
    line: async () => JSON.parse((await lines.next()).value ?? '{}') as Record<string, unknown>,
  };
}

export async function start(t: Test, dataDir: string): Promise<Embedded> {
  const server = await startEmbedded({ dataDir });
  t.teardown(() => server.stop());
  return server;
}

export async function note(server: Embedded, text: string): Promise<string[]> {
  return withClient(server.connection, async (client) => {
    await client.query('create table if not exists notes (text text)');
    await client.query('insert into notes values ($1)', [text]);
    return (await client.query<{ text: string }>('select text from notes')).rows.map((row) => row.text);
  });
}
