import { SallyportError } from '../errors.ts';
import type { Store, Tx } from '../db/store.ts';
import type { Journal } from '../journal/journal.ts';
import { type Act, type ActFields, mostNamed } from './acts.ts';
import type { Caller } from './caller.ts';
import { shred } from './key-row.ts';
import type { KeyRow } from './key-view.ts';
import { isDeadlock } from './violation.ts';

/** Which stored keys go: all of the caller's workspace, or those of one user. */
export interface ShredScope {
  readonly userId: string | null;
  /** Managed keys are the workspace's: they stay when their user stores nothing any more, and go when he does. */
  readonly withManaged: boolean;
}

export interface ShredSteps {
  /** Refuses by throwing, or not, before anything is done. */
  readonly confirm: (count: number) => void;
  /** In the transaction, before the keys go: locks what keeps others from storing keys in the scope. */
  readonly work: (tx: Tx) => Promise<void>;
  /** In the transaction, when they are gone. */
  readonly after?: (tx: Tx) => Promise<void>;
}

export interface Shredded {
  readonly keyIds: readonly string[];
  /** Of the act. */
  readonly receipt: string;
}

export interface ShredDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly journal: Pick<Journal, 'append'>;
}

type Doomed = Pick<KeyRow, 'id' | 'user_id' | 'provider' | 'version'>;

const mostTries = 5;
const recordsAtOnce = 500;

/** Deletes many keys as a part of another act, and leaves a record of each. */
export function createKeyShred({ store, act, journal }: ShredDeps) {
  return Object.freeze({
    /** Ids of what would go, the oldest first. */
    async list(caller: Caller, scope: ShredScope): Promise<readonly string[]> {
      return (await read(caller, scope)).map(({ id }) => id);
    },

    /**
     * One act: `work` in its transaction, and with it every key of the scope. The intent names the keys, so that also after a crash the
     * journal says which went; then each has a record of its own, which its owner finds under his key.
     *
     * @throws {SallyportError} CONFLICT: keys came all the time; what the steps throw.
     */
    async during(
      caller: Caller,
      event: string,
      fields: ActFields,
      scope: ShredScope,
      { work, confirm, after }: ShredSteps,
    ): Promise<Shredded> {
      const crowded = new SallyportError('CONFLICT', 'Keys are being stored at this very moment.', {
        fix: 'Repeat the request.',
      });
      for (let attempt = 0; attempt < mostTries; attempt += 1) {
        const doomed = await read(caller, scope);
        confirm(doomed.length);
        const keyIds = doomed.map(({ id }) => id);
        const named = new Set(keyIds);
        const told = { ...fields, keyCount: keyIds.length, keyIds: keyIds.slice(0, mostNamed) };
        const done = await act(caller, event, told, async (tx) => {
          // In this order, as edits of one key do: its row, then its workspace's and user's.
          await select(tx, caller, scope).forUpdate().execute();
          await work(tx);
          const now = await select(tx, caller, scope).execute();
          // What came since would go without having been named.
          if (now.some(({ id }) => !named.has(id))) throw crowded;
          await shred(
            tx,
            caller.workspaceId,
            now.map(({ id }) => id),
          );
          await after?.(tx);
          return now;
        }).catch((error: unknown) => {
          // What says something of a user stands in seven tables, and others write them in an order of their own.
          if (error === crowded || isDeadlock(error)) return null;
          throw error;
        });
        if (done === null) continue;
        await record(caller, done.value, done.receipt);
        return { keyIds: done.value.map(({ id }) => id), receipt: done.receipt };
      }
      throw crowded;
    },
  });

  function read(caller: Caller, scope: ShredScope): Promise<readonly Doomed[]> {
    return store.asWorkspace(caller.workspaceId, (tx) => select(tx, caller, scope).execute());
  }

  /** It is done already: were the journal's refusal told as an error, the caller would do it twice. The intent has the ids. */
  async function record(caller: Caller, gone: readonly Doomed[], receipt: string): Promise<void> {
    const actor = { type: caller.type, id: caller.id };
    // So many at once: the journal's queue is bounded, and what does not fit into it is refused.
    for (let at = 0; at < gone.length; at += recordsAtOnce) {
      await Promise.allSettled(
        gone.slice(at, at + recordsAtOnce).map(({ id, user_id, provider, version }) =>
          journal.append('key.shred', {
            workspaceId: caller.workspaceId,
            actor,
            keyId: id,
            userId: user_id,
            provider,
            version,
            act: receipt,
          }),
        ),
      );
    }
  }
}

export type KeyShred = ReturnType<typeof createKeyShred>;

function select(tx: Tx, caller: Caller, { userId, withManaged }: ShredScope) {
  let query = tx
    .selectFrom('provider_keys')
    .select(['id', 'user_id', 'provider', 'version'])
    .where('workspace_id', '=', caller.workspaceId)
    .orderBy('id');
  if (userId !== null) query = query.where('user_id', '=', userId);
  if (!withManaged) query = query.where('source', '=', 'own');
  return query;
}
