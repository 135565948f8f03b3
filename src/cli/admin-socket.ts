import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import { adminSocketPath, isListening } from './transport.ts';

/**
 * Makes way for the admin socket: its 0700 folder, and no leftover of a killed gateway in its place.
 *
 * @throws {SallyportError} CONFIG_INVALID: somebody answers there.
 */
export async function prepareAdminSocket(dataDir: string): Promise<string> {
  const socketPath = adminSocketPath(dataDir);
  if (await isListening(socketPath)) {
    throw new SallyportError('CONFIG_INVALID', `A gateway already runs on ${dataDir}.`, {
      fix: 'Stop it first, or give this one a DATA_DIR of its own.',
    });
  }
  const folder = path.dirname(socketPath);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  rmSync(socketPath, { force: true });
  return socketPath;
}

/** Between bind and this the folder's 0700 guards it. */
export function guardAdminSocket(socketPath: string): void {
  chmodSync(socketPath, 0o600);
}

export function removeAdminSocket(dataDir: string): void {
  rmSync(adminSocketPath(dataDir), { force: true });
}
