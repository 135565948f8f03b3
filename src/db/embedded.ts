import { chmodSync, mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from 'pg';
import { SallyportError } from '../errors.ts';
import { isDatabaseGone, type SocketConnection, withClient } from './connection.ts';
import { findBinaries } from './embedded-binaries.ts';
import { checkPassable, serverIds, type ServerIds } from './embedded-ids.ts';
import { ensureDatabaseFolder, superuser } from './embedded-initdb.ts';
import { keepServer, type Keeper, type ServerWatch } from './embedded-keeper.ts';
import { disownPidFile, isAlive, mayBePostgres, readPidFile } from './embedded-pidfile.ts';
import { launch, type Launched, stopServer } from './embedded-process.ts';
import { type SocketFolder, socketFolder } from './embedded-socket.ts';
import { type GatewayLock, holdGatewayLock } from './gateway-lock.ts';

export interface Embedded {
  /** The gateway's own role and database: no superuser, so that row security and grants bind here as they do elsewhere. */
  readonly connection: SocketConnection;
  /** As the server's superuser, for tests and repairs. */
  readonly maintenance: SocketConnection;
  /** The server outlived a killed gateway and was taken over. */
  readonly adopted: boolean;
  /** The server's, of this moment. */
  readonly pid: number;
  /** From now on a server that ends is started again; once. */
  keep(watch: ServerWatch): void;
  /** Fast shutdown; resolves when the process is gone. Call it last: the journal ships through it. */
  stop(): Promise<void>;
}

export interface EmbeddedOptions {
  /** Absolute. The database is in `postgres` below it, its log in `postgres.log`. */
  readonly dataDir: string;
  /** Server settings over the built-in ones. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Milliseconds until the server has to be ready, recovery included; default 60 000. */
  readonly startWithinMs?: number;
}

const owner = 'sallyport';

/** Recovery after a crash is bounded by max_wal_size: seconds. */
const crashRecoveryMs = 60_000;

/** A killed gateway's session ends when the server notices: at once where it idled, else after its statement. */
const lockWithinMs = 1_500;

interface Found {
  readonly pid: number;
  readonly socketDir: string;
  readonly isOurs: boolean;
}

interface Place {
  readonly databaseDir: string;
  readonly socket: SocketFolder;
  readonly start: () => Launched;
  readonly logFile: string;
  readonly startWithinMs: number;
  readonly signal?: AbortSignal;
}

/** No setting of ours is at fault, as a rule: a full disk, too little memory. Whoever looks after the process tries again. */
function notUp(what: string, { databaseDir, logFile }: Place, words: string): SallyportError {
  return new SallyportError('GATEWAY_UNREACHABLE', `PostgreSQL ${what} in ${databaseDir}: ${words}`, {
    fix: `Its log is ${logFile}. Is the disk full, or memory short? Mend that, and start it again.`,
  });
}

/** A server that gives up because another is there, or has not quite ended: worth another look. */
const isTaken = /lock file|shared memory block/;

/**
 * Finds the server of a database folder, launching one where none is alive. A launch beside a living server is harmless: the lock
 * file makes the second one give up, and we look again. The finder remembers what it launched from one look to the next.
 */
function createFinder(place: Place): () => Promise<Found> {
  const { databaseDir, socket, start, startWithinMs, signal } = place;
  let launched: Launched | null = null;

  function look(): Found | null {
    const file = readPidFile(databaseDir);
    if (launched !== null && !launched.hasEnded()) {
      if (file?.pid !== launched.process.pid || file?.status !== 'ready') return null;
      return { pid: file.pid, socketDir: socket.path, isOurs: true };
    }
    if (file !== null && isAlive(file.pid) && mayBePostgres(file.pid)) {
      // Ready: to be adopted. Starting, recovering or stopping: it will come to one of the two ends.
      return file.status === 'ready' ? { pid: file.pid, socketDir: file.socketDir, isOurs: false } : null;
    }
    if (launched !== null && !isTaken.test(launched.lastWords())) {
      throw notUp('did not start', place, launched.lastWords());
    }
    if (file !== null && isAlive(file.pid)) disownPidFile(databaseDir, socket.path);
    launched = start();
    return null;
  }

  return async () => {
    for (let waited = 0; waited < startWithinMs; waited += 5) {
      const found = look();
      if (found !== null) return found;
      await delay(5, undefined, { signal });
    }
    throw notUp('did not come up', place, launched?.lastWords() ?? 'it is still starting');
  };
}

/** The gateway's role and database; under a lock, because a second start that will be refused comes by here too. */
async function ensureOwner(client: Client): Promise<void> {
  await client.query("select pg_advisory_lock(hashtext('sallyport owner'))");
  const { rows } = await client.query<{ hasRole: boolean; hasDatabase: boolean }>(
    `select exists (select from pg_roles where rolname = $1) as "hasRole",
            exists (select from pg_database where datname = $1) as "hasDatabase"`,
    [owner],
  );
  // CREATEROLE for the two roles of the migrations.
  if (rows[0]?.hasRole !== true) await client.query(`create role ${owner} login createrole`);
  if (rows[0]?.hasDatabase !== true) await client.query(`create database ${owner} owner ${owner}`);
}

/** Is the server behind this socket the process that we mean? Another one's socket may lie in the folder. */
async function checkServer(maintenance: SocketConnection, pid: number, databaseDir: string): Promise<void> {
  const other = await withClient(maintenance, async (client) => {
    const { rows } = await client.query<{ pid: string }>(
      "select split_part(pg_read_file('postmaster.pid'), E'\\n', 1) as pid",
    );
    if (Number(rows[0]?.pid) !== pid) return rows[0]?.pid ?? 'unknown';
    await ensureOwner(client);
    return null;
  });
  if (other === null) return;
  throw new SallyportError(
    'CONFIG_INVALID',
    `The socket of ${databaseDir} is answered by process ${other}, not by its server ${pid}.`,
  );
}

async function takeLock(connection: SocketConnection, dataDir: string): Promise<GatewayLock> {
  for (let waited = 0; ; waited += 50) {
    const lock = await holdGatewayLock(connection);
    if (lock !== null) return lock;
    if (waited >= lockWithinMs) {
      throw new SallyportError('CONFIG_INVALID', `A gateway already runs on ${dataDir}.`, {
        fix: 'Stop it first, or give this one a DATA_DIR of its own.',
      });
    }
    await delay(50);
  }
}

/** Makes DATA_DIR where it isn't; one of root's is let through by the server's uid, which may pass but not look. */
function prepareDataDir(dataDir: string, databaseDir: string): ServerIds {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const ids = serverIds(dataDir, databaseDir);
    const found = statSync(dataDir);
    if (ids !== null && ids.uid !== found.uid) chmodSync(dataDir, (found.mode & 0o777) | 0o011);
    return ids;
  } catch (cause) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `DATA_DIR ${dataDir} cannot be made or written: ${(cause as Error).message}`,
      { cause },
    );
  }
}

