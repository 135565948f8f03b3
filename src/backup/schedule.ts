import type { SocketConnection } from '../db/connection.ts';
import { type HeldWal, holdWal } from '../db/embedded-wal.ts';
import type { Archive, Backup } from './archive.ts';
import { createFollower, type Follower } from './follow.ts';

export interface ScheduleDeps {
  readonly archive: Archive;
  readonly dataDir: string;
  readonly everyMs: number;
  /** Backups that are kept. */
  readonly keep: number;
  /** The running server, as its superuser; null while none runs: then nothing changes either. */
  readonly running: () => SocketConnection | null;
  /** False: what follows this one is of no use to whom it is for, and a new one is due. */
  readonly isUpToDate: (newest: Backup) => Promise<boolean>;
  readonly take: (maintenance: SocketConnection) => Promise<Backup>;
  readonly clock: () => number;
  /** Resolves after so many milliseconds, or at once when the schedule is to end. */
  readonly pause: (ms: number) => Promise<void>;
  readonly signal: AbortSignal;
  readonly onEvent: (event: ScheduleEvent) => void;
}

export type ScheduleEvent =
  | { readonly kind: 'backup'; readonly id: string; readonly pruned: readonly string[] }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'failed'; readonly error: unknown };

/** What can be lost of what was committed. */
const followMs = 10_000;

/**
 * A backup every `everyMs`, and between them the WAL every 10 s, until `signal`. A backup is also due where the WAL does not go on
 * from the last one, and where that one is not up to date. A failure is told and tried again: a full disk may be emptied.
 */
export async function runSchedule(deps: ScheduleDeps): Promise<void> {
  const { archive, clock, dataDir, everyMs, keep, onEvent, pause, running, signal } = deps;
  let wal: HeldWal | null = null;
  let follower: Follower | null = null;
  let newest: Backup | undefined;
  let last: string | null = null;
  const tell = (event: ScheduleEvent): void => {
    const said = event.kind === 'failed' ? String(event.error) : event.kind;
    // Once, not every ten seconds.
    if (said !== last || event.kind === 'backup') onEvent(event);
    last = said;
  };

  /** Where it cannot be told, the next backup says why. */
  const isUpToDate = (backup: Backup): Promise<boolean> => deps.isUpToDate(backup).catch(() => false);

  async function round(maintenance: SocketConnection): Promise<void> {
    const paths = { database: `${dataDir}/postgres`, journal: `${dataDir}/journal` };
    wal ??= await holdWal(maintenance, paths.database);
    newest ??= archive.list().at(-1);
    // A clock that was set back makes one due, too.
    const age = newest === undefined ? Infinity : Math.abs(clock() - Date.parse(newest.manifest.finishedAt));
    if (newest !== undefined)
      follower ??= await createFollower({ backup: newest, wal, journalDir: paths.journal });
    // Before what came since is copied: in between there would be records under a root key that no backup has.
    if (newest === undefined || follower === null || age >= everyMs || !(await isUpToDate(newest))) {
      // Until the newer one is there the older one is followed: no moment lies between the two, and none is lost where it is refused.
      const made = deps.take(maintenance);
      await made.catch(() => {});
      await follower?.follow();
      newest = await made;
      follower = await createFollower({ backup: newest, wal, journalDir: paths.journal });
      tell({ kind: 'backup', id: newest.id, pruned: await archive.prune(keep) });
    }
    await follower?.follow();
  }

  try {
    while (!signal.aborted) {
      const maintenance = running();
      if (maintenance === null) tell({ kind: 'waiting' });
      else
        await round(maintenance).catch(async (error: unknown) => {
          follower = null;
          newest = undefined;
          await wal?.close();
          wal = null;
          if (!signal.aborted) tell({ kind: 'failed', error });
        });
      await pause(followMs);
    }
  } finally {
    await (wal as HeldWal | null)?.close();
  }
}
