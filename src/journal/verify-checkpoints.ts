import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { type Checkpoint, noCheckpoint, readCheckpoint } from './checkpoint-note.ts';
import type { Fault } from './cursor.ts';
import { noteHash, parseNote } from './note.ts';
import type { NoteKeys } from './verify-keys.ts';
import type { Pace } from './verify-pace.ts';
import type { Retired } from './verify-retired.ts';
import type { StartPoint } from './verify-since.ts';
import { checkTrees } from './verify-trees.ts';

const pageRows = 200;
/** Trees are checked together up to so many leaves: small checkpoints would cost a query for each of their streams. */
const batchLeaves = 20_000;

interface Row {
  readonly number: bigint;
  readonly at: Date;
  readonly note: string;
}

/**
 * Goes through the checkpoints of the database: numbers without a gap, each naming the one before, signed by a key of this deployment that
 * another has not taken over from, covering every record once, with trees over the records that are there.
 *
 * @returns how many.
 */
export async function checkCheckpoints(
  deps: {
    readonly store: Pick<Store, 'asSystem'>;
    readonly keys: NoteKeys;
    readonly months: readonly string[];
    readonly retired: Retired;
    /** Null: from the first. */
    readonly start: StartPoint | null;
    readonly pace: Pace;
  },
  report: (fault: Fault) => void,
): Promise<number> {
  const { keys, retired, start, store } = deps;
  const nextSeqs = new Map([...(start?.heads ?? [])].map(([stream, { nextSeq }]) => [stream, nextSeq]));
  let number = start?.number ?? 0;
  let previous: string | null = start?.hash ?? noCheckpoint;
  let signer = 0;
  /** Of the checkpoint before, where it is signed and there. */
  let at: string | null = null;
  /** False behind one that can't be believed: what it covered is not known. */
  let isWhole = true;
  let count = 0;
  let batch: Checkpoint[] = [];
  let leaves = 0;

  const fault = (seq: number, message: string): void =>
    report({ stream: 'checkpoints', seq, kind: 'checkpoint', message });

  function lose(): void {
    isWhole = false;
    nextSeqs.clear();
  }

  async function flush(): Promise<void> {
    await checkTrees(deps, batch, report);
    [batch, leaves] = [[], 0];
  }

  /** @returns what it states, where it is signed. */
  function check(row: Row): Checkpoint | null {
    const note = parseNote(row.note);
    const checkpoint = note === null ? null : readCheckpoint(note);
    const [before, since] = [previous, at];
    previous = note === null ? null : noteHash(note);
    at = null;
    const by = note === null ? -1 : keys.signerOf(note);
    if (checkpoint === null || by < 0 || checkpoint.name !== keys.name) {
      lose();
      const message =
        checkpoint === null ? 'Its note states no checkpoint.' : 'It is signed by no key of this deployment.';
      fault(number, message);
      return null;
    }
    if (by < signer) fault(number, 'It is signed by a key that another had taken over from.');
    signer = Math.max(signer, by);
    if (checkpoint.number !== number || checkpoint.at !== row.at.toISOString())
      fault(number, 'Its row says another number or time than its note.');
    if (before !== null && checkpoint.previous !== before)
      fault(number, 'The checkpoint before it is not the one that it names.');
    for (const { firstSeq, nextSeq, stream } of checkpoint.streams) {
      const expected = nextSeqs.get(stream) ?? (isWhole ? 0 : firstSeq);
      if (firstSeq !== expected)
        fault(number, `It begins with record ${firstSeq} of ${stream}, where ${expected} comes next.`);
      nextSeqs.set(stream, nextSeq);
      const latest = since === null ? null : retired.latestAt({ firstSeq, nextSeq, stream });
      if (latest !== null && since !== null && Date.parse(since) >= latest.getTime())
        fault(number, `Records of ${stream} that it covers went with a month that was over when they came.`);
    }
    at = checkpoint.at;
    return checkpoint;
  }

  for (;;) {
    const rows = await readPage(store, number);
    for (const row of rows) {
      const found = Number(row.number);
      if (found !== number + 1) {
        const message =
          found === number + 2
            ? 'It is not there.'
            : `Checkpoints ${number + 1} to ${found - 1} are not there.`;
        report({ stream: 'checkpoints', seq: number + 1, kind: 'missing', message });
        [previous, at] = [null, null];
        lose();
      }
      number = found;
      count += 1;
      const checkpoint = check(row);
      if (checkpoint !== null) {
        batch.push(checkpoint);
        leaves += checkpoint.size;
      }
      if (leaves >= batchLeaves) await flush();
      await deps.pace.turn();
    }
    await checkIndex(store, rows, report);
    if (rows.length < pageRows) break;
  }
  await flush();
  return count;
}

async function readPage(store: Pick<Store, 'asSystem'>, after: number): Promise<readonly Row[]> {
  return store.asSystem((tx) =>
    tx
      .selectFrom('checkpoints')
      .selectAll()
      .where('number', '>', BigInt(after))
      .orderBy('number')
      .limit(pageRows)
      .execute(),
  );
}

/** The table by which a record's checkpoint is found says the same as the notes. */
async function checkIndex(
  store: Pick<Store, 'asSystem'>,
  rows: readonly Row[],
  report: (fault: Fault) => void,
): Promise<void> {
  const [first, last] = [rows[0]?.number, rows.at(-1)?.number];
  if (first === undefined || last === undefined) return;
  const found = await store.asSystem((tx) =>
    sql<{ number: bigint; text: string }>`
      select number, string_agg(concat_ws(' ', stream, first_seq, next_seq), E'\\n' order by stream collate "C") as text
      from checkpoint_streams where number between ${first} and ${last} group by number`.execute(tx),
  );
  const texts = new Map(found.rows.map(({ number, text }) => [number, text]));
  for (const { note, number } of rows) {
    const parsed = parseNote(note);
    const checkpoint = parsed === null ? null : readCheckpoint(parsed);
    if (checkpoint === null) continue;
    const text = checkpoint.streams
      .map(({ firstSeq, nextSeq, stream }) => `${stream} ${firstSeq} ${nextSeq}`)
      .join('\n');
    if (text === texts.get(number)) continue;
    report({
      stream: 'checkpoints',
      seq: Number(number),
      kind: 'checkpoint',
      message: 'checkpoint_streams says otherwise than its note.',
    });
  }
}
