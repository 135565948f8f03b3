import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** An open segment. node:fs/promises' FileHandle is one. */
export interface JournalFile {
  write(bytes: Buffer, offset: number, length: number, position: number): Promise<{ bytesWritten: number }>;
  datasync(): Promise<void>;
  close(): Promise<void>;
}

/** What the writer needs of the operating system; narrow, so that a test can hand in a disk that fails. */
export interface FileSeam {
  /** A new file, mode 0600, whose name is durable when this resolves. Fails if it exists. */
  create(path: string): Promise<JournalFile>;
  /** A small file, whole or not at all, durable when this resolves. */
  put(path: string, text: string): Promise<void>;
}

export const diskFiles: FileSeam = Object.freeze({
  async create(path: string) {
    const file = await open(path, 'wx', 0o600);
    try {
      await syncDirectory(dirname(path));
      return file;
    } catch (error) {
      await file.close().catch(() => undefined);
      await rm(path, { force: true }).catch(() => undefined);
      throw error;
    }
  },
  async put(path: string, text: string) {
    const draft = `${path}.new`;
    const file = await open(draft, 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
    await syncDirectory(dirname(path));
  },
});

/** Without this a power cut may lose the name of a file whose bytes are safe. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
