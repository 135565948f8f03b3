import { closeSync, constants, lchownSync, lstatSync, openSync, readdirSync } from 'node:fs';
import path from 'node:path';

/** What a gateway or a command makes in DATA_DIR. Not `postgres`: the server's own. What else lies there is not ours to give away. */
const names = [
  'checkpoints.txt',
  'first-start.json',
  'journal',
  'keyring.json',
  'postgres.log',
  'run',
  'run.json',
] as const;

/** One command of root's would otherwise keep the gateway of that user from starting: what root makes has mode 0600. */
export function giveDataToOwner(dataDir: string): void {
  for (const name of names) giveToOwnerOf(dataDir, path.join(dataDir, name));
}

/** Root works for the one whose folder it is. A target that is a folder goes with what lies in it, and no deeper. */
export function giveToOwnerOf(folder: string, target: string): void {
  if (process.getuid?.() !== 0) return;
  const owner = lstatSync(folder, { throwIfNoEntry: false });
  if (owner === undefined || owner.uid === 0) return;
  const give = (name: string): void => {
    const found = lstatSync(name, { throwIfNoEntry: false });
    if (found === undefined || found.uid !== 0 || found.isSymbolicLink()) return;
    // The folder is that user's: a second name of a file of root's elsewhere, or a link put here this moment, must not be given away.
    if (found.isFile() && found.nlink > 1) return;
    try {
      lchownSync(name, owner.uid, owner.gid);
    } catch {
      // Shipped and deleted meanwhile; or a root that may give nothing away (a container without CAP_CHOWN), and then it stays root's.
    }
  };
  give(target);
  if (lstatSync(target, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  const held = hold(target);
  if (held === null) return;
  try {
    for (const name of readdirSync(held.path)) give(path.join(held.path, name));
  } finally {
    closeSync(held.fd);
  }
}

/** The very folder, where the system has a name for it: the one under `target` may be exchanged for a link to /etc at any moment. */
function hold(target: string): { readonly fd: number; readonly path: string } | null {
  try {
    const fd = openSync(target, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    return { fd, path: process.platform === 'linux' ? `/proc/self/fd/${fd}` : target };
  } catch {
    return null;
  }
}
