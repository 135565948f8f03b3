import { randomBytes } from 'node:crypto';
import { lchownSync, lstatSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { type Fields, openJournal } from '../journal/journal.ts';
import { nodeIdOf } from '../journal/node-id.ts';

export interface RecordOptions {
  readonly dir: string;
  readonly sync: 'strict' | 'relaxed';
  readonly maxBytes: number;
  readonly clock: () => number;
}

/**
 * One record of a command that works beside a gateway, or without one: in a stream of its own, because a stream has one writer. The
 * gateway ships it, the running one or the next.
 *
 * @throws {SallyportError} JOURNAL_UNAVAILABLE: then what was to be recorded must not happen.
 */
export async function recordInStream(options: RecordOptions, event: string, fields: Fields): Promise<void> {
  const { dir } = options;
  const journal = await openJournal({
    ...options,
    nodeId: await nodeIdOf(dir),
    bootId: randomBytes(8).toString('hex'),
  });
  try {
    await journal.append(event, { ...fields, workspaceId: null, actor: { type: 'cli', id: 'cli' } });
  } finally {
    await journal.close();
    giveToOwnerOf(path.dirname(dir), dir);
  }
}

/**
 * Root works for the one whose folder it is: what root makes there with mode 0600, the gateway of that user could not read.
 */
export function giveToOwnerOf(folder: string, target: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = lstatSync(folder);
  if (uid === 0) return;
  const give = (name: string): void => {
    const found = lstatSync(name, { throwIfNoEntry: false });
    if (found === undefined || found.uid !== 0 || found.isSymbolicLink()) return;
    // The folder is that user's: a second name of a file of root's elsewhere, or a link put here this moment, must not be given away.
    if (found.isFile() && found.nlink > 1) return;
    lchownSync(name, uid, gid);
  };
  give(target);
  if (lstatSync(target, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  for (const name of readdirSync(target)) give(path.join(target, name));
}
