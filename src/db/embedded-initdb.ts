import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import type { ServerIds } from './embedded-ids.ts';
import { isAlive } from './embedded-pidfile.ts';

/** The server's superuser: makes the gateway's own role and database, and answers which process it is talking to. */
export const superuser = 'postgres';

/** What initdb and the server get of our environment: nothing. PGDATA or LC_ALL of a shell would otherwise decide for them. */
export const serverEnvironment = Object.freeze({ TZ: 'UTC', LC_ALL: 'C' });

const unfinished = (databaseDir: string): string => `${path.basename(databaseDir)}.new-`;

/** What starts that were killed half-way left behind; the name holds the pid of the maker. */
function sweep(databaseDir: string): void {
  const parent = path.dirname(databaseDir);
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(unfinished(databaseDir))) continue;
    const pid = Number.parseInt(name.slice(unfinished(databaseDir).length), 10);
    if (!isAlive(pid)) rmSync(path.join(parent, name), { recursive: true, force: true });
  }
}

/**
 * Makes the database folder if there is none. It is made beside its place and renamed into it when whole: a kill leaves no half
 * database, and of two starts at once one wins and the other uses the winner's.
 *
 * Locale: PostgreSQL's own C.UTF-8, which doesn't change with the system's libraries. Access is by the folder's mode (0700), hence trust.
 */
export function ensureDatabaseFolder(initdb: string, databaseDir: string, ids: ServerIds): void {
  if (existsSync(path.join(databaseDir, 'PG_VERSION'))) return;
  mkdirSync(path.dirname(databaseDir), { recursive: true, mode: 0o711 });
  sweep(databaseDir);
  const made = mkdtempSync(path.join(path.dirname(databaseDir), `${unfinished(databaseDir)}${process.pid}-`));
  try {
    if (ids !== null) chownSync(made, ids.uid, ids.gid);
    const args = ['-D', made, '-U', superuser, '-A', 'trust', '-E', 'UTF8', '--data-checksums'];
    args.push('--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C');
    const { status, error, stderr } = spawnSync(initdb, args, {
      ...ids,
      cwd: '/',
      env: { ...serverEnvironment },
      encoding: 'utf8',
      timeout: 120_000,
    });
    const nameless = /could not look up effective user ID (\d+)/.exec(stderr ?? '')?.[1];
    if (nameless !== undefined) {
      throw new SallyportError(
        'CONFIG_INVALID',
        `User id ${nameless}, as whom the database is made, has no name on this machine, and PostgreSQL asks for one.`,
        { fix: `As root: echo 'sallyport:x:${nameless}:${nameless}::/:/bin/false' >> /etc/passwd` },
      );
    }
    if (status !== 0) {
      const reason = error?.message ?? stderr.trim().split('\n').at(-1);
      throw new SallyportError(
        'CONFIG_INVALID',
        `The database could not be made in ${databaseDir}: ${reason}`,
        { cause: error },
      );
    }
    try {
      renameSync(made, databaseDir);
    } catch (cause) {
      if (!existsSync(path.join(databaseDir, 'PG_VERSION'))) {
        throw new SallyportError(
          'CONFIG_INVALID',
          `${databaseDir} is in the way of the database: it is not empty and not one.`,
          { cause },
        );
      }
    }
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}
