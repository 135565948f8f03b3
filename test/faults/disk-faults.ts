import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';

/** What disk-shim.c makes of the journal's disk, or where it ends the process. */
const faults = {
  none: '-',
  'a sync that fails': 'e',
  'a sync that takes too long': 'w',
  'a read-only file system': 'r',
  'a full disk': 'f',
  'between write and sync': 's',
  'in the middle of a write': 't',
  'in mid-roll': 'd',
  'in mid-ship': 'i',
  'in COMMIT': 'c',
} as const;

export type Fault = keyof typeof faults;

export interface DiskFaults {
  /** For the environment of the gateway's process. */
  readonly settings: Readonly<Record<string, string>>;
  /** From now on, in every process that has the settings. */
  set(fault: Fault): void;
}

/** For a test's `skip`: why faults of the disk cannot be had here, or false. */
export const lacksFaults =
  process.platform === 'linux' && spawnSync('cc', ['--version']).status === 0
    ? false
    : 'takes Linux and a C compiler, cc';

export function diskFaults(t: Pick<Test, 'teardown'>): DiskFaults {
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-disk-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  // The embedded database is another user, whose programs are told to load it too.
  chmodSync(folder, 0o755);
  const library = path.join(folder, 'shim.so');
  const source = path.join(import.meta.dirname, 'disk-shim.c');
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], { stdio: 'pipe' });
  const control = path.join(folder, 'fault');
  const set = (fault: Fault): void => writeFileSync(control, faults[fault], { flag: 'r+' });
  writeFileSync(control, faults.none);
  return Object.freeze<DiskFaults>({
    settings: { LD_PRELOAD: library, DISK_FAULT_FILE: control },
    set,
  });
}

export interface SmallDisk {
  fill(): void;
  free(): void;
  unmount(): void;
}

/** A disk of so many bytes at the folder, which is made; null where nobody may mount one. */
export function smallDisk(t: Pick<Test, 'teardown'>, folder: string, bytes: number): SmallDisk | null {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  let isMounted = false;
  const unmount = (): void => {
    if (!isMounted) return;
    isMounted = false;
    execFileSync('umount', ['-l', folder], { stdio: 'pipe' });
  };
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=700`, 'tmpfs', folder], {
      stdio: 'pipe',
    });
  } catch {
    return null;
  }
  isMounted = true;
  t.teardown(unmount);
  const filler = path.join(folder, 'filler');
  return Object.freeze<SmallDisk>({
    unmount,
    fill() {
      for (let rest = bytes; rest > 0; rest = Math.floor(rest / 2)) {
        try {
          for (;;) writeFileSync(filler, Buffer.alloc(rest), { flag: 'a' });
        } catch {
          // It did not fit: half of it may.
        }
      }
    },
    free: () => rmSync(filler, { force: true }),
  });
}
