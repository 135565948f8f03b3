import { createSecretKey, randomFillSync, type KeyObject } from 'node:crypto';
import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { workspaceKeyContext } from './context.ts';
import { KekError } from './kek-provider.ts';
import { type CacheCounts, createKeyCache } from './key-cache.ts';
import type { KekRing } from './keyring.ts';
import { kinds, VaultError } from './record.ts';
import { subkey } from './subkey.ts';

/** A row of `workspace_keys`, as sealed: harmless without the ring, so it may be kept where the database cannot be reached. */
export interface SealedWorkspaceKey {
  readonly workspaceId: string;
  readonly version: number;
  readonly rootKeyId: string;
  /** Kind 1. */
  readonly record: Buffer;
}

/** An opened workspace key and what is derived from it. Not to be kept: the cache decides how long it lives. */
export interface WorkspaceKeyHandle {
  readonly workspaceId: string;
  readonly version: number;
  readonly key: KeyObject;
  readonly verifier: KeyObject;
  readonly rowMac: KeyObject;
  readonly fingerprint: KeyObject;
}

export interface WorkspaceKeys {
  /** Wraps version 1 ahead of `create`, which then asks no key service within its transaction. Kept until `create` or `forget`. */
  make(workspaceId: string): Promise<void>;
  /** Version 1, under the active root key. Usable at once, before the transaction ends. */
  create(tx: Tx, workspaceId: string): Promise<void>;
  /**
   * @param version  the newest when left out.
   * @param tx       where a row that is not known yet is read; a transaction of its own otherwise.
   * @throws {SallyportError} VAULT_SEALED: database or root key out of reach. KEY_INVALID: no such key, or it does not open.
   */
  open(workspaceId: string, version?: number, tx?: Tx): Promise<WorkspaceKeyHandle>;
  prime(rows: readonly SealedWorkspaceKey[]): void;
  forget(workspaceId: string): void;
  /** Of opened keys. */
  counts(): CacheCounts;
  sweep(): void;
  close(): void;
}

/** VAULT.md, "Memory". */
const limits = { opened: 1000, maxAgeMs: 300_000, sealedWorkspaces: 100_000 } as const;
/** How long a key service's no to one workspace is believed before it is asked again. */
const denied = { limit: 10_000, maxAgeMs: 5000 } as const;
/** Made ahead and never stored: a bound against callers that fail in between. */
const maxMade = 1000;

