import { readFile, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Node, readNodes } from '../db/node-beat.ts';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { listStreams, streamName } from './stream-files.ts';
import { isLocked } from './stream-lock.ts';

export interface AloneOptions {
  /** The journal's folder. */
  readonly dir: string;
  readonly nodeId: string;
  readonly store: Pick<Store, 'asSystem'>;
  /** Between two looks. */
  readonly pause: (ms: number) => Promise<unknown>;
  /** Once, where it takes time to be known. */
  readonly onWait: () => void;
}

const lookMs = 1000;

/**
 * Makes sure that no other folder is this node. In a copied one (a cloned disk, a volume made of a snapshot) no lock is held, so that a
 * start would end calls that the original is still at: each would have two ends, and the bill would have the wrong one.
 *
 * A process that was killed looks alive for half a minute, and must not keep the next start waiting: of processes of this folder, on
 * this machine since it booted, the locks tell. All others are watched until their heartbeat moves, or is too old.
 *
 * Bound: of copies that start in the same second none has a heartbeat yet.
 *
 * @throws {SallyportError} CONFIG_INVALID: it is alive elsewhere. Nothing was changed.
 */
export async function demandAlone({ dir, nodeId, store, pause, onWait }: AloneOptions): Promise<void> {
  const mark = join(dir, 'node-place');
  const place = await placeOf(join(dir, 'node-id'));
  const isSamePlace = (await readFile(mark, 'utf8').catch(() => '')) === place;
  /** Of this folder or not, alive or not; what nobody can tell is watched. */
  const look = async (): Promise<{ watched: Node[]; dead: Node[] }> => {
    const nodes = (await readNodes(store)).filter((node) => node.nodeId === nodeId && node.isLive);
    const streams = await listStreams(dir);
    const watched: Node[] = [];
    const dead: Node[] = [];
    for (const node of nodes) {
      const first = streamName(nodeId, node.bootId, 1);
      const own = streams.filter(({ stream }) => stream === first || stream.startsWith(`${first}-`));
      if (own.some(({ base }) => isLocked(base))) continue;
      (own.length > 0 && isSamePlace ? dead : watched).push(node);
    }
    return { watched, dead };
  };
  let { watched, dead } = await look();
  if (watched.length > 0) onWait();
  while (watched.length > 0) {
    await pause(lookMs);
    const before = new Map(watched.map(({ bootId, beatAt }) => [bootId, beatAt.getTime()]));
    ({ watched, dead } = await look());
    if (watched.some(({ bootId, beatAt }) => before.get(bootId) !== beatAt.getTime())) throw alive(nodeId);
  }
  // Their files go once they are settled and shipped: a second crash would have to wait for what nobody can tell any more.
  const boots = dead.map(({ bootId }) => bootId);
  if (boots.length > 0) {
    await store.asSystem((tx) =>
      tx.deleteFrom('nodes').where('node_id', '=', nodeId).where('boot_id', 'in', boots).execute(),
    );
  }
  await writeFile(mark, place, { mode: 0o600 });
}

/** A copy is another file, and a cloned disk is under another boot. */
async function placeOf(file: string): Promise<string> {
  const { dev, ino } = await stat(file, { bigint: true });
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => hostname());
  return `${boot.trim()} ${dev} ${ino}\n`;
}

function alive(nodeId: string): SallyportError {
  return new SallyportError(
    'CONFIG_INVALID',
    `A gateway already runs as ${nodeId} on another DATA_DIR: this one is a copy of that one, or that one of this.`,
    {
      fix: 'Stop the other one; or give this one an empty DATA_DIR of its own, with the same keyring.json and DATABASE_URL.',
    },
  );
}
