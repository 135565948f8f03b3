import type { Store } from '../db/store.ts';
import { type IntroducedKey, vouchedFor } from './checkpoint-keys.ts';
import { noteName } from './checkpoint-note.ts';
import type { Fault } from './cursor.ts';
import { isSignedBy, type Note, type Verifier, verifierText } from './note.ts';

/** The keys that checkpoints may be signed with. */
export interface NoteKeys {
  readonly name: string;
  /** Oldest first. */
  readonly verifiers: readonly Verifier[];
  /** Public keys as text. */
  readonly texts: ReadonlySet<string>;
  /** Notes that introduce them. */
  readonly introductions: ReadonlySet<string>;
  /** Which of them signed it, counted from the oldest; -1: none. */
  signerOf(note: Note): number;
}

/**
 * @param active the public key that the vault opens; null: the rows are believed, whose introductions hang together.
 * @returns null: no deployment was founded here.
 */
export async function readKeys(
  store: Pick<Store, 'asSystem'>,
  active: Uint8Array | null,
  report: (fault: Fault) => void,
): Promise<NoteKeys | null> {
  const { deployment, rows } = await store.asSystem(async (tx) => ({
    deployment: await tx.selectFrom('deployment').select('id').executeTakeFirst(),
    rows: await tx
      .selectFrom('signing_keys')
      .select(['id', 'public_key', 'note', 'created_at', 'retired_at'])
      .orderBy('created_at')
      .orderBy('id')
      .limit(1000)
      .execute(),
  }));
  if (deployment === undefined) return null;
  const name = noteName(deployment.id);
  const keys: IntroducedKey[] = rows.map((row) => ({
    id: row.id,
    publicKey: row.public_key,
    note: row.note,
    createdAt: row.created_at,
    retiredAt: row.retired_at,
  }));
  const { strangers, verifiers } = vouchedFor(name, keys, active);
  for (const id of strangers) {
    const message = `${id} is introduced by no key of this deployment.`;
    report({ stream: 'signing_keys', seq: 0, kind: 'checkpoint', message });
  }
  return keysOf(name, verifiers, new Set(keys.map(({ note }) => note)));
}

function keysOf(name: string, verifiers: readonly Verifier[], introductions: ReadonlySet<string>): NoteKeys {
  return Object.freeze({
    name,
    verifiers,
    texts: new Set(verifiers.map(verifierText)),
    introductions,
    signerOf: (note: Note) => verifiers.findLastIndex((verifier) => isSignedBy(note, verifier)),
  });
}
