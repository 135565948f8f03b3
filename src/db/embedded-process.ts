import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { serverEnvironment } from './embedded-initdb.ts';
import type { ServerIds } from './embedded-ids.ts';
import { isAlive, readPidFile } from './embedded-pidfile.ts';

/**
 * Small: one gateway is the only client. Worker processes are for big queries, of which there are none. Statements are kept out of
 * the log, because they may carry what people wrote.
 */
const settings = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: '40',
  shared_buffers: '64MB',
  max_wal_size: '256MB',
  // A backup that hangs on its own disk must not fill this one: it loses its WAL, and begins anew.
  max_slot_wal_keep_size: '4GB',
  fsync: 'on',
  jit: 'off',
  io_method: 'sync',
  max_worker_processes: '4',
  max_parallel_workers_per_gather: '0',
  log_checkpoints: 'off',
  log_min_messages: 'warning',
  log_min_error_statement: 'panic',
};

export interface Launch {
  readonly postgres: string;
  readonly databaseDir: string;
  readonly socketDir: string;
  readonly logFile: string;
  readonly ids: ServerIds;
  readonly overrides: Readonly<Record<string, string>>;
}

const longestLog = 1024 * 1024;

export interface Launched {
  readonly process: ChildProcess;
  /** Has it ended, or could it not be started at all? */
  hasEnded(): boolean;
  /** Of what it wrote since it was started why it ended, else the last lines. */
  lastWords(): string;
}

/**
 * Starts the server. `detached`: in a session of its own, or Ctrl-C at the terminal would reach it as it reaches us, and it would be
 * gone before the journal is shipped and the last answers are on record. It writes to a file, not to a pipe of ours, because it may
 * outlive us.
 */
export function launch({ postgres, databaseDir, socketDir, logFile, ids, overrides }: Launch): Launched {
  // The setting is a list: a quoted name may hold commas and spaces.
  const folder = `"${socketDir.replaceAll('"', '""')}"`;
  const chosen = Object.entries({ ...settings, ...overrides, unix_socket_directories: folder });
  const args = ['-D', databaseDir, ...chosen.flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  const isLong = size > longestLog;
  const log = openSync(logFile, isLong ? 'w' : 'a', 0o600);
  try {
    const child = spawn(postgres, args, {
      ...ids,
      cwd: '/',
      // A copy: under the permission model Node adds to the environment of what it starts.
      env: { ...serverEnvironment },
      detached: true,
      stdio: ['ignore', 'ignore', log],
    });
    let failure = '';
    child.on('error', (error) => {
      failure = error.message;
    });
    child.unref();
    return Object.freeze({
      process: child,
      hasEnded: () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined,
      lastWords: () => {
        const words = readFileSync(logFile)
          .subarray(isLong ? 0 : size)
          .toString('utf8')
          .trim();
        const lines = words.split('\n');
        // Behind its reason a server that gives up says that it is shutting down, and that it is shut down.
        const grave = lines.filter((line) => /\b(FATAL|PANIC): /.test(line));
        return failure + (grave.length > 0 ? grave : lines).slice(-3).join(' ').slice(-600);
      },
    });
  } finally {
    closeSync(log);
  }
}

/** Milliseconds for a fast shutdown, which rolls back what is open and writes a checkpoint. */
const stopWithinMs = 15_000;

/** The lock file goes last; a zombie that nobody reaps keeps its pid, hence either sign will do. */
function isRunning(databaseDir: string, pid: number): boolean {
  return isAlive(pid) && readPidFile(databaseDir)?.pid === pid;
}

async function ended(databaseDir: string, pid: number, withinMs: number): Promise<boolean> {
  for (let waited = 0; waited < withinMs; waited += 10) {
    if (!isRunning(databaseDir, pid)) return true;
    await delay(10);
  }
  return false;
}

/** Ends the server of `databaseDir`, if it still is `pid`: SIGINT (fast), then SIGQUIT (immediate; recovers at the next start). */
export async function stopServer(databaseDir: string, pid: number): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    if (!isRunning(databaseDir, pid)) break;
    process.kill(pid, signal);
    if (await ended(databaseDir, pid, stopWithinMs)) break;
  }
  // Between the lock file's end and the process's own lie its last milliseconds.
  for (let left = 50; left > 0 && isAlive(pid); left -= 1) await delay(5);
}
