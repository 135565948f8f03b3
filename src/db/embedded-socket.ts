import { chownSync, lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { socketPort } from './connection.ts';
import type { ServerIds } from './embedded-ids.ts';

/** Bytes of `sun_path` without its NUL: 108 on Linux (unix(7)), 104 on macOS. A longer path is refused by bind and by connect. */
const longestSocketPath = process.platform === 'darwin' ? 103 : 107;

const note = (dataDir: string): string => path.join(dataDir, 'run.json');

export function fitsSocket(folder: string): boolean {
  return Buffer.byteLength(path.join(folder, `.s.PGSQL.${socketPort}`)) <= longestSocketPath;
}

/** The folder that an earlier start noted, if it is still a private one of ours: anybody may write in the temporary folder. */
function noted(dataDir: string, uid: number): string | null {
  try {
    const { socketDir } = JSON.parse(readFileSync(note(dataDir), 'utf8')) as { socketDir?: unknown };
    if (typeof socketDir !== 'string') return null;
    const found = lstatSync(socketDir);
    return found.isDirectory() && found.uid === uid && (found.mode & 0o777) === 0o700 ? socketDir : null;
  } catch {
    return null;
  }
}

function fresh(): string {
  const folder = fitsSocket(path.join(tmpdir(), 'sallyport-XXXXXX')) ? tmpdir() : '/tmp';
  return mkdtempSync(path.join(folder, 'sallyport-'));
}

export interface SocketFolder {
  readonly path: string;
  /** Takes away what lies outside the data directory; the socket itself goes with the server. */
  remove(): void;
}

/**
 * Where the server's socket is: in the database folder, whose mode 0700 guards it. Where that path is too long, a 0700 folder in the
 * system's temporary folder, named in `DATA_DIR/run.json` so that the next start and the command line find it.
 */
export function socketFolder(dataDir: string, databaseDir: string, ids: ServerIds): SocketFolder {
  if (fitsSocket(databaseDir)) return { path: databaseDir, remove: () => {} };
  const uid = ids?.uid ?? process.getuid?.() ?? 0;
  let folder = noted(dataDir, uid);
  if (folder === null) {
    folder = fresh();
    if (ids !== null) chownSync(folder, ids.uid, ids.gid);
    writeFileSync(note(dataDir), `${JSON.stringify({ socketDir: folder })}\n`, { mode: 0o600 });
  }
  return {
    path: folder,
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
      rmSync(note(dataDir), { force: true });
    },
  };
}