export function createWorkspaceKeys(deps: {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly ring: KekRing;
  readonly deploymentId: string;
  readonly clock: () => number;
  readonly alarm: (code: string, place: { readonly workspaceId: string }) => void;
}): WorkspaceKeys {
  const { store, ring, deploymentId, clock, alarm } = deps;
  const opened = createKeyCache<WorkspaceKeyHandle>({
    limit: limits.opened,
    maxAgeMs: limits.maxAgeMs,
    clock,
  });
  const sealed = createKeyCache<ReadonlyMap<number, SealedWorkspaceKey>>({
    limit: limits.sealedWorkspaces,
    maxAgeMs: Number.POSITIVE_INFINITY,
    clock,
  });
  const opening = new Map<string, Promise<WorkspaceKeyHandle>>();
  const refused = createKeyCache<SallyportError>({ ...denied, clock });
  const made = new Map<string, SealedWorkspaceKey>();
  // What was forgotten while it was being opened must not come back into the cache.
  let forgotten = 0;

  function prime(rows: readonly SealedWorkspaceKey[]): void {
    for (const row of rows)
      sealed.set(row.workspaceId, new Map(sealed.get(row.workspaceId)).set(row.version, row));
  }

  async function find(
    workspaceId: string,
    version: number | undefined,
    tx?: Tx,
  ): Promise<SealedWorkspaceKey> {
    const isKnown = (): SealedWorkspaceKey | undefined => {
      const versions = sealed.get(workspaceId);
      return versions?.get(version ?? Math.max(...versions.keys()));
    };
    const known = isKnown();
    if (known !== undefined) return known;
    await reread(workspaceId, tx);
    const found = isKnown();
    if (found === undefined) throw new SallyportError('KEY_INVALID', 'The workspace has no key any more.');
    return found;
  }

  async function reread(workspaceId: string, tx?: Tx): Promise<void> {
    prime(await (tx === undefined ? store.asWorkspace(workspaceId, read) : read(tx)).catch(outOfReach));

    async function read(tx: Tx): Promise<SealedWorkspaceKey[]> {
      const rows = await tx
        .selectFrom('workspace_keys')
        .selectAll()
        .where('workspace_id', '=', workspaceId)
        .execute();
      return rows.map((row) => ({
        workspaceId,
        version: row.version,
        rootKeyId: row.root_key_id,
        record: row.record,
      }));
    }
  }

  /** @throws {VaultError}, {KekError} */
  async function unwrap(row: SealedWorkspaceKey): Promise<WorkspaceKeyHandle> {
    const { workspaceId, version, rootKeyId, record } = row;
    const context = workspaceKeyContext({ deploymentId, workspaceId, version, rootKeyId });
    let bytes: Buffer | null = null;
    try {
      bytes = await ring.unwrap(rootKeyId, kinds.workspaceKey, context, record);
      if (bytes.length !== 32) throw new VaultError('VAULT_FORMAT', 'a workspace key has 32 bytes');
      return Object.freeze({
        workspaceId,
        version,
        key: createSecretKey(bytes),
        verifier: subkey(bytes, 'verifier'),
        rowMac: subkey(bytes, 'row-mac'),
        fingerprint: subkey(bytes, 'fingerprint'),
      });
    } finally {
      wipe(bytes);
    }
  }

  /**
   * Another node may have sealed the row anew and retired the root key that ours was under, so before a row is given up the database is
   * asked once.
   */
  async function unwrapNewest(row: SealedWorkspaceKey, tx?: Tx): Promise<WorkspaceKeyHandle> {
    try {
      return await unwrap(row);
    } catch (error) {
      if (!(error instanceof VaultError) && !(error instanceof KekError && error.code === 'wrong_key'))
        throw error;
      await reread(row.workspaceId, tx);
      const now = sealed.get(row.workspaceId)?.get(row.version);
      if (now === undefined || (now.rootKeyId === row.rootKeyId && now.record.equals(row.record)))
        throw error;
      return unwrap(now);
    }
  }

  async function openOnce(id: string, row: SealedWorkspaceKey, tx?: Tx): Promise<WorkspaceKeyHandle> {
    const before = forgotten;
    try {
      const handle = await unwrapNewest(row, tx);
      if (before === forgotten) opened.set(id, handle);
      return handle;
    } catch (error) {
      if (error instanceof SallyportError) throw error;
      if (error instanceof VaultError) {
        alarm(error.code, { workspaceId: row.workspaceId });
        throw new SallyportError('KEY_INVALID', 'The workspace key does not open.');
      }
      const failure = notNow(error);
      if (error instanceof KekError && !error.isWide) refused.set(id, failure);
      throw failure;
    } finally {
      opening.delete(id);
    }
  }

  async function wrapNew(workspaceId: string): Promise<SealedWorkspaceKey> {
    const rootKeyId = ring.active().id;
    const context = workspaceKeyContext({ deploymentId, workspaceId, version: 1, rootKeyId });
    const bytes = randomFillSync(secretBuffer(32));
    try {
      const record = await ring.wrap(rootKeyId, kinds.workspaceKey, context, bytes);
      return { workspaceId, version: 1, rootKeyId, record };
    } catch (error) {
      throw notNow(error);
    } finally {
      wipe(bytes);
    }
  }

  return Object.freeze({
    async make(workspaceId: string): Promise<void> {
      const row = await wrapNew(workspaceId);
      if (made.size >= maxMade) made.clear();
      made.set(workspaceId, row);
    },
    async create(tx: Tx, workspaceId: string): Promise<void> {
      const ahead = made.get(workspaceId);
      made.delete(workspaceId);
      // Whoever retires a root key counts its rows under a lock that waits for this one: either it has been promoted away by now, or ours will count.
      await sql`lock table workspace_keys in row exclusive mode`.execute(tx);
      let row = ahead ?? (await wrapNew(workspaceId));
      while (row.rootKeyId !== ring.active().id) row = await wrapNew(workspaceId);
      const { version, rootKeyId, record } = row;
      await tx
        .insertInto('workspace_keys')
        .values({ workspace_id: workspaceId, version, root_key_id: rootKeyId, record })
        .execute();
      prime([row]);
    },
    async open(workspaceId: string, version?: number, tx?: Tx): Promise<WorkspaceKeyHandle> {
      const row = await find(workspaceId, version, tx);
      const id = `${workspaceId}\n${row.version}`;
      const known = opened.get(id);
      if (known !== undefined) return known;
      const no = refused.get(id);
      if (no !== undefined) throw no;
      const pending = opening.get(id) ?? openOnce(id, row, tx);
      // openOnce has deleted nothing yet: unwrapping is asynchronous with every ring.
      opening.set(id, pending);
      return pending;
    },
    prime,
    forget(workspaceId: string): void {
      forgotten += 1;
      made.delete(workspaceId);
      sealed.deleteWhere((id) => id === workspaceId);
      refused.deleteWhere((id) => id.startsWith(`${workspaceId}\n`));
      opened.deleteWhere((id) => id.startsWith(`${workspaceId}\n`));
    },
    counts: () => opened.counts,
    sweep(): void {
      opened.sweep();
      refused.sweep();
    },
    close(): void {
      forgotten += 1;
      made.clear();
      refused.clear();
      sealed.clear();
      opened.clear();
    },
  });
}

/** The root key cannot be used: for whoever makes a call, only that it may be tried again, and when. */
function notNow(error: unknown): SallyportError {
  const ms =
    error instanceof KekError ? (error.retryAfterMs ?? (error.isWide ? 1000 : denied.maxAgeMs)) : 1000;
  return new SallyportError('VAULT_SEALED', 'The root key cannot be used now.', {
    retryAfter: Math.ceil(ms / 1000),
    cause: error,
  });
}

function outOfReach(cause: unknown): never {
  throw new SallyportError('VAULT_SEALED', 'The workspace key cannot be read now.', {
    fix: 'The database is out of reach; try again shortly.',
    cause,
  });
}
