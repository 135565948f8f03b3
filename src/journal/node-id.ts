import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { newId } from '../ids.ts';

/** The name of this machine's place in the journal: made once for a folder and kept, because streams of one node name their predecessor. */
export async function nodeIdOf(dir: string): Promise<string> {
  const file = path.join(dir, 'node-id');
  await mkdir(dir, { recursive: true, mode: 0o700 });
  try {
    // `wx`: of two that start at once the second reads what the first wrote.
    await writeFile(file, newId('node'), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const text = (await readFile(file, 'utf8')).trim();
  if (!/^[A-Za-z0-9_-]{1,80}$/.test(text)) throw new Error(`${file} is damaged: it should hold one name`);
  return text;
}
