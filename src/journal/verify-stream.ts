import { canonicalize } from './canonical.ts';
import { genesisHash, hashOfLine, parseRecord, type JournalRecord } from './chain.ts';
import type { Fault, FaultKind } from './cursor.ts';

/** Checks the lines of one stream in their order, and goes on behind damage so that one fault is told once. */
export interface StreamChecker {
  /** @returns the record where the line is one of this stream, though it may be faulty; else null. */
  check(line: Buffer): JournalRecord | null;
  /** The lines between are known to be elsewhere: go on at this record, after this hash (null: not known). */
  resume(seq: number, previous: string | null): void;
  nextSeq(): number;
}

export function createStreamChecker(stream: string, report: (fault: Fault) => void): StreamChecker {
  let seq = 0;
  /** The hash before the next record; a second one where a record's own hash member may be what was changed. */
  let previous: readonly string[] = [genesisHash];

  function fault(kind: FaultKind, at: number, message: string): void {
    report({ stream, seq: at, kind, message });
  }

  return Object.freeze({
    check(line: Buffer): JournalRecord | null {
      const record = parseRecord(line);
      if (record === null || record.stream !== stream) {
        fault('hash', seq, 'The line is no record of this stream.');
        seq += 1;
        previous = [];
        return null;
      }
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
      const computed = previous.map((hash) => hashOfLine(line, record.hash, hash));
      const isWrong = previous.length > 0 && !computed.includes(record.hash);
      if (isWrong)
        fault('hash', record.seq, 'The record or its hash was changed: it does not fit the chain.');
      else if (!line.equals(Buffer.from(canonicalize(record)))) {
        fault('hash', record.seq, 'The record is not in canonical form.');
      }
      seq = record.seq + 1;
      previous = isWrong ? [record.hash, ...computed.filter((hash) => hash !== null)] : [record.hash];
      return record;
    },
    resume(next: number, hash: string | null) {
      seq = next;
      previous = hash === null ? [] : [hash];
    },
    nextSeq: () => seq,
  });
}
