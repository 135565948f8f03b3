import type { JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { dutyOf } from './obligations.ts';

/** A begin and its end, or an intent and its outcome. */
export interface Pair {
  readonly opener: JournalRecord;
  readonly closer: JournalRecord;
}

/**
 * Begins and ends of the records that it is shown, in any order. Pairs cancel out, so it holds what is open and what has no
 * beginning, not what was.
 */
export interface Duties {
  /** @returns the pair that this record completes. */
  see(record: JournalRecord): Pair | null;
  /** Begins and intents without an end. */
  open(): ReadonlyMap<string, JournalRecord>;
  /** Ends without a begin. */
  orphans(): ReadonlyMap<string, JournalRecord>;
}

export function createDuties(report: (fault: Fault) => void): Duties {
  const open = new Map<string, JournalRecord>();
  const orphans = new Map<string, JournalRecord>();

  /** @returns what the record cancels out with. */
  function cancel(
    key: string,
    record: JournalRecord,
    mine: Map<string, JournalRecord>,
    other: Map<string, JournalRecord>,
  ): JournalRecord | null {
    const counterpart = other.get(key);
    if (counterpart !== undefined) {
      other.delete(key);
      return counterpart;
    }
    if (mine.has(key)) {
      const { event, seq, stream } = record;
      report({ stream, seq, kind: 'duplicate', message: `A second ${event} of ${key}.` });
    } else mine.set(key, record);
    return null;
  }

  return Object.freeze({
    see(record: JournalRecord) {
      const { closes, opens } = dutyOf(record.event, record);
      const closer = opens === null ? null : cancel(opens, record, open, orphans);
      if (closer !== null) return { opener: record, closer };
      const opener = closes === null ? null : cancel(closes, record, orphans, open);
      return opener === null ? null : { opener, closer: record };
    },
    open: () => open,
    orphans: () => orphans,
  });
}
