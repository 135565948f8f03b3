import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../telemetry/log.ts';
import type { KeyWatchDeps } from './key-watch.ts';

export interface KeyRemovalDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly journal: Pick<Journal, 'append'>;
  readonly log: Pick<Log, 'error' | 'info'>;
  /** The epoch has moved: this node need not wait for its poll to know of it. */
  readonly onMoved: () => Promise<void>;
  readonly now: () => number;
}

/**
 * A key that its provider refuses is marked, on record first, and all nodes hear of it with the epoch. What is marked is a value, not a
 * name: one that was replaced meanwhile is not the one that was tested.
 */
export function createKeyRemoval({
  store,
  journal,
  log,
  onMoved,
  now,
}: KeyRemovalDeps): Pick<KeyWatchDeps, 'takeOut' | 'putBack'> {
  const mark =
    (event: 'key.auth_failed' | 'key.auth_recovered'): KeyWatchDeps['takeOut'] =>
    async (key, { workspaceId }, result) => {
      const at = new Date(now());
      const isOut = event === 'key.auth_failed';
      const { id: keyId, ownerId: userId, version, provider } = key;
      const { status } = result;
      await journal.append(event, { workspaceId, keyId, userId, keyVersion: version, provider, status });
      await store.asWorkspace(workspaceId, async (tx) => {
        await tx
          .updateTable('provider_keys')
          .set({
            auth_failed_at: isOut ? at : null,
            last_test: JSON.stringify({ keyId, ...result, testedAt: at.toISOString() }),
          })
          .where('workspace_id', '=', workspaceId)
          .where('id', '=', keyId)
          .where('version', '=', version)
          .execute();
        await sql`update epoch set value = value + 1`.execute(tx);
      });
      if (isOut) log.error('key.auth-failed', { workspaceId, keyId, userId, provider, status });
      else log.info('key.auth-recovered', { workspaceId, keyId, userId, provider });
      await onMoved();
    };
  return Object.freeze({ takeOut: mark('key.auth_failed'), putBack: mark('key.auth_recovered') });
}
