import type { Act } from './admin/acts.ts';
import { createKeyring, type Keyring } from './admin/keyring.ts';
import { createRewrapJob } from './admin/rewrap-job.ts';
import { createNodeBeat, type NodeBeat } from './db/node-beat.ts';
import type { Installation } from './installation.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { createUsableKeys } from './vault/keyring-publish.ts';
import { rewrap } from './vault/keyring-rewrap.ts';

/** What handles root keys while a gateway runs. */
export interface RootKeyDesk {
  readonly keyring: Keyring;
  /** This node's row, by which the others know what its ring holds; `serve` starts it. */
  readonly beat: NodeBeat;
  /** Resolves when the present run of rewrap has ended. */
  rewrapped(): Promise<void>;
  close(): Promise<void>;
}

export function createRootKeyDesk(deps: {
  readonly installation: Pick<Installation, 'store' | 'vault' | 'keyring' | 'journal' | 'nodeId' | 'bootId'>;
  readonly act: Act;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly version: string;
}): RootKeyDesk {
  const { installation, act, log, metrics, version } = deps;
  const { store, vault, keyring: home, journal, nodeId, bootId } = installation;
  const { deploymentId } = vault;
  const { ring } = home;
  const usableKeys = createUsableKeys({ ring, deploymentId });

  /** A file that cannot be taken over is told once, not every five seconds. */
  let told = '';
  async function refresh(): Promise<void> {
    try {
      if (await home.refresh()) log.info('keyring.read', { record: ring.active().id });
      told = '';
    } catch (error) {
      const text = error instanceof Error ? error.message : '';
      if (text !== told) log.error('keyring.refused', { error });
      told = text;
    }
  }

  const beat = createNodeBeat({
    store,
    nodeId,
    bootId,
    version,
    async state() {
      await refresh();
      return { rootKeys: await usableKeys(), activeRootKey: ring.active().id };
    },
    onError: (error) => log.warn('node.beat-failed', { error }),
  });

  const job = createRewrapJob({
    clock: Date.now,
    run: (signal, onProgress) =>
      rewrap(
        {
          store,
          ring,
          deploymentId,
          onProgress,
          onFailed: (place, error) => log.error('keyring.rewrap-failed', { record: place, error }),
        },
        signal,
      ),
    onProgress: (now) => metrics.rewrapProgress(now),
    onEnd(state, error) {
      const { status, rewrapped, failed, remaining } = state;
      const rootKeyId = ring.active().id;
      if (error !== null) log.error('keyring.rewrap-stopped', { record: rootKeyId, error });
      else log.info('keyring.rewrapped', { record: rootKeyId, count: rewrapped });
      const actor = { type: 'system', id: 'rewrap' };
      void journal
        .append('keyring.rewrapped', {
          workspaceId: null,
          actor,
          rootKeyId,
          outcome: status,
          rewrapped,
          failed,
          remaining,
        })
        .catch((error: unknown) => log.warn('keyring.rewrap-not-recorded', { error }));
    },
  });

  return Object.freeze<RootKeyDesk>({
    keyring: createKeyring({ store, home, deploymentId, act, beat, job }),
    beat,
    rewrapped: () => job.ended(),
    async close() {
      await job.stop();
      await beat.stop();
    },
  });
}
