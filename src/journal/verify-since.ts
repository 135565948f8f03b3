import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { readCheckpoint } from './checkpoint-note.ts';
import { noteHash, parseNote } from './note.ts';
import type { Position } from './ship-batch.ts';
import type { NoteKeys } from './verify-keys.ts';

/** A signed checkpoint, and how far each stream was by then: what `--since` goes on from. */
export interface StartPoint {
  readonly number: number;
  /** Of its note. */
  readonly hash: string;
  /** Of the streams that have gone on; the hash is the one that a signed note names. */
  readonly heads: ReadonlyMap<string, Position>;
}

/**
 * The last checkpoint before which all are from before that moment: a clock that was set back makes it an earlier one.
 *
 * @returns null: there is none, or what it rests on is not signed; then all is to be gone through.
 */
export async function findStart(
  store: Pick<Store, 'asSystem'>,
  keys: NoteKeys,
  since: Date,
): Promise<StartPoint | null> {
  const { heads, note, notes } = await store.asSystem(async (tx) => {
    const { rows } = await sql<{ number: bigint; note: string }>`
      select number, note from checkpoints where number < coalesce(
        (select min(number) from checkpoints where at > ${since}), 9223372036854775807)
      order by number desc limit 1`.execute(tx);
    const [start] = rows;
    if (start === undefined) return { note: null, heads: [], notes: new Map<bigint, string>() };
    const covered = await sql<{ stream: string; next_seq: bigint; number: bigint }>`
      select c.stream, c.next_seq, c.number from journal_streams s join lateral (
        select stream, next_seq, number from checkpoint_streams
        where stream = s.stream and number <= ${start.number} order by first_seq desc limit 1) c on true`.execute(
      tx,
    );
    const numbers = [...new Set(covered.rows.map(({ number }) => number))];
    const found = await sql<{ number: bigint; note: string }>`
      select number, note from checkpoints where number = any(${numbers}::bigint[])`.execute(tx);
    return {
      note: start.note,
      heads: covered.rows,
      notes: new Map(found.rows.map(({ note, number }) => [number, note])),
    };
  });
  const start = note === null ? null : signed(note, keys);
  if (start === null) return null;
  const positions = new Map<string, Position>();
  for (const { next_seq, number, stream } of heads) {
    const by = signed(notes.get(number) ?? '', keys);
    const head = by?.checkpoint.streams.find((one) => one.stream === stream);
    if (head === undefined || head.nextSeq !== Number(next_seq)) return null;
    positions.set(stream, { nextSeq: head.nextSeq, headHash: head.headHash });
  }
  return { number: start.checkpoint.number, hash: start.hash, heads: positions };
}

function signed(text: string, keys: NoteKeys) {
  const note = parseNote(text);
  const checkpoint = note === null ? null : readCheckpoint(note);
  if (note === null || checkpoint === null || keys.signerOf(note) < 0) return null;
  return { checkpoint, hash: noteHash(note) };
}
