import { createHash } from 'node:crypto';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import type { Caller } from './caller.ts';
import { violates } from './violation.ts';

/** One creating request that may come twice: the client's key and what it asked for. */
export interface Once {
  /** `Idempotency-Key`, 1 to 255 printable characters. */
  readonly key: string;
  readonly digest: Buffer;
}

const keptMs = 24 * 3600 * 1000;

/**
 * @param what names the kind of resource, so that one key cannot answer for two.
 * @param body without any secret: an unkeyed hash of one would let a reader of the database test guesses.
 */
export function onceOf(key: string | null, what: string, body: unknown): Once | null {
  if (key === null) return null;
  if (!/^[\x20-\x7e]{1,255}$/.test(key)) {
    throw new SallyportError('REQUEST_INVALID', 'Idempotency-Key has to be 1 to 255 printable characters.');
  }
  return {
    key,
    digest: createHash('sha256')
      .update(`${what}\n${sorted(body)}`)
      .digest(),
  };
}

/**
 * Creates, or finds what the same request created within the last day.
 *
 * @param create inserts the resource and calls `remember` in the same transaction.
 * @throws {SallyportError} CONFLICT: the key came before with another body.
 */
export async function createOnce<T>(
  store: Pick<Store, 'asWorkspace'>,
  caller: Caller,
  once: Once | null,
  now: number,
  steps: {
    create: (remember: (tx: Tx, resourceId: string) => Promise<void>) => Promise<T>;
    replay: (resourceId: string) => Promise<T>;
  },
): Promise<T> {
  if (once === null) return steps.create(() => Promise.resolve());
  const earlier = await find(store, caller, once, now);
  if (earlier !== null) return steps.replay(earlier);
  try {
    return await steps.create((tx, resourceId) => remember(tx, caller, once, now, resourceId));
  } catch (error) {
    if (!violates(error, 'idempotency_keys')) throw error;
    // Two of the same at once: the other one won.
    const winner = await find(store, caller, once, now);
    if (winner === null) throw error;
    return steps.replay(winner);
  }
}

async function find(
  store: Pick<Store, 'asWorkspace'>,
  caller: Caller,
  once: Once,
  now: number,
): Promise<string | null> {
  const row = await store.asWorkspace(caller.workspaceId, (tx) =>
    tx
      .selectFrom('idempotency_keys')
      .select(['digest', 'resource_id'])
      .where('caller_id', '=', caller.id)
      .where('key', '=', once.key)
      .where('created_at', '>', new Date(now - keptMs))
      .executeTakeFirst(),
  );
  if (row === undefined) return null;
  if (!row.digest.equals(once.digest)) {
    throw new SallyportError('CONFLICT', 'This Idempotency-Key came before with another request.', {
      fix: 'Use a new Idempotency-Key for each new request.',
    });
  }
  return row.resource_id;
}

async function remember(tx: Tx, caller: Caller, once: Once, now: number, resourceId: string): Promise<void> {
  await tx
    .deleteFrom('idempotency_keys')
    .where('caller_id', '=', caller.id)
    .where('created_at', '<=', new Date(now - keptMs))
    .execute();
  await tx
    .insertInto('idempotency_keys')
    .values({
      workspace_id: caller.workspaceId,
      caller_id: caller.id,
      key: once.key,
      digest: once.digest,
      resource_id: resourceId,
      created_at: new Date(now),
    })
    .execute();
}

/** Of everybody: who never asks again would have his kept. Their keys are texts of his. */
export async function forgetOldRequests(store: Pick<Store, 'asSystem'>, now: number): Promise<void> {
  await store.asSystem((tx) =>
    tx
      .deleteFrom('idempotency_keys')
      .where('created_at', '<=', new Date(now - keptMs))
      .execute(),
  );
}

/** JSON with its members in order: the same request, however its client writes it. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_name, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}
