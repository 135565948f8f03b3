import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { newKeyringText, parseKeyring, type KekRing } from './keyring.ts';

const maxFileBytes = 65_536;

/**
 * The ring of a file that only its owner can read.
 *
 * @throws {SallyportError} CONFIG_INVALID: not there, readable by group or world, another's, too long, or not a ring.
 */
export async function readKeyringFile(path: string): Promise<KekRing> {
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
      return parseKeyring(bytes.toString('utf8'), path);
    } finally {
      wipe(bytes);
    }
  } finally {
    await file.close();
  }
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
): Promise<KekRing> {
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
    const file = await open(draft, 'wx', 0o600);
    try {
      // The umask takes bits from the mode of open(); chmod makes it exact.
      await file.chmod(0o600);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(draft, path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    refuse(path, code === 'EEXIST' ? 'it is there already' : `it cannot be made (${code})`);
  } finally {
    await rm(draft, { force: true });
  }
  // A new name is only durable once its folder is: keys sealed under a ring that a power cut forgets are lost.
  const folder = await open(dirname(path), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return parseKeyring(text, path);
}

function refuse(path: string, what: string, options: { readonly fix?: string } = {}): never {
  throw new SallyportError('CONFIG_INVALID', `The keyring (${path}) cannot be used: ${what}.`, options);
}
