import { openSync, closeSync, writeSync, fsyncSync } from 'node:fs';
import path from 'node:path';
import type { Initialised } from './deps.ts';
import { credentialsText } from './installation.ts';

export interface FirstStart extends Initialised {
  readonly baseUrl: string;
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
  const file = path.join(dataDir, 'first-start.json');
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
