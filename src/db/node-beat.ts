import { sql } from 'kysely';
import type { Store } from './store.ts';

/** What a node says of itself. */
export interface NodeState {
  /** Ids of the root keys that it can open with. */
  readonly rootKeys: readonly string[];
  readonly activeRootKey: string;
}

export interface NodeBeat {
  /** Beats every 5 s from now on. */
  start(): void;
  /** Beats at once, where it was started: what has changed is to be seen by the others. */
  now(): Promise<void>;
  /** Ends it, and takes the row away: a node that stops in good order is not waited for. */
  stop(): Promise<void>;
}

export interface Node extends NodeState {
  readonly nodeId: string;
  readonly bootId: string;
  readonly version: string;
  readonly startedAt: Date;
  readonly beatAt: Date;
  readonly isLive: boolean;
}

const intervalMs = 5000;
/** Six beats missed, and it counts as gone. */
export const liveSeconds = 30;
const keptHours = 24;

/** Keeps this process's row of `nodes`. Times are the database's: nodes whose clocks differ would bury one another. */
export function createNodeBeat(deps: {
  readonly store: Pick<Store, 'asSystem'>;
  readonly nodeId: string;
  readonly bootId: string;
  readonly version: string;
  readonly state: () => Promise<NodeState>;
  readonly onError: (error: unknown) => void;
}): NodeBeat {
  const { store, nodeId, bootId, version, state, onError } = deps;
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> | null = null;
  let waiting: Promise<void> | null = null;

  async function beat(): Promise<void> {
    const { rootKeys, activeRootKey } = await state();
    await store.asSystem(async (tx) => {
      await sql`insert into nodes (node_id, boot_id, version, beat_at, root_keys, active_root_key)
        values (${nodeId}, ${bootId}, ${version}, now(), ${[...rootKeys]}::text[], ${activeRootKey})
        on conflict (node_id, boot_id) do update
        set beat_at = now(), root_keys = excluded.root_keys, active_root_key = excluded.active_root_key`.execute(
        tx,
      );
      await sql`delete from nodes where beat_at < now() - make_interval(hours => ${keptHours})`.execute(tx);
    });
  }

  /** Asked for while one is under way: one more after it, which sees what has changed meanwhile; never a queue of them. */
  function beatNext(): Promise<void> {
    if (running === null) {
      running = beat()
        .catch(onError)
        .finally(() => {
          running = null;
        });
      return running;
    }
    waiting ??= running.then(() => {
      waiting = null;
      return beatNext();
    });
    return waiting;
  }

  return Object.freeze<NodeBeat>({
    start() {
      if (timer !== null) return;
      timer = setInterval(() => void beatNext(), intervalMs).unref();
      void beatNext();
    },
    now: async () => (timer === null ? undefined : beatNext()),
    async stop() {
      if (timer === null) return;
      clearInterval(timer);
      timer = null;
      await (waiting ?? running);
      await store
        .asSystem((tx) =>
          tx.deleteFrom('nodes').where('node_id', '=', nodeId).where('boot_id', '=', bootId).execute(),
        )
        .catch(onError);
    },
  });
}

/** All nodes that have beaten within a day, the newest first. */
export async function readNodes(store: Pick<Store, 'asSystem'>): Promise<readonly Node[]> {
  const { rows } = await store.asSystem((tx) =>
    sql<Node>`select node_id as "nodeId", boot_id as "bootId", version, started_at as "startedAt", beat_at as "beatAt",
        root_keys as "rootKeys", active_root_key as "activeRootKey",
        beat_at > now() - make_interval(secs => ${liveSeconds}) as "isLive"
      from nodes order by beat_at desc, node_id, boot_id limit 1000`.execute(tx),
  );
  return rows;
}
