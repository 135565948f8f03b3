import { readdirSync, statSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import path from 'node:path';

/** Segments, the marks of a failed write, and the node's name. Locks are of processes; `settled` is found anew. */
const wanted = /^(\d{8}\.[\w-]+\.[\w-]+\.(\d{12}\.jsonl|condemned)|node-id)$/;

export function journalFiles(dir: string): string[] {
  try {
    return readdirSync(dir)
      .filter((name) => wanted.test(name))
      .toSorted();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

const chunkBytes = 1024 * 1024;

/**
 * Brings `into` up to the journal's files: they only grow, so what is there already is not read again. A record whose newline has not
 * come yet waits for the next time.
 *
 * @param known bytes of files that a backup holds elsewhere; those of the same size are left out.
 */
export async function mirrorJournal(
  dir: string,
  into: string,
  known: ReadonlyMap<string, number>,
): Promise<void> {
  for (const name of journalFiles(dir)) {
    const size = statSync(path.join(dir, name), { throwIfNoEntry: false })?.size ?? 0;
    const to = path.join(into, name);
    const have = statSync(to, { throwIfNoEntry: false })?.size ?? 0;
    if (size <= have || known.get(name) === size) continue;
    await mkdir(into, { recursive: true, mode: 0o700 });
    await append(path.join(dir, name), to, have, name.endsWith('.jsonl'));
  }
}

async function append(from: string, to: string, start: number, isLines: boolean): Promise<void> {
  const source = await open(from, 'r').catch((error: NodeJS.ErrnoException) => {
    // Shipped and deleted since the listing.
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (source === null) return;
  const sink = await open(to, start === 0 ? 'w' : 'r+', 0o600);
  try {
    let at = start;
    for (;;) {
      const { buffer, bytesRead } = await source.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, at);
      const whole = isLines ? buffer.subarray(0, bytesRead).lastIndexOf(0x0a) + 1 : bytesRead;
      if (whole === 0) break;
      // On a disk that is nearly full a write takes a part and says so to nobody; of the rest it says that there is no room.
      for (let done = 0; done < whole;)
        done += (await sink.write(buffer, done, whole - done, at + done)).bytesWritten;
      at += whole;
      if (bytesRead < chunkBytes) break;
    }
    await sink.datasync();
  } finally {
    await source.close();
    await sink.close();
  }
}
