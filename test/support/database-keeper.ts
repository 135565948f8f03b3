import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import path from 'node:path';
import { startEmbedded } from '../../src/db/embedded.ts';
import { isAlive, mayBePostgres, readPidFile } from '../../src/db/embedded-pidfile.ts';

/**
 * The process that keeps the test run's database server: started by the first test file that wants one, shared by all, gone with the
 * run. Each test process holds a connection to the keeper's socket, so that its end, also by a kill, is seen.
 *
 * argv: the socket's path, and the parent folder of the database.
 */
const [, , socketPath = '', parent = ''] = process.argv;

/** Between two files of a run there may be none that uses the database; after the run nobody does. */
const lingerMs = 400;
const longestLingerMs = 20_000;

const prefix = 'sallyport-test-';

/** What keepers that were killed left behind. Their pid is in the folder's name. */
function sweep(): void {
  for (const name of readdirSync(parent)) {
    const keeper = /^sallyport-test-(\d+)-/.exec(name)?.[1];
    if (keeper === undefined || isAlive(Number(keeper))) continue;
    const folder = path.join(parent, name);
    try {
      const server = readPidFile(path.join(folder, 'postgres'))?.pid;
      if (server !== undefined && mayBePostgres(server)) process.kill(server, 'SIGQUIT');
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another user's.
    }
  }
}

const clients = new Set<Socket>();
const runners = new Set<number>();
const greeting = Promise.withResolvers<string>();
let idleSince = Date.now();

const listener = createServer((client) => {
  clients.add(client);
  client.on('data', (data: Buffer) => {
    const runner = Number(data.toString());
    if (runner > 0) runners.add(runner);
  });
  client.on('error', () => {});
  client.on('close', () => {
    clients.delete(client);
    idleSince = Date.now();
  });
  void greeting.promise.then((text) => client.write(text));
});
listener.on('error', () => process.exit(0)); // Another keeper was quicker.
await new Promise<void>((resolve) => {
  listener.listen(socketPath, resolve);
});

sweep();
const dataDir = mkdtempSync(path.join(parent, `${prefix}${process.pid}-`));
// The one setting that tests do without: nothing here outlives the run, and syncing every clone is most of its cost.
const server = await startEmbedded({ dataDir, settings: { fsync: 'off', max_connections: '200' } }).catch(
  (error: Error) => {
    greeting.resolve(JSON.stringify({ error: error.message }));
    listener.close();
    rmSync(dataDir, { recursive: true, force: true });
    // Told first; then the keeper has nothing to keep.
    return new Promise<never>(() => setTimeout(() => process.exit(1), lingerMs));
  },
);
greeting.resolve(JSON.stringify(server.maintenance));
idleSince = Date.now();

setInterval(() => {
  if (clients.size > 0) return;
  for (const runner of runners) if (!isAlive(runner)) runners.delete(runner);
  if (Date.now() - idleSince < (runners.size > 0 ? longestLingerMs : lingerMs)) return;
  listener.close();
  void server.stop().then(() => {
    rmSync(dataDir, { recursive: true, force: true });
    process.exit(0);
  });
}, 100);
