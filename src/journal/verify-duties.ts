import type { JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { dutyOf } from './obligations.ts';

/**
 * Begins and ends of the records that it is shown, in any order. Pairs cancel out, so it holds what is open and what has no
 * beginning, not what was.
 */
export interface Duties {
  see(record: JournalRecord): void;
  /** Begins and intents without an end. */
  open(): ReadonlyMap<string, JournalRecord>;
  /** Ends without a begin. */
  orphans(): ReadonlyMap<string, JournalRecord>;
}

export function createDuties(report: (fault: Fault) => void): Duties {
  const open = new Map<string, JournalRecord>();
  const orphans = new Map<string, JournalRecord>();

  function cancel(
    key: string,
    record: JournalRecord,
    mine: Map<string, JournalRecord>,
    other: Map<string, JournalRecord>,
  ): void {
    if (other.delete(key)) return;
    if (mine.has(key)) {
      const { event, seq, stream } = record;
      report({ stream, seq, kind: 'duplicate', message: `A second ${event} of ${key}.` });
    } else mine.set(key, record);
  }

  return Object.freeze({
    see(record: JournalRecord) {
      const { closes, opens } = dutyOf(record.event, record);
      if (opens !== null) cancel(opens, record, open, orphans);
      if (closes !== null) cancel(closes, record, orphans, open);
    },
    open: () => open,
    orphans: () => orphans,
  });
}
