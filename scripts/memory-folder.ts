import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isAlive } from '../src/db/embedded-pidfile.ts';

const memory = '/dev/shm';
/** statfs(2) */
const tmpfsMagic = 0x01021994;
/** A run keeps 0.4 GiB there at its peak, and processes need memory too. */
const [leastRoomBytes, leastMemoryBytes] = [2 * 2 ** 30, 4 * 2 ** 30];
const prefix = 'sallyport-run-';

/** What runs of which the process is gone left behind: memory that is not given back by itself. */
function sweep(): void {
  for (const name of readdirSync(memory)) {
    const pid = /^sallyport-run-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    try {
      rmSync(path.join(memory, name), { recursive: true, force: true });
    } catch {
      // Another user's.
    }
  }
}

/** In containers it is often small, or no program may be started from it, which tests do. */
function isFit(folder: string): boolean {
  const { type, bavail, bsize } = statfsSync(folder);
  if (type !== tmpfsMagic || bavail * bsize < leastRoomBytes) return false;
  if (process.availableMemory() < leastMemoryBytes) return false;
  const program = path.join(folder, 'program');
  writeFileSync(program, '#!/bin/sh\n', { mode: 0o700 });
  return spawnSync(program).status === 0;
}

/** A folder in memory for this process's temporary files, open to all users as the system's is; null where there is none, or little room. */
export function memoryFolder(): string | null {
  let made: string | null = null;
  try {
    sweep();
    made = mkdtempSync(path.join(memory, `${prefix}${process.pid}-`));
    if (isFit(made)) {
      chmodSync(made, 0o1777);
      return made;
    }
  } catch {
    // Not Linux, or not ours to write in.
  }
  if (made !== null) rmSync(made, { recursive: true, force: true });
  return null;
}
