import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { startEmbedded } from '../../src/db/embedded.ts';
import { folder, isRoot, note, seeded, spawnGateway, start } from './embedded-folders.ts';

/** A uid that has a name on every Linux and macOS, and owns nothing that matters here. */
const daemon = 1;

t.test(
  'a path too long for a socket, and one full of odd characters, work; nothing stays outside after the stop',
  async (t) => {
    const odd = seeded(t, `a, "b" 'c' $d ü`);
    t.same(await note(await start(t, odd), 'odd'), ['odd']);

    const dataDir = seeded(t, 'x'.repeat(60), 'y'.repeat(60));
    const killed = spawnGateway(t, dataDir);
    const { pid } = await killed.line();
    const { socketDir } = JSON.parse(readFileSync(path.join(dataDir, 'run.json'), 'utf8')) as {
      socketDir: string;
    };
    t.equal(statSync(socketDir).mode & 0o777, 0o700);
    await killed.kill();
    const server = await startEmbedded({ dataDir });
    t.match(server, { adopted: true, pid, connection: { host: socketDir } });
    t.same(await note(server, 'long'), ['long']);
    await server.stop();
    t.notOk(existsSync(socketDir));
    t.notOk(existsSync(path.join(dataDir, 'run.json')));
  },
);

t.test('a noted socket folder that others could have prepared is not used', async (t) => {
  const dataDir = seeded(t, 'x'.repeat(60), 'y'.repeat(60));
  const planted = folder(t);
  writeFileSync(path.join(dataDir, 'run.json'), JSON.stringify({ socketDir: planted }));
  const server = await start(t, dataDir);
  t.notSame(server.maintenance.host, planted);
  t.ok(existsSync(planted));
});

t.test('Ctrl-C at the terminal reaches the gateway and not its server', async (t) => {
  const running = spawnGateway(t, seeded(t));
  await running.line();
  process.kill(-(running.process.pid as number), 'SIGINT');
  t.same(await running.line(), { survived: true });
});

t.test('a database folder that is something else is refused and left alone', async (t) => {
  const dataDir = folder(t);
  mkdirSync(path.join(dataDir, 'postgres'), { recursive: true });
  writeFileSync(path.join(dataDir, 'postgres', 'letter'), 'dear');
  await t.rejects(startEmbedded({ dataDir }), { code: 'CONFIG_INVALID', message: /in the way/ });
  t.same(readdirSync(dataDir), ['postgres']);
});

t.test('a server that cannot start says so at once, in its own words', async (t) => {
  const dataDir = seeded(t);
  const refused = startEmbedded({ dataDir, settings: { shared_buffers: 'plenty' } });
  await t.rejects(refused, {
    code: 'GATEWAY_UNREACHABLE',
    message: /invalid value for parameter "shared_buffers"/,
  });
});

t.test('a server whose disk is not well is not called a wrong setting, and its reason is told', async (t) => {
  const dataDir = seeded(t);
  const first = await start(t, dataDir);
  await note(first, 'before');
  await first.stop();
  const wal = path.join(dataDir, 'postgres', 'pg_wal');
  renameSync(wal, `${wal}.away`);
  // No supervisor starts a program again that ends with CONFIG_INVALID's 78.
  await t.rejects(startEmbedded({ dataDir }), {
    code: 'GATEWAY_UNREACHABLE',
    message: /(FATAL|PANIC): .*pg_wal/,
  });
  renameSync(`${wal}.away`, wal);
  t.same(await note(await start(t, dataDir), 'after'), ['before', 'after']);
});

t.test('as root', { skip: isRoot ? false : 'only as root' }, async (t) => {
  await t.test(
    'a parent folder that the server’s uid cannot pass is named, with a command that works',
    async (t) => {
      const dataDir = folder(t, "it's private", 'data');
      mkdirSync(dataDir, { recursive: true });
      const parent = path.dirname(dataDir);
      chmodSync(parent, 0o700);
      const error = (await startEmbedded({ dataDir }).catch((error: unknown) => error)) as Error & {
        code: string;
        fix: string;
      };
      t.equal(error.code, 'CONFIG_INVALID');
      t.ok(error.message.includes(parent));
      t.equal(spawnSync('sh', ['-c', error.fix]).status, 0);
      t.same(await note(await start(t, dataDir), 'passed'), ['passed']);
    },
  );

  await t.test(
    'the server runs as the owner of DATA_DIR where that is not root, and keeps that uid',
    async (t) => {
      const dataDir = folder(t, 'data');
      mkdirSync(dataDir);
      chownSync(dataDir, daemon, daemon);
      await (await startEmbedded({ dataDir })).stop();
      t.equal(statSync(path.join(dataDir, 'postgres')).uid, daemon);
      chownSync(dataDir, 0, 0);
      const server = await start(t, dataDir);
      t.equal(statSync(`/proc/${server.pid}`, { throwIfNoEntry: false })?.uid ?? daemon, daemon);
    },
  );

  await t.test('a gateway that is no root runs its server as itself', async (t) => {
    const dataDir = folder(t, 'data');
    mkdirSync(dataDir);
    chownSync(dataDir, daemon, daemon);
    const running = spawnGateway(t, dataDir, { uid: daemon, gid: daemon });
    t.match(await running.line(), { adopted: false });
    t.equal(statSync(path.join(dataDir, 'postgres')).uid, daemon);
  });
});
