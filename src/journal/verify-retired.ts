import type { Store } from '../db/store.ts';
import { idText } from './obligations.ts';
import type { JournalRecord } from './chain.ts';
import { type CoveredStream, noCheckpoint } from './checkpoint-note.ts';
import type { Fault } from './cursor.ts';
import { noteHash, parseNote } from './note.ts';
import { latestOf, readRetired } from './retired-note.ts';
import type { NoteKeys } from './verify-keys.ts';

type Place = Omit<CoveredStream, 'headHash'>;
type Stretch = CoveredStream & { readonly month: string };

/** What months that were dropped by retention took along, as far as signed stubs say so. */
export interface Retired {
  /** The dropped stretch in which the record lies. */
  at(stream: string, seq: number): CoveredStream | null;
  /** How many of these records went. */
  countIn(place: Place): number;
  /** When at the latest the checkpoint before that over the record may have been written: `latestOf` its month. */
  latestAt(place: Place): Date | null;
  /** `YYYY-MM-01`, each month once. */
  readonly months: readonly string[];
  /** A day behind the newest of them, for clocks differ: from here on an act's intent should be there. Null: none was dropped. */
  readonly until: Date | null;
  /** Has what this record ends gone, or may it have? */
  hasBeginOf(end: JournalRecord): boolean;
}

/** Acts take no longer from intent to outcome, but for those that a start after a crash has to find out about. */
const longestActMs = 31 * 86_400_000;

export const nothingRetired: Retired = retiredOf([], []);

/**
 * Stubs that are signed by a key of this deployment and name each other. What a forged one would excuse is told as missing.
 */
export async function readRetiredMonths(
  store: Pick<Store, 'asSystem'>,
  keys: NoteKeys,
  report: (fault: Fault) => void,
): Promise<Retired> {
  const rows = await store.asSystem((tx) =>
    tx.selectFrom('retired_months').selectAll().orderBy('number').execute(),
  );
  const stretches: Stretch[] = [];
  const months: string[] = [];
  /** Null: not known. */
  let previous: string | null = noCheckpoint;
  let number = 0;
  const fault = (kind: Fault['kind'], seq: number, message: string): void =>
    report({ stream: 'retired_months', seq, kind, message });
  for (const row of rows) {
    number += 1;
    const found = Number(row.number);
    if (found !== number) fault('missing', number, `Stubs ${number} to ${found - 1} are not there.`);
    const isNext = found === number;
    number = found;
    const note = parseNote(row.note);
    const stub = note === null ? null : readRetired(note);
    if (note === null || stub === null || stub.name !== keys.name || keys.signerOf(note) < 0) {
      fault('checkpoint', number, 'It is signed by no key of this deployment, or states no month.');
      previous = null;
      continue;
    }
    if (isNext && previous !== null && stub.previous !== previous)
      fault('checkpoint', number, 'The stub before it is not the one that it names.');
    const isSame =
      stub.number === number &&
      stub.month === row.month &&
      stub.records === Number(row.records) &&
      stub.usageRows === Number(row.usage_rows) &&
      stub.at === row.at.toISOString();
    if (!isSame) fault('checkpoint', number, 'Its row says otherwise than its note.');
    previous = noteHash(note);
    months.push(stub.month);
    stretches.push(...stub.streams.map((stretch) => ({ ...stretch, month: stub.month })));
  }
  return retiredOf(stretches, months);
}

function retiredOf(stretches: readonly Stretch[], months: readonly string[]): Retired {
  const byStream = new Map<string, Stretch[]>();
  for (const stretch of stretches)
    byStream.set(stretch.stream, [...(byStream.get(stretch.stream) ?? []), stretch]);
  const last = months.toSorted().at(-1);
  const until = last === undefined ? null : behind(last);
  const at = (stream: string, seq: number): CoveredStream | null =>
    byStream.get(stream)?.find(({ firstSeq, nextSeq }) => firstSeq <= seq && seq < nextSeq) ?? null;
  return Object.freeze<Retired>({
    at,
    countIn: ({ firstSeq, nextSeq, stream }) =>
      (byStream.get(stream) ?? []).reduce(
        (sum, one) => sum + Math.max(0, Math.min(one.nextSeq, nextSeq) - Math.max(one.firstSeq, firstSeq)),
        0,
      ),
    latestAt({ firstSeq, nextSeq, stream }) {
      const over = (byStream.get(stream) ?? [])
        .filter((one) => one.firstSeq < nextSeq && firstSeq < one.nextSeq)
        .map(({ month }) => month);
      const [first] = over.toSorted();
      return first === undefined ? null : latestOf(first);
    },
    months: [...new Set(months)],
    until,
    hasBeginOf(end) {
      const { beginSeq, beginStream } = end;
      if (typeof beginSeq === 'number') return at(idText(beginStream ?? end.stream), beginSeq) !== null;
      return until !== null && Date.parse(end.at) < until.getTime() + longestActMs;
    },
  });
}

function behind(month: string): Date {
  const first = new Date(month);
  return new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 2));
}
