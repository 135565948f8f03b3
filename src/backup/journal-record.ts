import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { type Fields, openJournal } from '../journal/journal.ts';
import { nodeIdOf } from '../journal/node-id.ts';
import { giveToOwnerOf } from './data-owner.ts';

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
