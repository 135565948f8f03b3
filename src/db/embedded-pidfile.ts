import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { socketPort } from './connection.ts';

/** `postmaster.pid`, the server's lock file (PostgreSQL: miscadmin.h, "LOCK_FILE_LINE_*"). */
export interface PidFile {
  readonly pid: number;
  readonly socketDir: string;
  /** Line 8: `starting`, `stopping`, `ready`, `standby`; empty in the first moment. */
  readonly status: string;
}

const nameOf = (databaseDir: string): string => path.join(databaseDir, 'postmaster.pid');

/** Null when there is none. It is written line by line while the server starts: later lines may still be missing. */
export function readPidFile(databaseDir: string): PidFile | null {
  let text: string;
  try {
    text = readFileSync(nameOf(databaseDir), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const lines = text.split('\n');
  const pid = Number(lines[0]);
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  return { pid, socketDir: lines[4] ?? '', status: (lines[7] ?? '').trim() };
}

/** EPERM: it lives, under another uid. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Is this pid a PostgreSQL server, as far as the system tells? Where it tells nothing (no /proc), it may be one. */
export function mayBePostgres(pid: number): boolean {
  try {
    // Empty for a zombie, which nobody reaps in a container without an init.
    return path
      .basename(readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')[0] ?? '')
      .startsWith('postgres');
  } catch {
    return process.platform !== 'linux' && isAlive(pid);
  }
}

/**
 * After a container's restart the dead server's pid often belongs to somebody else (even to one of our own threads), and PostgreSQL
 * then refuses to start for good. Our own pid in its place is passed over, because a server ignores its parent's pid (miscinit.c,
 * CreateLockFile), while its second check, for backends still holding the shared memory, remains. The socket has such a file too.
 */
export function disownPidFile(databaseDir: string, socketDir: string): void {
  for (const name of [nameOf(databaseDir), path.join(socketDir, `.s.PGSQL.${socketPort}.lock`)]) {
    if (!existsSync(name)) continue;
    const lines = readFileSync(name, 'utf8').split('\n');
    writeFileSync(name, [String(process.pid), ...lines.slice(1)].join('\n'));
  }
}
