import { existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

/**
 * Who holds a stream's lock is the only one that may write, mend, settle or delete its files.
 *
 * Node has no flock. A lock file with pid and start time lies as soon as two containers share a volume (each has a pid 1) and
 * has a race while a stale one is taken over. SQLite, which Node carries, takes a lock of the kernel (fcntl) on its database
 * file: an empty database beside the stream, kept in an exclusive transaction. The kernel lets go when the process ends,
 * however it ends, and SQLite's own table refuses a second connection of the same process. Limit: all processes on one
 * machine (or a file system with working fcntl locks); the folder is not for sharing between machines anyway.
 */
export interface StreamLocks {
  /** Takes the lock, or joins it where this process has it already; null: another process has it. */
  take(base: string): StreamLock | null;
  /** Takes the lock if nobody has it, this process included. */
  takeAlone(base: string): StreamLock | null;
}

export interface StreamLock {
  release(): void;
}

const sqliteBusy = 5;

export function createStreamLocks(): StreamLocks {
  const held = new Map<string, { database: DatabaseSync; holders: number }>();
  const take = (base: string): StreamLock | null => {
    let lock = held.get(base);
    if (lock === undefined) {
      const database = lockFile(`${base}.lock`);
      if (database === null) return null;
      lock = { database, holders: 0 };
      held.set(base, lock);
    }
    const taken = lock;
    taken.holders += 1;
    let isReleased = false;
    return Object.freeze({
      release() {
        if (isReleased) return;
        isReleased = true;
        taken.holders -= 1;
        if (taken.holders > 0) return;
        held.delete(base);
        taken.database.close();
      },
    });
  };
  return Object.freeze({ take, takeAlone: (base: string) => (held.has(base) ? null : take(base)) });
}

function lockFile(path: string): DatabaseSync | null {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    // In memory: a journal file of SQLite's own would only litter the folder.
    database.exec('pragma journal_mode = memory');
    database.exec('begin exclusive');
    return database;
  } catch (error) {
    database.close();
    if (isBusy(error)) return null;
    throw error;
  }
}

/** Whether some process holds the lock at this moment, without taking it: `verify` must not stand in a starting gateway's way. */
export function isLocked(base: string): boolean {
  const path = `${base}.lock`;
  if (!existsSync(path)) return false;
  const database = new DatabaseSync(path, { readOnly: true, timeout: 0 });
  try {
    database.prepare('select count(*) from sqlite_schema').get();
    return false;
  } catch (error) {
    if (isBusy(error)) return true;
    throw error;
  } finally {
    database.close();
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy;
}
