import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { readCheckpoint, readIntroduction } from './checkpoint-note.ts';
import type { Fault } from './cursor.ts';
import { readNotes } from './note-file.ts';
import { isSignedBy, parseNote, parseVerifier, type Verifier } from './note.ts';
import type { NoteKeys } from './verify-keys.ts';
import type { Pace } from './verify-pace.ts';

const batchNotes = 500;

export interface Copy {
  readonly path: string;
  /** The installation's own, which has none before the first checkpoint, and where it is not written. */
  readonly mayBeEmpty: boolean;
}

/**
 * Compares a copy of the checkpoints with the database: every checkpoint of the copy has to be in the database as it is. A key that is
 * introduced in the copy counts where the copy's line of introductions leads to it.
 *
 * @returns how many checkpoints the copy holds.
 * @throws {SallyportError} NOT_FOUND: it holds none. REQUEST_INVALID: of another deployment.
 */
export async function checkCopy(
  deps: {
    readonly store: Pick<Store, 'asSystem'>;
    readonly copy: Copy;
    readonly keys: NoteKeys;
    readonly pace: Pace;
  },
  report: (fault: Fault) => void,
): Promise<number> {
  const { copy, keys, store } = deps;
  const verifiers: Verifier[] = [];
  let count = 0;
  let batch: { readonly number: number; readonly text: string }[] = [];

  const tell = (seq: number, kind: 'checkpoint' | 'missing', message: string): void =>
    report({ stream: 'checkpoints', seq, kind, message });

  async function flush(): Promise<void> {
    const numbers = batch.map(({ number }) => BigInt(number));
    const rows = await store.asSystem((tx) =>
      numbers.length === 0
        ? Promise.resolve([])
        : tx.selectFrom('checkpoints').select(['number', 'note']).where('number', 'in', numbers).execute(),
    );
    const found = new Map(rows.map(({ note, number }) => [Number(number), note]));
    for (const { number, text } of batch) {
      const note = found.get(number);
      if (note === undefined) tell(number, 'missing', 'The copy has it, and the database has not.');
      else if (note !== text) tell(number, 'checkpoint', 'The database has another one than the copy.');
    }
    batch = [];
  }

  function take(text: string): void {
    const note = parseNote(text);
    if (note === null) return;
    const introduction = readIntroduction(note);
    if (introduction !== null) {
      const key = parseVerifier(introduction.key);
      const before = introduction.replaces === null ? null : parseVerifier(introduction.replaces);
      // The first one is what whoever keeps the copy has decided to believe.
      const isFollowed =
        before === null
          ? verifiers.length === 0
          : isSignedBy(note, before) && (verifiers.length === 0 || isAmong(verifiers, before));
      if (key !== null && isSignedBy(note, key) && isFollowed) verifiers.push(key);
      if (!keys.introductions.has(text)) {
        const message = 'The copy introduces a key that the database does not know.';
        report({ stream: 'signing_keys', seq: 0, kind: 'missing', message });
      }
      return;
    }
    const checkpoint = readCheckpoint(note);
    if (checkpoint === null) return;
    if (checkpoint.name !== keys.name) {
      throw new SallyportError('REQUEST_INVALID', `The copy is of another deployment: ${checkpoint.name}.`);
    }
    count += 1;
    const isSigned = keys.signerOf(note) >= 0 || verifiers.some((verifier) => isSignedBy(note, verifier));
    if (isSigned) batch.push({ number: checkpoint.number, text });
    else tell(checkpoint.number, 'checkpoint', 'The copy has one that no known key signed.');
  }

  for await (const text of readNotes(copy.path)) {
    // What a crash tore off stands again behind it.
    if (text !== null) take(text);
    if (batch.length >= batchNotes) await flush();
    await deps.pace.turn();
  }
  await flush();
  if (count > 0 || copy.mayBeEmpty) return count;
  throw new SallyportError('NOT_FOUND', 'That copy holds no checkpoint.', {
    fix: 'Name a file of the notes that CHECKPOINT_OUTLETS hands out, one behind another.',
  });
}

function isAmong(verifiers: readonly Verifier[], wanted: Verifier): boolean {
  return verifiers.some(({ name, publicKey }) => name === wanted.name && publicKey.equals(wanted.publicKey));
}
