import { type BigIntStats, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';

/**
 * Refuses a folder of backups in what they are of: it would be lost with it, and in `postgres` be a part of each later backup.
 *
 * @param dir need not be there yet
 * @throws {SallyportError} REQUEST_INVALID
 */
export function checkArchivePlace(dir: string, dataDir: string): void {
  const data = found(dataDir);
  if (data === null) return;
  for (let place = existingPart(dir); ; place = path.dirname(place)) {
    const here = found(place);
    // Not by name: links, mounts and disks that do not tell a from A give one folder several.
    if (here !== null && here.dev === data.dev && here.ino === data.ino) {
      throw new SallyportError(
        'REQUEST_INVALID',
        `${dir} lies in DATA_DIR (${dataDir}): its backups would be lost with it.`,
        { fix: 'Name a folder outside of DATA_DIR, on another disk at best: --to DIR' },
      );
    }
    if (place === path.dirname(place)) return;
  }
}

/** Without links, or `..` would lead astray. */
function existingPart(dir: string): string {
  for (let part = path.resolve(dir); ; part = path.dirname(part))
    if (found(part) !== null || part === path.dirname(part)) return realpathSync(part);
}

function found(dir: string): BigIntStats | null {
  return statSync(dir, { bigint: true, throwIfNoEntry: false }) ?? null;
}
