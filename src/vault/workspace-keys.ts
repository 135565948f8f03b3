import { createSecretKey, randomFillSync, type KeyObject } from 'node:crypto';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { workspaceKeyContext } from './context.ts';
import { createKeyCache } from './key-cache.ts';
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
  sweep(): void;
  close(): void;
}

/** VAULT.md, "Memory". */
const limits = { opened: 1000, maxAgeMs: 300_000, sealedWorkspaces: 100_000 } as const;

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
    prime(await (tx === undefined ? store.asWorkspace(workspaceId, read) : read(tx)).catch(outOfReach));
    const found = isKnown();
    if (found === undefined) throw new SallyportError('KEY_INVALID', 'The workspace has no key any more.');
    return found;

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

  async function unwrap({
    workspaceId,
    version,
    rootKeyId,
    record,
  }: SealedWorkspaceKey): Promise<WorkspaceKeyHandle> {
    if (ring.get(rootKeyId) === null) {
      throw new SallyportError(
        'VAULT_SEALED',
        `The workspace key was sealed under root key ${rootKeyId}, which is not in the ring.`,
      );
    }
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
    } catch (error) {
      if (!(error instanceof VaultError))
        throw new SallyportError('VAULT_SEALED', 'The root key cannot be used now.', { cause: error });
      alarm(error.code, { workspaceId });
      throw new SallyportError('KEY_INVALID', 'The workspace key does not open.');
    } finally {
      wipe(bytes);
    }
  }

  async function openOnce(id: string, row: SealedWorkspaceKey): Promise<WorkspaceKeyHandle> {
    const before = forgotten;
    try {
      const handle = await unwrap(row);
      if (before === forgotten) opened.set(id, handle);
      return handle;
    } finally {
      opening.delete(id);
    }
  }

  return Object.freeze({
    async create(tx: Tx, workspaceId: string): Promise<void> {
      const rootKeyId = ring.active().id;
      const context = workspaceKeyContext({ deploymentId, workspaceId, version: 1, rootKeyId });
      const bytes = randomFillSync(secretBuffer(32));
      try {
        const record = await ring.wrap(rootKeyId, kinds.workspaceKey, context, bytes);
        const row = { workspace_id: workspaceId, version: 1, root_key_id: rootKeyId, record };
        await tx.insertInto('workspace_keys').values(row).execute();
        prime([{ workspaceId, version: 1, rootKeyId, record }]);
      } finally {
        wipe(bytes);
      }
    },
    async open(workspaceId: string, version?: number, tx?: Tx): Promise<WorkspaceKeyHandle> {
      const row = await find(workspaceId, version, tx);
      const id = `${workspaceId}\n${row.version}`;
      const known = opened.get(id);
      if (known !== undefined) return known;
      const pending = opening.get(id) ?? openOnce(id, row);
      // openOnce has deleted nothing yet: unwrapping is asynchronous with every ring.
      opening.set(id, pending);
      return pending;
    },
    prime,
    forget(workspaceId: string): void {
      forgotten += 1;
      sealed.deleteWhere((id) => id === workspaceId);
      opened.deleteWhere((id) => id.startsWith(`${workspaceId}\n`));
    },
    sweep: () => opened.sweep(),
    close(): void {
      forgotten += 1;
      sealed.clear();
      opened.clear();
    },
  });
}

function outOfReach(cause: unknown): never {
  throw new SallyportError('VAULT_SEALED', 'The workspace key cannot be read now.', {
    fix: 'The database is out of reach; try again shortly.',
    cause,
  });
}
