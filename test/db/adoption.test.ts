import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { withClient } from '../../src/db/connection.ts';
import { type Embedded, startEmbedded } from '../../src/db/embedded.ts';
import { isAlive, mayBePostgres, readPidFile } from '../../src/db/embedded-pidfile.ts';
import { folder, isRoot, note, seeded, spawnGateway, start } from './embedded-folders.ts';

t.test('the server of a killed gateway is adopted, with what it holds, and stopped in the end', async (t) => {
  const dataDir = seeded(t);
  const first = await startEmbedded({ dataDir });
  await note(first, 'before');
  await first.stop();
  const killed = spawnGateway(t, dataDir);
  const up = await killed.line();
  t.equal(up['adopted'], false);
  await killed.kill();
  const before = performance.now();
  const server = await start(t, dataDir);
  t.ok(performance.now() - before < 5_000, 'within seconds');
  t.match(server, { adopted: true, pid: up['pid'] });
  t.same(await note(server, 'after'), ['before', 'after']);
  await server.stop();
  t.notOk(mayBePostgres(server.pid));
  t.notOk(existsSync(path.join(dataDir, 'postgres', 'postmaster.pid')));
});

t.test('a second gateway is refused, and the first goes on', async (t) => {
  const dataDir = seeded(t);
  const server = await start(t, dataDir);
  await t.rejects(startEmbedded({ dataDir }), { code: 'CONFIG_INVALID', message: /A gateway already runs/ });
  t.same(await note(server, 'still here'), ['still here']);
});

t.test('of two first starts at once one serves and the other is refused', async (t) => {
  const dataDir = folder(t);
  const results = await Promise.allSettled([startEmbedded({ dataDir }), startEmbedded({ dataDir })]);
  const [won] = results.filter((result) => result.status === 'fulfilled');
  const [lost] = results.filter((result) => result.status === 'rejected');
  t.match(lost?.reason, { code: 'CONFIG_INVALID', message: /A gateway already runs/ });
  t.same(await note((won as PromiseFulfilledResult<Embedded>).value, 'mine'), ['mine']);
  await won?.value.stop();
  t.same(readdirSync(dataDir).toSorted(), ['postgres', 'postgres.log'], 'nothing half-made is left');
});

t.test('a server whose gateway died while it was still starting comes up for the next one', async (t) => {
  const dataDir = seeded(t);
  const killed = spawnGateway(t, dataDir);
  while (readPidFile(path.join(dataDir, 'postgres')) === null) await new Promise(setImmediate);
  await killed.kill();
  const server = await start(t, dataDir);
  t.same(await note(server, 'up'), ['up']);
});

t.test(
  'a server that is recovering from the crash of one of its processes is waited for and adopted',
  async (t) => {
    const dataDir = seeded(t);
    const killed = spawnGateway(t, dataDir);
    const { pid } = await killed.line();
    const found = readPidFile(path.join(dataDir, 'postgres'));
    const backend = await withClient(
      { host: found?.socketDir ?? '', user: 'postgres', database: 'postgres' },
      async (client) => {
        // The server answers a moment before its checkpointer has reported itself.
        for (;;) {
          const { rows } = await client.query<{ pid: number }>(
            "select pid from pg_stat_activity where backend_type = 'checkpointer'",
          );
          if (rows[0] !== undefined) return rows[0].pid;
        }
      },
    );
    await killed.kill();
    process.kill(backend, 'SIGKILL');
    const server = await start(t, dataDir);
    t.match(server, { adopted: true, pid });
    t.same(await note(server, 'recovered'), ['recovered']);
  },
);

t.test('after the kill of gateway and server a new server starts over the stale lock file', async (t) => {
  const dataDir = seeded(t);
  const killed = spawnGateway(t, dataDir);
  const { pid } = await killed.line();
  await killed.kill();
  process.kill(pid as number, 'SIGKILL');
  const server = await start(t, dataDir);
  t.equal(server.adopted, false);
  t.not(server.pid, pid);
  t.same(await note(server, 'anew'), ['anew']);
});

t.test('a lock file whose pid now belongs to another program does not stop the start', async (t) => {
  const dataDir = seeded(t);
  const server = await startEmbedded({ dataDir });
  await server.stop();
  const databaseDir = path.join(dataDir, 'postgres');
  const { uid, gid } = statSync(databaseDir);
  // Under the server's own uid: for another one's pid PostgreSQL itself knows that it is none of its own.
  const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
    stdio: 'ignore',
    ...(isRoot ? { uid, gid } : {}),
  });
  t.teardown(() => stranger.kill('SIGKILL'));
  await once(stranger, 'spawn');
  const lock = `${stranger.pid}\n${databaseDir}\n1700000000\n5432\n${databaseDir}\n\n  0 0\nready   \n`;
  for (const name of ['postmaster.pid', '.s.PGSQL.5432.lock']) {
    writeFileSync(path.join(databaseDir, name), lock, { mode: 0o600 });
    chownSync(path.join(databaseDir, name), uid, gid);
  }
  const next = await start(t, dataDir);
  t.equal(next.adopted, false);
  t.ok(isAlive(stranger.pid as number), 'and the other program is left alone');
});

t.test('a socket that another server answers is not taken for ours', async (t) => {
  const dataDir = seeded(t);
  const other = await start(t, seeded(t));
  const killed = spawnGateway(t, dataDir);
  await killed.line();
  const socket = (dir: string): string => path.join(dir, 'postgres', '.s.PGSQL.5432');
  await killed.kill();
  renameSync(socket(dataDir), `${socket(dataDir)}.away`);
  symlinkSync(path.join(other.maintenance.host, '.s.PGSQL.5432'), socket(dataDir));
  await t.rejects(startEmbedded({ dataDir }), {
    code: 'CONFIG_INVALID',
    message: new RegExp(`answered by process ${other.pid}`),
  });
  t.same(await note(other, 'untouched'), ['untouched']);
});