const connections = (host: string): { maintenance: SocketConnection; connection: SocketConnection } => ({
  maintenance: Object.freeze({ host, user: superuser, database: 'postgres' }),
  connection: Object.freeze({ host, user: owner, database: owner }),
});

/** A ready server can still be recovering from the crash of one of its processes, or end before we have connected: then look again. */
async function reach(find: () => Promise<Found>, databaseDir: string): Promise<Found> {
  for (let waited = 0; ; waited += 50) {
    const found = await find();
    try {
      await checkServer(connections(found.socketDir).maintenance, found.pid, databaseDir);
      return found;
    } catch (error) {
      if (!isDatabaseGone(error) || waited >= crashRecoveryMs) {
        if (found.isOurs) await stopServer(databaseDir, found.pid);
        throw error;
      }
    }
    await delay(50);
  }
}

/**
 * Starts the PostgreSQL of this data directory, or takes over the one that a killed gateway left running, and holds the lock that
 * means "the gateway of this data directory" until `stop`.
 *
 * @throws {SallyportError} CONFIG_INVALID: a gateway already runs here, a folder can't be passed or written, no server for this platform;
 * GATEWAY_UNREACHABLE: the server does not come up.
 */
export async function startEmbedded({
  dataDir,
  settings = {},
  startWithinMs = crashRecoveryMs,
}: EmbeddedOptions): Promise<Embedded> {
  const { initdb, postgres } = findBinaries();
  const databaseDir = path.join(dataDir, 'postgres');
  const ids = prepareDataDir(dataDir, databaseDir);
  checkPassable(ids, [databaseDir, postgres]);
  ensureDatabaseFolder(initdb, databaseDir, ids);
  const socket = socketFolder(dataDir, databaseDir, ids);
  const logFile = path.join(dataDir, 'postgres.log');
  const start = (): Launched =>
    launch({ postgres, databaseDir, socketDir: socket.path, logFile, ids, overrides: settings });
  const place = { databaseDir, socket, start, logFile, startWithinMs };
  const first = await reach(createFinder(place), databaseDir);
  const { maintenance, connection } = connections(first.socketDir);
  let { pid } = first;
  // A lock that another holds leaves the server alone, even one that we have launched: that other gateway has adopted it.
  let lock = await takeLock(connection, dataDir);
  let keeper: Keeper | null = null;

  async function revive(signal: AbortSignal): Promise<number> {
    const found = await reach(createFinder({ ...place, signal }), databaseDir);
    pid = found.pid;
    lock = await takeLock(connection, dataDir);
    return pid;
  }

  let stopped: Promise<void> | null = null;
  async function stop(): Promise<void> {
    await keeper?.stop();
    await lock.release();
    await stopServer(databaseDir, keeper === null ? pid : (readPidFile(databaseDir)?.pid ?? pid));
    socket.remove();
  }
  return Object.freeze<Embedded>({
    connection,
    maintenance,
    adopted: !first.isOurs,
    get pid() {
      return pid;
    },
    keep(watch) {
      keeper ??= keepServer({ watch, ended: async () => lock.ended, revive });
    },
    stop: () => (stopped ??= stop()),
  });
}
