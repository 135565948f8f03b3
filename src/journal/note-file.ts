import { appendFile, open } from 'node:fs/promises';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { readCheckpoint, readIntroduction } from './checkpoint-note.ts';
import { isErrno } from './file-seam.ts';
import { readLines } from './lines.ts';
import { notesOf, parseNote } from './note.ts';

/** The notes of a file, one behind another; null in the place of what is none. A file that is not there holds none. */
export async function* readNotes(path: string): AsyncGenerator<string | null> {
  yield* notesOf(linesIn(path));
}

/** The line behind the last newline is left out: it may be on its way. */
async function* linesIn(path: string): AsyncGenerator<string> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return null;
    throw error;
  });
  if (file === null) return;
  try {
    for (let offset = 0; ;) {
      const { lines, next } = await readLines(file, offset);
      if (lines.length === 0) return;
      for (const line of lines) yield line.toString('utf8');
      offset = next;
    }
  } finally {
    await file.close();
  }
}

/** The file that has every checkpoint of the database, and the keys' introductions before them. */
export interface NoteFile {
  /**
   * Appends what has come to the database since.
   *
   * @returns how many checkpoints.
   * @throws {SallyportError} CONFLICT: the database's checkpoints are not those of the file.
   */
  follow(): Promise<number>;
}

const pageRows = 500;

/** Not synced: what a power cut takes from its end is appended again from the database. */
export function createNoteFile({
  path,
  store,
}: {
  readonly path: string;
  readonly store: Pick<Store, 'asSystem'>;
}): NoteFile {
  const introduced = new Set<string>();
  let last: { readonly number: number; readonly note: string } | null = null;
  let isRead = false;
  /** Of the part that a crash tore off: a blank line parts it from what follows. */
  let prefix = '';

  async function readOwn(): Promise<void> {
    for await (const note of readNotes(path)) {
      const parsed = note === null ? null : parseNote(note);
      const checkpoint = parsed === null ? null : readCheckpoint(parsed);
      if (note !== null && checkpoint !== null) last = { number: checkpoint.number, note };
      else if (note !== null && parsed !== null && readIntroduction(parsed) !== null) introduced.add(note);
      prefix = '\n\n';
    }
    isRead = true;
  }

  return Object.freeze<NoteFile>({
    async follow() {
      if (!isRead) await readOwn();
      const from = last?.number ?? 1;
      const found = await store.asSystem(async (tx) => {
        const rows = await tx
          .selectFrom('checkpoints')
          .select(['number', 'note'])
          .where('number', '>=', BigInt(from))
          .orderBy('number')
          .limit(pageRows)
          .execute();
        const isNothing = rows.length === (last === null ? 0 : 1);
        const keys = isNothing
          ? []
          : await tx.selectFrom('signing_keys').select('note').orderBy('created_at').orderBy('id').execute();
        return { rows, keys };
      });
      if (last !== null && found.rows[0]?.note !== last.note) {
        throw new SallyportError(
          'CONFLICT',
          `Checkpoint ${last.number} of checkpoints.txt is not the one in the database.`,
          {
            fix: 'Where the database was put back to an earlier moment, keep the file elsewhere; else somebody changed it.',
          },
        );
      }
      const fresh = found.rows.slice(last === null ? 0 : 1);
      const keys = found.keys.map(({ note }) => note).filter((note) => !introduced.has(note));
      const end = fresh.at(-1);
      if (end === undefined) return 0;
      const text = [...keys, ...fresh.map(({ note }) => note)].map((note) => `${note}\n`).join('');
      await appendFile(path, prefix + text, { mode: 0o600 });
      for (const note of keys) introduced.add(note);
      last = { number: Number(end.number), note: end.note };
      prefix = '';
      return fresh.length;
    },
  });
}
