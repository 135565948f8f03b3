import { randomBytes } from 'node:crypto';
import { type BigIntStats, constants, type Stats } from 'node:fs';
import { type FileHandle, link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { keyringText, newKeyringText, readKeyringText, type RingKey } from './keyring-text.ts';

const maxFileBytes = 65_536;
/** An edit that has taken so long was killed in the middle. */
const staleEditMs = 60_000;

/**
 * The keys of a file that only its owner can read.
 *
 * @throws {SallyportError} CONFIG_INVALID: not there, readable by group or world, another's, too long, or not a ring.
 */
export async function readKeyringFile(path: string): Promise<readonly RingKey[]> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(
    (error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT'
        ? refuse(path, 'it is not there', {
            fix: 'Bring it back from your copy, or set SALLYPORT_KEYRING_FILE; without it no stored key opens.',
          })
        : refuse(path, `it cannot be opened (${error.code ?? 'unknown error'})`),
  );
  try {
    // Asked of the open file, so that nobody can change it between the question and the reading.
    const stat = await file.stat();
    if (!stat.isFile()) refuse(path, 'it is not a regular file');
    if ((stat.mode & 0o077) !== 0) refuse(path, 'others may read or write it; mend it with chmod 600');
    const uid = process.getuid?.();
    if (uid !== undefined && uid !== 0 && stat.uid !== uid) refuse(path, 'it belongs to another user');
    if (stat.size > maxFileBytes) refuse(path, 'it is longer than 64 KiB');
    const bytes = await file.readFile();
    try {
      return readKeyringText(bytes.toString('utf8'), path);
    } finally {
      wipe(bytes);
    }
  } finally {
    await file.close();
  }
}

/** Differs when the file was written anew; null where there is none. */
export async function keyringFileStamp(path: string): Promise<string | null> {
  const found = await stat(path, { bigint: true }).catch(() => null);
  return found === null ? null : stampOf(found);
}

/** Without the ctime, which a new name changes. */
function stampOf({ ino, size, mtimeNs, mode }: BigIntStats): string {
  return `${ino}:${size}:${mtimeNs}:${mode}`;
}

/**
 * Makes a ring with one active key, on the very first start only: a ring made beside sealed keys would hide for a while that the
 * right one is lost.
 *
 * @param found  what the database holds (`countSealed`); anything but nothing is refused.
 * @throws {SallyportError} CONFIG_INVALID; nothing is written then. A file that is there is never overwritten.
 */
export async function createKeyringFile(
  path: string,
  found: { readonly workspaceKeys: number; readonly hasDeployment: boolean },
): Promise<readonly RingKey[]> {
  if (found.workspaceKeys > 0 || found.hasDeployment) {
    refuse(
      path,
      `it is missing, and the database already holds ${found.workspaceKeys} workspace keys sealed under a ring; restore that ring`,
    );
  }
  const text = newKeyringText();
  // Written whole under another name first: a crash never leaves half a ring under the right one. link() overwrites nothing.
  const draft = `${path}.${randomBytes(6).toString('hex')}.draft`;
  try {
    // Where the database is another's, nothing has made the data directory yet.
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeWhole(await open(draft, 'wx', 0o600), text, null);
    await link(draft, path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    refuse(path, code === 'EEXIST' ? 'it is there already' : `it cannot be made (${code})`);
  } finally {
    await rm(draft, { force: true });
  }
  await syncFolder(path);
  return readKeyringText(text, path);
}

/**
 * Writes the file anew, whole or not at all, one writer at a time: `work` gets the keys as they stand now and gives those to write.
 * No copy of the old text is kept: a key that was retired must not live on in a backup that nobody thinks of.
 *
 * @returns what was written and its `keyringFileStamp`, both of this very file: under its name another one may lie by then, which
 *   nobody has checked.
 * @throws {SallyportError} CONFIG_INVALID (cannot be read or written), CONFLICT (another edit is under way), what `work` throws.
 */
export async function editKeyringFile(
  path: string,
  work: (keys: readonly RingKey[]) => readonly RingKey[],
): Promise<{ readonly keys: readonly RingKey[]; readonly stamp: string }> {
  // Its name is the lock; a killed edit leaves it, with keys in it, for the next one to take away.
  const draft = `${path}.edit`;
  await removeStale(draft);
  const lock = await open(draft, 'wx', 0o600).catch((error: NodeJS.ErrnoException) =>
    error.code === 'EEXIST'
      ? busy()
      : refuse(path, `it cannot be written (${error.code ?? 'unknown error'})`, {
          fix: 'Its folder has to be writable for the gateway’s user; else edit the ring where it is kept.',
        }),
  );
  let written: { readonly keys: readonly RingKey[]; readonly stamp: string };
  try {
    const next = keyringText(work(await readKeyringFile(path)));
    const keys = readKeyringText(next, path);
    written = { keys, stamp: await writeWhole(lock, next, await stat(path)) };
    await rename(draft, path);
  } catch (error) {
    // Not once it is renamed: what has the name by then is another edit's.
    await rm(draft, { force: true });
    if (error instanceof SallyportError) throw error;
    refuse(path, `it cannot be written (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`);
  } finally {
    await lock.close();
  }
  await syncFolder(path);
  return written;
}

/**
 * Into a new file, which is closed then.
 *
 * @param like  whose file it replaces: root may edit the ring of the user that the gateway runs as.
 * @returns its stamp
 */
async function writeWhole(file: FileHandle, text: string, like: Stats | null): Promise<string> {
  const bytes = Buffer.from(text, 'utf8');
  try {
    // The umask takes bits from the mode of open(); chmod makes it exact.
    await file.chmod(0o600);
    if (like !== null && process.getuid?.() === 0) await file.chown(like.uid, like.gid);
    await file.writeFile(bytes);
    await file.sync();
    return stampOf(await file.stat({ bigint: true }));
  } finally {
    wipe(bytes);
    await file.close();
  }
}

async function removeStale(draft: string): Promise<void> {
  const found = await stat(draft).catch(() => null);
  if (found !== null && Date.now() - found.mtimeMs > staleEditMs) await rm(draft, { force: true });
}

/** A new name is only durable once its folder is: keys sealed under a ring that a power cut forgets are lost. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function busy(): never {
  throw new SallyportError('CONFLICT', 'The keyring is being edited by another command.', {
    fix: 'Try again when that is done; after a crash, in a minute.',
  });
}

function refuse(path: string, what: string, options: { readonly fix?: string } = {}): never {
  throw new SallyportError('CONFIG_INVALID', `The keyring (${path}) cannot be used: ${what}.`, options);
}
