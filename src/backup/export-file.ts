import { link, open, rm } from 'node:fs/promises';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import { readLines } from '../journal/lines.ts';
import { syncFolder } from './packed-file.ts';

/**
 * Writes a new file, mode 0600, whole or not at all; one that is there is never overwritten.
 *
 * @param beforeItIsThere runs when all is written and durable, under another name: what it rejects with leaves nothing.
 * @throws {SallyportError} CONFLICT: the file is there already.
 */
export async function writeNewFile(
  file: string,
  lines: AsyncIterable<Uint8Array>,
  beforeItIsThere: () => Promise<void>,
): Promise<void> {
  const draft = `${file}.draft-${process.pid}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    try {
      await handle.chmod(0o600);
      // Not write(): on a disk that is nearly full that may take a part of it and say so to nobody.
      for await (const line of lines) await handle.writeFile(line);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await beforeItIsThere();
    await link(draft, file).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EEXIST') throw cause;
      throw new SallyportError('CONFLICT', `${file} is there already, and is not overwritten.`, {
        fix: 'Name another file.',
        cause,
      });
    });
    await syncFolder(path.dirname(path.resolve(file)));
  } finally {
    await rm(draft, { force: true });
  }
}

/** Lines without their newlines. @throws {SallyportError} NOT_FOUND; CONFLICT where the last line has no end. */
export async function* linesOf(file: string): AsyncGenerator<Buffer> {
  const handle = await open(file, 'r').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw cause;
    throw new SallyportError('NOT_FOUND', `There is no file ${file}.`, { cause });
  });
  try {
    for (let offset = 0; ;) {
      const { lines, next, unfinished } = await readLines(handle, offset);
      yield* lines;
      if (lines.length === 0 && unfinished > 0)
        throw new SallyportError('CONFLICT', `${file} breaks off in the middle of a line: it is not whole.`, {
          fix: 'Take another copy of it; nothing was changed.',
        });
      if (lines.length === 0) return;
      offset = next;
    }
  } finally {
    await handle.close();
  }
}
