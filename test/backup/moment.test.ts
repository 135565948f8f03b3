import {
  chmodSync,
  chownSync,
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { createApp, type App } from '../../src/app.ts';
import { backupId, databasePack, openArchive, readManifest } from '../../src/backup/archive.ts';
import { takeBackup } from '../../src/backup/backup.ts';
import { createFollower, readFollowed } from '../../src/backup/follow.ts';
import { giveToOwnerOf } from '../../src/backup/data-owner.ts';
import { recordInStream } from '../../src/backup/journal-record.ts';
import { createFolderPack } from '../../src/backup/packed-folder.ts';
import { runSchedule, type ScheduleEvent } from '../../src/backup/schedule.ts';
import { readConfig, type Config } from '../../src/config.ts';
import { withClient } from '../../src/db/connection.ts';
import { maintenanceOf, runningDatabase } from '../../src/db/embedded-running.ts';
import { holdWal } from '../../src/db/embedded-wal.ts';
import { openInstallation, type Installation } from '../../src/installation.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { createSafekeeping } from '../../src/safekeeping.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

t.setTimeout(180_000);

const log = createLog({ level: 'silent', write: () => {} });
const metrics = createMetrics({ version: 'test', node: process.version });

interface Running {
  readonly app: App;
  readonly installation: Installation;
  close(): Promise<void>;
}

const top = mkdtempSync(path.join(tmpdir(), 'sallyport-moment-'));
// Run by root, the embedded database is another user, who has to get through here.
chmodSync(top, 0o711);
t.teardown(() => rmSync(top, { recursive: true, force: true }));
const configOf = (name: string): Config => readConfig({ DATA_DIR: path.join(top, name), PORT: '0' });

async function open(t: Pick<Test, 'teardown'>, config: Config): Promise<Running> {
  const installation = await openInstallation(config, { log, metrics });
  const app = await createApp(config, { installation, log, metrics, version: 'test' });
  let closed: Promise<void> | null = null;
  const close = (): Promise<void> =>
    (closed ??= (async () => {
      await app.close(0);
      await installation.close();
    })());
  t.teardown(close);
  return { app, installation, close };
}

async function addUser({ app }: Running, name: string): Promise<void> {
  const { status } = await app.operator.inject('POST', '/api/users', Buffer.from(JSON.stringify({ name })));
  if (status !== 201) throw new Error(`a user was refused: ${status}`);
}

async function userNames({ app }: Running): Promise<string[]> {
  const { body } = await app.operator.inject('GET', '/api/users', null);
  return JSON.parse(body.toString('utf8'))
    .data.map(({ name }: { name: string }) => name)
    .filter((name: string) => name.startsWith('user'))
    .toSorted();
}

/** A schedule that goes on when it is told to. */
function stepwise() {
  let reached = Promise.withResolvers<void>();
  let go = Promise.withResolvers<void>();
  return {
    async pause(): Promise<void> {
      reached.resolve();
      await go.promise;
    },
    first: () => reached.promise,
    async round(): Promise<void> {
      reached = Promise.withResolvers();
      const before = go;
      go = Promise.withResolvers();
      before.resolve();
      await reached.promise;
    },
    end: () => go.resolve(),
  };
}

const source = configOf('source');
const archiveDir = path.join(top, 'backups');

async function restoreTo(name: string, at: Date | null) {
  const config = configOf(name);
  const safekeeping = createSafekeeping(config, {
    log,
    metrics,
    version: 'test',
    withConnection: async () => Promise.reject(new Error('not asked for')),
  });
  const restored = await safekeeping.restore({ from: archiveDir, at, identities: null });
  cpSync(path.join(source.dataDir, 'keyring.json'), path.join(config.dataDir, 'keyring.json'));
  return { config, restored };
}

/** All is shipped; what `verify` finds, and the acts that recovery had to end. */
async function examined({ installation }: Running) {
  const { store, journal, shipper } = installation;
  await shipper.flush();
  const { problems } = await verifyJournal({ dir: journal.dir, store });
  const rows = await store.asSystem((tx) => tx.selectFrom('journal').select(['event']).execute());
  const count = (event: string) => rows.filter((row) => row.event === event).length;
  return { problems, undone: count('user.create.failed'), restores: count('backup.restore') };
}

t.test('a moment between two acts comes back, with a journal that fits it and says so', async (t) => {
  let gateway = await open(t, source);
  await gateway.app.initialise();
  await addUser(gateway, 'user 1');

  const archive = await openArchive(archiveDir);
  t.teardown(() => archive.close());
  await t.rejects(openArchive(archiveDir), { code: 'CONFLICT', message: /Another backup writes/ });
  const ending = new AbortController();
  const steps = stepwise();
  const events: ScheduleEvent[] = [];
  let offsetMs = 0;
  let refusal: Error | null = null;
  const deployment = { id: 'dep_1', rootKeyIds: [] };
  const running = () => {
    const connection = runningDatabase(source.dataDir);
    return connection === null ? null : maintenanceOf(connection);
  };
  const schedule = runSchedule({
    archive,
    dataDir: source.dataDir,
    everyMs: 3_600_000,
    keep: 7,
    running,
    isUpToDate: async () => true,
    async take(maintenance) {
      if (refusal !== null) throw refusal;
      return takeBackup({
        archive,
        maintenance,
        dataDir: source.dataDir,
        deployment,
        keyring: null,
        record: async () => {},
        clock: () => Date.now() + offsetMs,
        version: 'test',
      });
    },
    clock: () => Date.now() + offsetMs,
    pause: () => steps.pause(),
    signal: ending.signal,
    onEvent: (event) => events.push(event),
  });
  t.teardown(async () => {
    ending.abort();
    steps.end();
    await schedule;
  });
  await steps.first();
  t.match(events, [{ kind: 'backup', pruned: [] }]);
  const slots = await withClient(running() as never, (client) =>
    client.query('select safe_wal_size > 0 as bounded from pg_replication_slots'),
  );
  t.same(slots.rows, [{ bounded: true }], 'a copier that hangs does not fill the database’s disk');
  await addUser(gateway, 'user 2');
  await steps.round();
  const [backup] = archive.list();
  const after = path.join(backup?.folder ?? '', 'after');
  const older = path.join(top, 'older');
  cpSync(after, older, { recursive: true });
  const between = new Date();
  while (Date.now() < between.getTime() + 2);
  await addUser(gateway, 'user 3');
  await steps.round();
  t.equal(events.length, 1, 'no second backup before its time');

  await t.test(
    'a folder with backups of another database is refused before anything is copied',
    async (t) => {
      const foreign = await openArchive(path.join(top, 'foreign'));
      t.teardown(() => foreign.close());
      const manifest = { finishedAt: '2026-01-01T00:00:00.000Z', files: [], systemIdentifier: '1' } as never;
      await foreign.publish(foreign.nextId(new Date()), async () => manifest);
      await t.rejects(
        takeBackup({
          archive: foreign,
          maintenance: running() as never,
          dataDir: source.dataDir,
          deployment,
          keyring: null,
          record: async () => void t.fail('nothing to record'),
          clock: () => Date.now(),
          version: 'test',
          // The first file would be met by it.
          signal: AbortSignal.abort(),
        }),
        { code: 'CONFLICT', message: /holds backups of another database/ },
      );
      t.equal(foreign.list().length, 1);
    },
  );

  await t.test('at the moment between', async (t) => {
    const { config, restored } = await restoreTo('between', between);
    t.match(restored, {
      restoredTo: between.toISOString(),
      cut: { stream: gateway.installation.journal.stream },
    });
    const back = await open(t, config);
    t.same(await userNames(back), ['user 1', 'user 2']);
    t.same(await examined(back), { problems: [], undone: 1, restores: 1 });
    const wal = await holdWal(
      maintenanceOf(runningDatabase(config.dataDir) as never),
      path.join(config.dataDir, 'postgres'),
    );
    t.teardown(() => wal.close());
    t.equal(
      await createFollower({ backup: backup as never, wal, journalDir: back.installation.journal.dir }),
      null,
      'another history is not appended to the backup of the old one',
    );
    await wal.close();
    await back.close();
  });

  await t.test('a copier that was killed between WAL and journal leaves a state that is whole', async (t) => {
    const newer = path.join(top, 'newer');
    cpSync(after, newer, { recursive: true });
    for (const name of ['journal', 'state.json']) {
      rmSync(path.join(after, name), { recursive: true });
      cpSync(path.join(older, name), path.join(after, name), { recursive: true });
    }
    const { config, restored } = await restoreTo('newest', null);
    t.equal(restored.cut, null);
    const back = await open(t, config);
    t.same(await userNames(back), ['user 1', 'user 2']);
    t.same(await examined(back), { problems: [], undone: 0, restores: 1 });
    await back.close();
    rmSync(after, { recursive: true });
    cpSync(newer, after, { recursive: true });
  });

  await t.test('across a restart of the gateway, and a second backup', async (t) => {
    await gateway.close();
    await steps.round();
    t.match(events.at(-1), { kind: 'waiting' });
    gateway = await open(t, source);
    await addUser(gateway, 'user 4');
    // The session that held the WAL is gone: told once, and taken up again.
    await steps.round();
    await steps.round();
    offsetMs = 3_600_000;
    refusal = new Error('no room for a whole one');
    const before = new Date();
    await steps.round();
    t.match(events.at(-1), { kind: 'failed', error: refusal });
    const followed = readFollowed(archive.list().at(-1) as never);
    t.ok(
      new Date(followed?.at ?? 0) >= before,
      'the last one is followed on, as long as there is no newer one',
    );
    refusal = null;
    await steps.round();
    t.match(events.at(-1), { kind: 'backup' });
    await addUser(gateway, 'user 5');
    await steps.round();
    ending.abort();
    steps.end();
    await schedule;
    await gateway.close();
    const { config, restored } = await restoreTo('last', null);
    t.equal(restored.backup, archive.list().at(-1)?.id);
    t.equal(restored.cut, null);
    const back = await open(t, config);
    t.same(await userNames(back), ['user 1', 'user 2', 'user 3', 'user 4', 'user 5']);
    t.same((await examined(back)).problems, []);
    await back.close();
  });
});

t.test('what breaks off is no backup, and older ones go when they are too many', async (t) => {
  const dir = path.join(top, 'others');
  // What a killed one leaves.
  mkdirSync(path.join(dir, '.draft-backup-20260101T000000.000Z-aB3_xy', 'journal'), { recursive: true });
  mkdirSync(path.join(dir, '.old-backup-20260101T000000.000Z'));
  // What is somebody else's.
  for (const name of ['.draft-letters', '.old-photos']) mkdirSync(path.join(dir, name));
  const archive = await openArchive(dir);
  t.same(
    readdirSync(dir).filter((name) => name.startsWith('.')),
    ['.draft-letters', '.old-photos'],
  );
  t.teardown(() => archive.close());
  const manifest = { finishedAt: '2026-01-01T00:00:00.000Z', files: [] } as never;
  const ids = [1, 2, 3].map((day) => backupId(new Date(Date.UTC(2026, 0, day))));
  await t.rejects(
    archive.publish(ids[0] ?? '', async () => {
      throw new Error('the disk is full');
    }),
    { message: 'the disk is full' },
  );
  t.same(archive.list(), []);
  for (const id of ids) await archive.publish(id, async () => manifest);
  t.same(await archive.prune(2), ids.slice(0, 1));
  t.same(
    archive.list().map(({ id }) => id),
    ids.slice(1),
  );
  t.same(
    readdirSync(dir).filter((name) => !name.startsWith('backup')),
    ['.draft-letters', '.old-photos'],
  );
  const next = archive.nextId(new Date(Date.UTC(2025, 0, 1)));
  t.equal(next, backupId(new Date(Date.UTC(2026, 0, 3, 0, 0, 0, 1))), 'a clock set back makes no older one');
  const file = path.join(dir, ids[1] ?? '', 'manifest.json');
  const good = JSON.parse(readFileSync(file, 'utf8'));
  t.match(good, { format: 1, id: ids[1] });
  for (const text of [
    '',
    '{',
    JSON.stringify({ ...good, format: 2 }),
    JSON.stringify({ ...good, files: [{ path: 'database/../../evil' }] }),
    JSON.stringify({ ...good, files: [{ path: '/etc/evil' }] }),
    JSON.stringify({ ...good, files: null }),
  ]) {
    writeFileSync(file, text);
    t.throws(() => readManifest(path.dirname(file)), { code: 'CONFLICT', message: /cannot be used/ });
    t.same(
      archive.list().map(({ id }) => id),
      ids.slice(2),
      'it stands in nobody’s way',
    );
  }
  t.same(await archive.prune(1), []);
  const safekeeping = createSafekeeping(configOf('elsewhere'), {
    log,
    metrics,
    version: 'test',
    withConnection: async () => Promise.reject(new Error('not asked for')),
  });
  const from = (name: string, at: Date | null = null) =>
    safekeeping.restore({ from: path.join(dir, name), at, identities: null });
  const whole = { message: /database\.tar\.zst does not unpack/ };
  await t.rejects(from(ids[2] ?? ''), whole, 'one that is named is looked at alone');
  await t.rejects(from('.'), whole, 'the newest is tried, whatever an older one is like');
  rmSync(path.join(dir, ids[2] ?? ''), { recursive: true });
  await t.rejects(from('.'), { message: new RegExp(`${ids[1]} cannot be used`), fix: /name another/ });
});

t.test('a backup that somebody made up fills no disk and fetches no file from elsewhere', async (t) => {
  const dir = path.join(top, 'hostile', backupId(new Date(0)));
  mkdirSync(path.join(dir, 'after', 'journal'), { recursive: true });
  mkdirSync(path.join(dir, 'after', 'wal'));
  const elsewhere = path.join(top, 'secret-of-root');
  writeFileSync(elsewhere, 'not to be given away\n');
  const segment = '00000001.node.boot.000000000000.jsonl';
  symlinkSync(elsewhere, path.join(dir, 'after', 'journal', segment));
  const write = async (files: object[]): Promise<void> => {
    rmSync(path.join(dir, databasePack), { force: true });
    const pack = createFolderPack(path.join(dir, databasePack));
    await pack.addFolder('pg_wal');
    for (const name of files.length === 0 ? [] : ['PG_VERSION']) await pack.addText('18\n'.repeat(9), name);
    await pack.close();
    const manifest = { format: 1, finishedAt: new Date(0).toISOString(), files };
    writeFileSync(path.join(dir, 'manifest.json'), JSON.stringify(manifest));
  };
  const safekeeping = createSafekeeping(configOf('lured'), {
    log,
    metrics,
    version: 'test',
    withConnection: async () => Promise.reject(new Error('not asked for')),
  });
  const restored = () => safekeeping.restore({ from: dir, at: null, identities: null });
  await write([{ path: 'database/PG_VERSION', bytes: 3, sha256: '' }]);
  await t.rejects(restored(), { message: /holds a file that the manifest does not name/ });
  await write([]);
  await t.rejects(restored(), { message: /after\/journal\/.* is no file/ });
  writeFileSync(path.join(dir, 'after', 'state.json'), '{"lsn":"0/1000000","at":"1970-01-01T00:00:00Z"}');
  const bomb = path.join(dir, 'after', 'wal', `${'0'.repeat(23)}1.zst`);
  writeFileSync(bomb, zstdCompressSync(Buffer.alloc(17 * 1024 * 1024)));
  await t.rejects(restored(), { message: /does not unpack \(it is longer than it may be/ });
  t.same(readdirSync(configOf('lured').dataDir), []);
});

t.test('root gives away nothing that has another name elsewhere', async (t) => {
  const owned = path.join(top, 'linked');
  mkdirSync(path.join(owned, 'journal'), { recursive: true });
  const elsewhere = path.join(top, 'shadow');
  writeFileSync(elsewhere, 'of root');
  linkSync(elsewhere, path.join(owned, 'journal', 'a.jsonl'));
  symlinkSync(elsewhere, path.join(owned, 'journal', 'b.jsonl'));
  const { uid } = statSync(elsewhere);
  if (uid === 0) chownSync(owned, 1, 1);
  giveToOwnerOf(owned, path.join(owned, 'journal'));
  t.equal(statSync(elsewhere).uid, uid);
  t.equal(statSync(path.join(owned, 'journal')).uid, statSync(owned).uid);
});

t.test('a record made by root in another user’s folder is that user’s to read', async (t) => {
  const owned = path.join(top, 'owned');
  const dir = path.join(owned, 'journal');
  mkdirSync(dir, { recursive: true });
  // Nobody but root can give a folder away; for others the two are the same from the start.
  if (process.getuid?.() === 0) for (const folder of [owned, dir]) chownSync(folder, 1, 1);
  const options = { dir, sync: 'strict', maxBytes: 1024 ** 3, clock: Date.now } as const;
  await recordInStream(options, 'backup.make', { backup: 'backup-1', recipients: [] });
  t.same(
    readdirSync(dir).filter((name) => statSync(path.join(dir, name)).uid !== statSync(owned).uid),
    [],
  );
  const lines = readdirSync(dir).filter((name) => name.endsWith('.jsonl'));
  t.match(readFileSync(path.join(dir, lines[0] ?? ''), 'utf8'), /"event":"backup\.make"/);
  t.match(await verifyJournal({ dir, store: null }), { ok: true, records: 3 });
});
