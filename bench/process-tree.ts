import { readdirSync, readFileSync } from 'node:fs';

/** A line of /proc/PID/stat, as far as it is read here. */
interface Stat {
  readonly name: string;
  readonly parent: number;
  /** Of CPU time, user and system. */
  readonly seconds: number;
  /** Of its children that have ended. */
  readonly endedSeconds: number;
}

export interface Member extends Stat {
  readonly pid: number;
  /** A PostgreSQL server, or a process of its. */
  readonly isPostgres: boolean;
}

/** USER_HZ, the unit of /proc/PID/stat: 100 on every Linux that Node runs on (proc(5); include/asm-generic/param.h). */
const ticksPerSecond = 100;

/** A process and its descendants that live; empty where it does not, or there is no /proc (macOS). */
export function treeOf(root: number): Member[] {
  const stats = readStats();
  const members: Member[] = [];
  for (const [pid, stat] of stats) {
    const isPostgres = isOfPostgres(pid, root, stats);
    if (isPostgres !== null) members.push({ ...stat, pid, isPostgres });
  }
  return members;
}

/** Null for a process that is not below `root`. */
function isOfPostgres(pid: number, root: number, stats: ReadonlyMap<number, Stat>): boolean | null {
  let isPostgres = false;
  for (let at = pid; at > 1;) {
    const stat = stats.get(at);
    if (stat === undefined) return null;
    isPostgres ||= stat.name === 'postgres';
    if (at === root) return isPostgres;
    at = stat.parent;
  }
  return null;
}

function readStats(): Map<number, Stat> {
  const stats = new Map<number, Stat>();
  try {
    for (const entry of readdirSync('/proc')) {
      const pid = Number(entry);
      if (!Number.isInteger(pid)) continue;
      const stat = readStat(pid);
      if (stat !== null) stats.set(pid, stat);
    }
  } catch {
    // No /proc here.
  }
  return stats;
}

/** Null for a process that ended meanwhile. */
function readStat(pid: number): Stat | null {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return null;
  }
}

/** `pid (name) state ppid …`: the name may hold spaces and brackets, so the last bracket counts. utime, stime, cutime and cstime are fields 14 to 17. */
export function parseStat(text: string): Stat {
  const close = text.lastIndexOf(')');
  const fields = text.slice(close + 2).split(' ');
  return {
    name: text.slice(text.indexOf('(') + 1, close),
    parent: Number(fields[1]),
    seconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
    endedSeconds: (Number(fields[13]) + Number(fields[14])) / ticksPerSecond,
  };
}
