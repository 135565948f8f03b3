import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { treeOf } from './process-tree.ts';

/** Of a process and its descendants, a PostgreSQL server left out. */
export interface ProcessState {
  readonly rssBytes: number;
  /** Of it neither a file's nor shared: heap, buffers, stacks. */
  readonly anonymousBytes: number;
  readonly handles: number;
  /** Of them. */
  readonly sockets: number;
}

/** Null where there is no such process, or no /proc. */
export function stateOf(root: number): ProcessState | null {
  const own = treeOf(root).filter(({ isPostgres }) => !isPostgres);
  if (own.length === 0) return null;
  const total = { rssBytes: 0, anonymousBytes: 0, handles: 0, sockets: 0 };
  for (const { pid } of own) {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    total.rssBytes += kiBOf(status, 'VmRSS') * 1024;
    total.anonymousBytes += kiBOf(status, 'RssAnon') * 1024;
    const targets = readdirSync(`/proc/${pid}/fd`).map((fd) => targetOf(`/proc/${pid}/fd/${fd}`));
    total.handles += targets.length;
    total.sockets += targets.filter((target) => target.startsWith('socket:')).length;
  }
  return total;
}

function kiBOf(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
}

/** Empty for one that was closed meanwhile. */
function targetOf(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}
