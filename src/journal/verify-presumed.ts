import type { JournalRecord } from './chain.ts';
import type { Fault } from './cursor.ts';
import { dutyOf, idText } from './obligations.ts';
import type { JournalTable } from './verify-table.ts';

/** A `use.presumed`, as far as it is checked: one a call that a lost machine left open. */
export interface Presumed {
  readonly stream: string;
  readonly seq: number;
  readonly callId: string;
  readonly begin: { readonly stream: string; readonly seq: number };
}

export function presumedOf(record: JournalRecord): Presumed | null {
  if (record.event !== 'use.presumed') return null;
  const { seq, stream } = record;
  const begin = { stream: idText(record['beginStream']), seq: Number(record['beginSeq']) };
  return { stream, seq, callId: idText(record['callId']), begin };
}

/** Calls of one look at the table. */
const pageCalls = 500;

/**
 * Nobody presumes the end of what he began himself, or of what did not begin. That the end comes later is no fault: it supersedes.
 * A begin that has gone with its month is none either.
 */
export async function checkPresumed(
  presumed: readonly Presumed[],
  table: Pick<JournalTable, 'ofCalls' | 'streams'>,
  report: (fault: Fault) => void,
): Promise<void> {
  for (let i = 0; i < presumed.length; i += pageCalls) {
    const page = presumed.slice(i, i + pageCalls);
    const begins = new Map<string, Set<string>>();
    for (const record of await table.ofCalls([...new Set(page.map(({ callId }) => callId))])) {
      if (dutyOf(record.event, record).opens === null) continue;
      const callId = idText(record['callId']);
      begins.set(callId, (begins.get(callId) ?? new Set()).add(`${record.stream} ${record.seq}`));
    }
    for (const { begin, callId, seq, stream } of page) {
      if (nodeOf(begin.stream) === nodeOf(stream))
        report({
          stream,
          seq,
          kind: 'mismatch',
          message: `${callId} was begun by the node that presumes it ended.`,
        });
      else if (
        begins.get(callId)?.has(`${begin.stream} ${begin.seq}`) === false ||
        begin.seq >= (table.streams().get(begin.stream)?.nextSeq ?? 0)
      )
        report({ stream, seq, kind: 'missing', message: `use.presumed of ${callId} has no begin.` });
    }
  }
}

function nodeOf(stream: string): string {
  return stream.slice(0, stream.indexOf(':'));
}
