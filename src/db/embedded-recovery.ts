import { chownSync, writeFileSync } from 'node:fs';
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

/** Not a failure: the server says so when no commit later than the wanted time is in the WAL. All that is there is wanted then. */
const noLaterCommit = /recovery ended before configured recovery target was reached/;

/**
 * Starts the server of an unpacked base backup, replays its WAL up to `until` (all of it: null) and begins a timeline of its own.
 * `dataDir` holds the folder `postgres`; the caller stops what it gets.
 */
export async function startRecovered(dataDir: string, until: Date | null): Promise<Embedded> {
  const databaseDir = path.join(dataDir, 'postgres');
  const signal = path.join(databaseDir, 'recovery.signal');
  const ids = serverIds(dataDir, databaseDir);
  writeFileSync(signal, '', { mode: 0o600 });
  if (ids !== null) chownSync(signal, ids.uid, ids.gid);
  const start = (target: Readonly<Record<string, string>>): Promise<Embedded> =>
    startEmbedded({ dataDir, settings: { ...settings, ...target }, startWithinMs: recoverWithinMs });
  if (until === null) return start({});
  try {
    // It is read before the server knows names of time zones: an offset in digits alone.
    return await start({ recovery_target_time: until.toISOString().replace('Z', '+00') });
  } catch (error) {
    if (!(error instanceof SallyportError) || !noLaterCommit.test(error.message)) throw error;
    return start({});
  }
}
