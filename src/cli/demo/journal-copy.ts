import { cp, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { byteToChange } from './evidence.ts';

export async function copyJournal(dataDir: string, to: string): Promise<void> {
  await cp(join(dataDir, 'journal'), to, { recursive: true });
}

/** Changes one digit of one record in a copy of the journal. @returns `file, byte n`, for the reader */
export async function changeOneByte(folder: string): Promise<string> {
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    const bytes = await readFile(path).catch(() => null);
    const at = bytes === null ? null : byteToChange(bytes);
    if (bytes === null || at === null) continue;
    bytes[at] = (bytes[at] ?? 0) + 1;
    await writeFile(path, bytes);
    return `${name}, byte ${at}`;
  }
  throw new Error('the journal has no record of a use');
}
