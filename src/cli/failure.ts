import { lstatSync, type Stats } from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import { scrub } from '../telemetry/scrub.ts';

/** Exit codes of WIRE.md. */
export const exits = { ok: 0, refused: 1, usage: 2, notFound: 3, unreachable: 4, config: 78 } as const;

const byCode: Readonly<Record<string, number>> = {
  REQUEST_INVALID: exits.usage,
  NOT_FOUND: exits.notFound,
  GATEWAY_UNREACHABLE: exits.unreachable,
  AUTH_UNAVAILABLE: exits.unreachable,
  JOURNAL_UNAVAILABLE: exits.unreachable,
  VAULT_SEALED: exits.unreachable,
  SHUTTING_DOWN: exits.unreachable,
  CONFIG_INVALID: exits.config,
};

const makeRoom =
  'Make room on the disk that was written to: that of DATA_DIR, or of the folder that was named.';

/** A kernel mounts a disk read-only that had a fault: nobody may have asked for it. */
export const mountWritable =
  'Mount the disk of DATA_DIR, or of the folder that was named, writable; if nobody made it read-only, it had a fault: dmesg tells.';

const byErrno: Readonly<Record<string, string>> = {
  ENOSPC: makeRoom,
  EDQUOT: makeRoom,
  EROFS: mountWritable,
  // Making a folder with those above it, Node tells both as what is not there.
  'mkdir ENOENT': 'It is on a disk that is mounted read-only, or behind a link that leads nowhere.',
};

/** An error that a gateway answered with. Its code may be newer than this program. */
export class AnsweredError extends Error {
  override readonly name = 'AnsweredError';
  readonly code: string;
  readonly fix: string;

  constructor(code: string, message: string, fix: string) {
    super(message);
    this.code = code;
    this.fix = fix;
  }
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly fix: string;
  readonly exit: number;
}

export function usageError(message: string, fix: string): SallyportError {
  return new SallyportError('REQUEST_INVALID', message, { fix });
}

/** Any error as code, message, fix and exit code, without a secret in it. */
export function failureOf(error: unknown): Failure {
  if (error instanceof SallyportError || error instanceof AnsweredError) {
    const exit = byCode[error.code] ?? exits.refused;
    return { code: error.code, message: scrub(error.message), fix: scrub(error.fix), exit };
  }
  const refused = databaseRefusal(error);
  if (refused !== null) return refused;
  const errno = error instanceof Error ? (error as NodeJS.ErrnoException) : null;
  if (errno?.syscall !== undefined) {
    // A connection that is refused has no `path`: that is about another process, and no file's matter.
    if (errno.path !== undefined && (errno.code === 'EACCES' || errno.code === 'EPERM')) {
      return { code: 'CONFIG_INVALID', ...notOurs(path.resolve(errno.path), errno.code), exit: exits.config };
    }
    // The path itself is wrong: starting again mends nothing.
    // Of a change of folder `path` is where one was, and `dest` where to.
    const { path: from, dest: place = from } = errno as NodeJS.ErrnoException & { readonly dest?: string };
    if (place !== undefined && (errno.code === 'ENOTDIR' || errno.code === 'ELOOP')) {
      return {
        code: 'CONFIG_INVALID',
        message: scrub(
          `${path.resolve(place)} cannot be used (${errno.code}): a part of this path is no folder.`,
        ),
        fix: 'Name a folder, or a path through folders alone, in DATA_DIR or where this path was given.',
        exit: exits.config,
      };
    }
    return {
      code: 'GATEWAY_UNREACHABLE',
      message: scrub(errno.message),
      fix:
        byErrno[errno.syscall === 'mkdir' ? `mkdir ${errno.code}` : ''] ??
        byErrno[errno.code ?? ''] ??
        'Check the data directory and the database: bin/sallyport doctor',
      exit: exits.unreachable,
    };
  }
  const message = errno === null ? 'Something failed without saying what.' : errno.message;
  return {
    code: 'INTERNAL',
    message: scrub(message),
    fix: 'Run bin/sallyport doctor; report it if that is all well.',
    exit: exits.refused,
  };
}

/**
 * What the server of DATABASE_URL says before it lets anybody in (SQLSTATE classes 28, 3D and 57P, 53300), or pg for it, and what it is
 * short of (class 53): no fault of the program. Not CONFIG_INVALID, with which nobody starts it again: a password that is being exchanged fits a moment later.
 */
function databaseRefusal(error: unknown): Failure | null {
  if (!(error instanceof Error)) return null;
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  const state = severity !== undefined && typeof code === 'string' ? code : '';
  if (/^53[12]/.test(state)) {
    return {
      code: 'GATEWAY_UNREACHABLE',
      message: scrub(`The database is short of ${state === '53100' ? 'disk' : 'memory'}: ${error.message}.`),
      fix: 'Make room where the database runs, and do it again.',
      exit: exits.unreachable,
    };
  }
  const isRefused = /^(28|3D|53|57P)/.test(state);
  if (!isRefused && !/^(SASL: |The server does not support SSL connections)/.test(error.message)) return null;
  return {
    code: 'GATEWAY_UNREACHABLE',
    message: scrub(`The database refused the connection: ${error.message}.`),
    fix: 'Compare user, password, name and sslmode in DATABASE_URL with the server’s, and see whether it takes connections now.',
    exit: exits.unreachable,
  };
}

/** A file that this user may not use: whose it is, or whose the folder is that hides it. */
function notOurs(file: string, errno: string): Pick<Failure, 'message' | 'fix'> {
  const uid = process.getuid?.() ?? 0;
  for (let at = file; ; at = path.dirname(at)) {
    const found = statOf(at);
    if (found === null && at !== path.dirname(at)) continue;
    const what = at === file ? 'it' : at;
    const owner = found === null ? 'another user' : `${userName(found.uid)} (mode ${modeText(found)})`;
    return {
      message: scrub(
        `${file} cannot be used (${errno}): ${what} belongs to ${owner}, and this runs as ${userName(uid)}.`,
      ),
      fix: 'Run this as the user that the gateway runs as; as root, give DATA_DIR to that user: chown -R USER DATA_DIR',
    };
  }
}

function statOf(file: string): Stats | null {
  try {
    return lstatSync(file);
  } catch {
    return null;
  }
}

function modeText({ mode }: Stats): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

function userName(uid: number): string {
  return uid === 0 ? 'root' : `uid ${uid}`;
}
