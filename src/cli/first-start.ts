import { closeSync, fsyncSync, lstatSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import type { Initialised } from './deps.ts';
import { credentialsText } from './installation.ts';

export interface FirstStart extends Initialised {
  readonly baseUrl: string;
}

/**
 * Before anything is minted: can it be handed over?
 *
 * @throws {SallyportError} CONFIG_INVALID: a file stands where the tokens would go, perhaps with those of another database.
 */
export function checkHandOver(dataDir: string, terminal: { readonly isTTY?: boolean }): void {
  const file = fileIn(dataDir);
  if (terminal.isTTY === true || lstatSync(file, { throwIfNoEntry: false }) === undefined) return;
  throw new SallyportError('CONFIG_INVALID', `${file} exists, and the database is empty.`, {
    fix: 'Move that file away, and start again: its place is for the tokens of this first start.',
  });
}

/**
 * Hands the first tokens over, once: on a terminal they are shown; elsewhere standard output is a log that others read, so they go
 * into a file of mode 0600.
 *
 * @returns the file's path, or null where they were shown.
 */
export function handOver(
  first: FirstStart,
  dataDir: string,
  terminal: NodeJS.WritableStream & { isTTY?: boolean },
): string | null {
  if (terminal.isTTY === true) {
    terminal.write(`\n${credentialsText(first)}`);
    return null;
  }
  const file = fileIn(dataDir);
  const { workspaceId, adminToken, token, baseUrl } = first;
  const fd = openSync(file, 'wx', 0o600);
  try {
    writeSync(fd, `${JSON.stringify({ workspaceId, adminToken, token, baseUrl }, null, 2)}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return file;
}

function fileIn(dataDir: string): string {
  return path.join(dataDir, 'first-start.json');
}
