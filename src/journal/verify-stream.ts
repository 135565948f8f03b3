import { isCanonical } from './canonical.ts';
import { createTextHash, genesisHash, parseRecordText, type JournalRecord } from './chain.ts';
import type { Fault, FaultKind } from './cursor.ts';

/** Checks the lines of one stream in their order, and goes on behind damage so that one fault is told once. */
export interface StreamChecker {
  /**
   * @param isWhole false: the bytes of the line are not those of the text, for they were no UTF-8.
   * @returns the record where the line is one of this stream, though it may be faulty; else null.
   */
  check(text: string, isWhole?: boolean): JournalRecord | null;
  /** The lines between are known to be elsewhere: go on at this record, after this hash (null: not known). */
  resume(seq: number, previous: string | null): void;
  nextSeq(): number;
  /** Hash of the last record; null where nothing sound came before. */
  head(): string | null;
}

export function createStreamChecker(stream: string, report: (fault: Fault) => void): StreamChecker {
  const hashOfText = createTextHash();
  let seq = 0;
  /** The hash before the next record; a second one where a record's own hash member may be what was changed. */
  let previous: readonly string[] = [genesisHash];
  /** Whose records stand here: told once for all that follow. */
  let stranger = '';

  function fault(kind: FaultKind, at: number, message: string): void {
    report({ stream, seq: at, kind, message });
  }

  return Object.freeze({
    check(text: string, isWhole = true): JournalRecord | null {
      const record = parseRecordText(text);
      if (record === null || record.stream !== stream) {
        const other = record?.stream ?? '';
        if (record === null) fault('hash', seq, 'The line is no record of this stream.');
        else if (other !== stranger) fault('hash', seq, `Records of ${other.slice(0, 200)} stand here.`);
        stranger = other;
        seq += 1;
        previous = [];
        return null;
      }
      stranger = '';
      if (record.seq < seq) {
        fault('duplicate', record.seq, 'The record stands a second time, or out of its order.');
        return null;
      }
      if (record.seq > seq) {
        const last = record.seq - 1;
        fault(
          'gap',
          seq,
          last === seq ? `Record ${seq} is not there.` : `Records ${seq} to ${last} are not there.`,
        );
        previous = [];
      }
      const computed = previous.map((hash) => hashOfText(text, record.hash, hash));
      const isWrong = !isWhole || (previous.length > 0 && !computed.includes(record.hash));
      if (isWrong)
        fault('hash', record.seq, 'The record or its hash was changed: it does not fit the chain.');
      else if (!isCanonical(text, record)) fault('hash', record.seq, 'The record is not in canonical form.');
      seq = record.seq + 1;
      previous = isWrong ? [record.hash, ...computed.filter((hash) => hash !== null)] : [record.hash];
      return record;
    },
    resume(next: number, hash: string | null) {
      seq = next;
      previous = hash === null ? [] : [hash];
    },
    nextSeq: () => seq,
    head: () => previous[0] ?? null,
  });
}
