import { readFileSync } from 'node:fs';

/**
 * May a crash of this process leave its memory on a disk? bin/sallyport, the container and the systemd unit set the limit to 0; who
 * starts it another way is warned. False where it cannot be told (no /proc).
 *
 * @param limits  text of /proc/self/limits; see proc(5).
 */
export function areCoreDumpsOn(limits: string = ownLimits()): boolean {
  const soft = /^Max core file size\s+(\S+)/m.exec(limits)?.[1];
  return soft !== undefined && soft !== '0';
}

function ownLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'latin1');
  } catch {
    return '';
  }
}
