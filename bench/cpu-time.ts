import { treeOf } from './process-tree.ts';

/** Seconds of CPU time (user and system) of a process and its descendants that live. */
export interface CpuTime {
  readonly own: number;
  /** Of a PostgreSQL server among the descendants, and of its backends, those that have ended too; not in `own`. */
  readonly postgres: number;
}

/** Null where there is no such process, or no /proc (macOS). */
export function cpuTimeOf(root: number): CpuTime | null {
  const tree = treeOf(root);
  if (tree.length === 0) return null;
  const total = { own: 0, postgres: 0 };
  for (const { endedSeconds, isPostgres, seconds } of tree) {
    if (isPostgres) total.postgres += seconds + endedSeconds;
    else total.own += seconds;
  }
  return total;
}
