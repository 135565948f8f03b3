import { existsSync } from 'node:fs';
import path from 'node:path';
import type { SocketConnection } from './connection.ts';
import { superuser } from './embedded-initdb.ts';
import { isAlive, mayBePostgres, readPidFile } from './embedded-pidfile.ts';

/** Whether a database was ever made in this data directory. */
export function hasDatabase(dataDir: string): boolean {
  return existsSync(path.join(dataDir, 'postgres', 'PG_VERSION'));
}

/**
 * The embedded server of a data directory if one runs there now, to look and not to own: it takes no lock and stops nothing.
 * For commands beside a running gateway (doctor, journal verify).
 */
export function runningDatabase(dataDir: string): SocketConnection | null {
  const file = readPidFile(path.join(dataDir, 'postgres'));
  if (file === null || file.status !== 'ready' || !isAlive(file.pid) || !mayBePostgres(file.pid)) return null;
  return Object.freeze({ host: file.socketDir, user: 'sallyport', database: 'sallyport' });
}

/** The same server as its superuser, who alone may copy it. */
export function maintenanceOf({ host }: SocketConnection): SocketConnection {
  return Object.freeze({ host, user: superuser, database: 'postgres' });
}
