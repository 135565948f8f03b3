import { readdirSync } from 'node:fs';
import path from 'node:path';
import type { Client } from 'pg';
import { SallyportError } from '../errors.ts';
import { type SocketConnection, withClient } from './connection.ts';
import { systemIdentifierOf } from './embedded-wal.ts';
import { isWalName, walName, walPlace } from './wal-names.ts';

/** Where the copy goes; paths are relative to the database folder, with `/`. */
export interface BackupTarget {
  /** First, before the server is asked for a backup. Throws where it takes none of this database. */
  begin(systemIdentifier: string): void;
  /** A file that has gone meanwhile is passed over: the WAL knows what became of it. */
  copy(names: readonly string[]): Promise<void>;
  write(name: string, content: string): Promise<void>;
}

export interface BaseBackup {
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly startLsn: string;
  /** From here on the copy is consistent. */
  readonly stopLsn: string;
  /** By the server's clock, after `stopLsn`. */
  readonly finishedAt: Date;
  /** `18.4` */
  readonly postgres: string;
}

/**
 * What a server makes anew, or must not find in a copy (PostgreSQL, "Making a base backup using the low-level API"). The WAL is copied
 * apart; sockets and lock files lie in the folder too.
 */
const emptied = new Set([
  'pg_wal',
  'pg_replslot',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
]);
const left =
  /^(postmaster\.(pid|opts)|backup_label(\.old)?|tablespace_map(\.old)?|recovery\.signal|standby\.signal|pg_internal\.init.*|pgsql_tmp.*|\.s\.PGSQL\..*)$/;
const control = 'global/pg_control';

/** The files that belong in a copy, and the folders: empty ones belong there too. */
export function databaseFiles(databaseDir: string): { files: string[]; folders: string[] } {
  const files: string[] = [];
  const folders: string[] = [];
  for (const entry of readdirSync(databaseDir, { recursive: true, withFileTypes: true })) {
    const name = path
      .relative(databaseDir, path.join(entry.parentPath, entry.name))
      .split(path.sep)
      .join('/');
    const parts = name.split('/');
    if (parts.some((part) => left.test(part))) continue;
    const isInside = parts.length > 1 && emptied.has(parts[0] ?? '');
    if (parts[0] === 'pg_tblspc' && parts.length > 1) {
      throw new SallyportError(
        'CONFIG_INVALID',
        'The database has tablespaces, which a backup does not follow.',
      );
    }
    if (entry.isDirectory()) {
      // pg_wal/archive_status and its like are wanted by the server's start.
      if (!isInside || parts[0] === 'pg_wal') folders.push(name);
    } else if (entry.isFile() && !isInside && name !== control) files.push(name);
  }
  return { files: files.toSorted(), folders: folders.toSorted() };
}

interface Started {
  readonly lsn: string;
  readonly timeline: number;
}

async function start(client: Client): Promise<Started> {
  // The slot ends with this session. Until then no checkpoint takes away the WAL that the copy needs.
  await client.query(
    `select pg_create_physical_replication_slot('sallyport_backup_' || pg_backend_pid(), true, true)`,
  );
  const { rows } = await client.query<Started>(
    `select pg_backup_start('sallyport', true)::text as lsn,
            ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline`,
  );
  return rows[0] as Started;
}

interface Stopped {
  readonly lsn: string;
  readonly label: string;
  readonly map: string;
  readonly at: Date;
  readonly version: string;
}

async function stop(client: Client): Promise<Stopped> {
  const { rows } = await client.query<Stopped>(
    `select stopped.lsn::text, labelfile as label, spcmapfile as map, clock_timestamp() as at,
            current_setting('server_version') as version
     from pg_backup_stop(false) as stopped`,
  );
  return rows[0] as Stopped;
}

/**
 * Copies a database folder while its server runs: what the embedded package lacks pg_basebackup for. Pages that are torn in the copy
 * are whole in the WAL, whose segments from start to stop go along.
 *
 * @param maintenance as the server's superuser.
 */
export async function takeBaseBackup(
  maintenance: SocketConnection,
  databaseDir: string,
  target: BackupTarget,
): Promise<BaseBackup> {
  return withClient(maintenance, async (client) => {
    const systemIdentifier = await systemIdentifierOf(client);
    target.begin(systemIdentifier);
    const { lsn: startLsn, timeline } = await start(client);
    await target.copy(databaseFiles(databaseDir).files);
    // Last: it names the newest checkpoint, and the label the one to begin at.
    await target.copy([control]);
    const stopped = await stop(client);
    await target.write('backup_label', stopped.label);
    if (stopped.map !== '') await target.write('tablespace_map', stopped.map);
    await target.copy(walBetween(databaseDir, startLsn, stopped.lsn, timeline));
    return Object.freeze<BaseBackup>({
      systemIdentifier,
      timeline,
      startLsn,
      stopLsn: stopped.lsn,
      finishedAt: stopped.at,
      postgres: stopped.version.split(' ')[0] ?? stopped.version,
    });
  });
}

/** @throws {SallyportError} INTERNAL where one is missing: the copy would be worth nothing. */
function walBetween(databaseDir: string, from: string, to: string, timeline: number): string[] {
  const present = new Set(readdirSync(path.join(databaseDir, 'pg_wal')).filter(isWalName));
  const [first, last] = [walPlace(from, timeline), walPlace(to, timeline)];
  const wanted: string[] = [];
  // At a boundary nothing of the next segment is needed.
  const end = last.offset === 0 ? last.number - 1 : last.number;
  for (let number = first.number; number <= end; number += 1) wanted.push(walName({ timeline, number }));
  const missing = wanted.find((name) => !present.has(name));
  if (missing !== undefined)
    throw new SallyportError(
      'INTERNAL',
      `The server no longer has WAL segment ${missing} of its own backup.`,
    );
  return wanted.map((name) => `pg_wal/${name}`);
}
