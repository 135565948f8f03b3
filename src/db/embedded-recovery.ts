import { chownSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import { type Embedded, startEmbedded } from './embedded.ts';
import { serverIds } from './embedded-ids.ts';

/** Replaying a day of a busy gateway takes minutes. */
const recoverWithinMs = 6 * 60 * 60 * 1000;

/** The WAL lies in pg_wal already; a command has to be named all the same, and "not found" is its answer. */
const settings = {
  restore_command: 'exit 1',
  recovery_target_timeline: 'current',
  recovery_target_action: 'promote',
  // Nobody reads before it is done, and without it the server is "ready" only then.
  hot_standby: 'off',
};

/** Not a failure: the server says so when nothing later than what is wanted is in the WAL. All that is there is wanted then. */
const nothingLater = /recovery ended before configured recovery target was reached/;

/** Where replaying ends: before the first commit after a time, or before what was written at a place of the WAL and later. */
export type RecoveryEnd = { readonly time: Date } | { readonly lsn: string };

function targetOf(end: RecoveryEnd): Readonly<Record<string, string>> {
  // It is read before the server knows names of time zones: an offset in digits alone.
  if ('time' in end) return { recovery_target_time: end.time.toISOString().replace('Z', '+00') };
  return { recovery_target_lsn: end.lsn, recovery_target_inclusive: 'off' };
}

/**
 * Starts the server of an unpacked base backup, replays its WAL up to `end` (null: all of it) and begins a timeline of its own.
 * `dataDir` holds the folder `postgres`; the caller stops what it gets.
 */
export async function startRecovered(dataDir: string, end: RecoveryEnd | null): Promise<Embedded> {
  const databaseDir = path.join(dataDir, 'postgres');
  const signal = path.join(databaseDir, 'recovery.signal');
  const ids = serverIds(dataDir, databaseDir);
  writeFileSync(signal, '', { mode: 0o600 });
  if (ids !== null) chownSync(signal, ids.uid, ids.gid);
  const start = (target: Readonly<Record<string, string>>): Promise<Embedded> =>
    startEmbedded({ dataDir, settings: { ...settings, ...target }, startWithinMs: recoverWithinMs });
  if (end === null) return start({});
  try {
    return await start(targetOf(end));
  } catch (error) {
    // The error has its last lines alone, and what matters stands before them.
    const log = readFileSync(path.join(dataDir, 'postgres.log'), 'utf8');
    if (!(error instanceof SallyportError) || !nothingLater.test(log)) throw error;
    return start({});
  }
}
