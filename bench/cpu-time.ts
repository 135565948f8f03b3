import { readdirSync, readFileSync } from 'node:fs';

/** Seconds of CPU time (user and system) of a process and its descendants that live. */
export interface CpuTime {
  readonly own: number;
  /** Of a PostgreSQL server among the descendants, which is not in `own`. */
  readonly postgres: number;
}

/** USER_HZ, the unit of /proc/PID/stat: 100 on every Linux that Node runs on (proc(5); include/asm-generic/param.h). */
const ticksPerSecond = 100;

interface Stat {
  readonly name: string;
  readonly parent: number;
  readonly seconds: number;
}

/** Null where there is no /proc (macOS). */
export function cpuTimeOf(root: number): CpuTime | null {
  const stats = readStats();
  if (!stats.has(root)) return null;
  const total = { own: 0, postgres: 0 };
  for (const [pid, { seconds }] of stats) {
    const owner = ownerOf(pid, root, stats);
    if (owner !== null) total[owner] += seconds;
  }
  return total;
}

function ownerOf(pid: number, root: number, stats: ReadonlyMap<number, Stat>): keyof CpuTime | null {
  let isPostgres = false;
  for (let at = pid; at > 1;) {
    const stat = stats.get(at);
    if (stat === undefined) return null;
    isPostgres ||= stat.name === 'postgres';
    if (at === root) return isPostgres ? 'postgres' : 'own';
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

/** `pid (name) state ppid …`: the name may hold spaces and brackets, so the last bracket counts. utime and stime are fields 14 and 15. */
export function parseStat(text: string): Stat {
  const close = text.lastIndexOf(')');
  const fields = text.slice(close + 2).split(' ');
  return {
    name: text.slice(text.indexOf('(') + 1, close),
    parent: Number(fields[1]),
    seconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
  };
}
