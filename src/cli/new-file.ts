import { writeFile } from 'node:fs/promises';
import { SallyportError } from '../errors.ts';

/** What the gateway told is nobody else's to read, and an earlier file is not overwritten. @throws {SallyportError} CONFLICT */
export async function writeNew(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new SallyportError('CONFLICT', `${file} is there already.`, {
      fix: 'Name another file, or move it away.',
    });
  }
}
