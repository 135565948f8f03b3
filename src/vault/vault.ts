import type { Store, Tx } from '../db/store.ts';
import { openDeployment } from './deployment.ts';
import { createIpHash } from './ip-hash.ts';
import type { KekRing } from './keyring.ts';
import { isSameMac, macOf, type MacField } from './mac.ts';
import { createOpener, type PreparedKey, type SealedKey } from './open.ts';
import { sealSecret, type SealedSecret, type SecretToSeal } from './seal-secret.ts';
import { runSelfTest } from './self-test.ts';
import { subkey } from './subkey.ts';
import { createWorkspaceKeys, type SealedWorkspaceKey, type WorkspaceKeyHandle } from './workspace-keys.ts';

export type { PreparedKey, SealedKey, SecretToSeal };

/** What did not open although it should have: somebody changed the database, or restored a part of it. */
export interface VaultAlarm {
  readonly code: string;
  readonly workspaceId: string;
  readonly keyId: string | null;
}

/**
 * Custody of keys. Everything that a call needs works from sealed rows with the database gone, once they were read or primed.
 * Errors are SallyportErrors: KEY_INVALID (does not open; an alarm tells the operator), VAULT_SEALED (database or root key out of reach).
 */
export interface Vault {
  readonly deploymentId: string;
  /** Makes version 1, sealed under the active root key; usable at once, also inside `tx`. */
  createWorkspaceKey(tx: Tx, workspaceId: string): Promise<void>;
  /**
   * Cached, at most 300 s. Whoever is about to open a transaction and then needs verifiers or MACs in it asks for this before:
   * a first reading takes a connection of its own.
   */
  workspaceKey(workspaceId: string, version?: number): Promise<WorkspaceKeyHandle>;
  prime(rows: readonly SealedWorkspaceKey[]): void;
  sealSecret(tx: Tx, input: SecretToSeal): Promise<SealedSecret>;
  prepare(row: SealedKey): Promise<PreparedKey>;
  /** HMAC-SHA256 over kind, workspace, prefix and secret. */
  verifierOf(workspaceId: string, tokenPrefix: string, kind: string, secret: string): Promise<Buffer>;
  checkVerifier(
    workspaceId: string,
    tokenPrefix: string,
    kind: string,
    secret: string,
    verifier: Uint8Array,
  ): Promise<boolean>;
  /** HMAC-SHA256 over the table's name and the fields (row-macs.ts). */
  rowMac(workspaceId: string, table: string, fields: readonly MacField[]): Promise<Buffer>;
  checkRowMac(
    workspaceId: string,
    table: string,
    fields: readonly MacField[],
    mac: Uint8Array,
  ): Promise<boolean>;
  /** 32 hex digits for the journal; the same address gives the same ones in this deployment only. */
  hashIp(ip: string): string;
  /** Drops everything cached of a workspace: it was deleted, or its keys were sealed anew. */
  forget(workspaceId: string): void;
  /** Rejects while the ring opens nothing: a key service out of reach, a vault that was closed. */
  check(): Promise<void>;
  close(): void;
}

/** Verifiers, MACs and fingerprints are of version 1 for good, as their rows do not say a version. */
const firstVersion = 1;
const sweepMs = 30_000;

/** @throws {SallyportError} CONFIG_INVALID: the self-test fails, or ring and database do not belong together. */
export async function createVault(deps: {
  readonly store: Pick<Store, 'asWorkspace' | 'asSystem'>;
  /** Stays the caller's to close. */
  readonly ring: KekRing;
  readonly clock: () => number;
  /** The one origin of a known provider, canonical or set by the operator; null for a custom one. */
  readonly knownOrigins: (provider: string) => string | null;
  readonly alarm?: (alarm: VaultAlarm) => void;
}): Promise<Vault> {
  const { store, ring, clock, knownOrigins } = deps;
  runSelfTest();
  const { id: deploymentId, key, check } = await openDeployment({ store, ring, clock });
  const hashIp = createIpHash(subkey(key, 'client-ip'));
  const alarm = (code: string, place: { readonly workspaceId: string; readonly keyId?: string }): void =>
    deps.alarm?.({ code, workspaceId: place.workspaceId, keyId: place.keyId ?? null });

  const workspaceKeys = createWorkspaceKeys({ store, ring, deploymentId, clock, alarm });
  const opener = createOpener({
    deploymentId,
    workspaceKey: (workspaceId, version) => workspaceKeys.open(workspaceId, version),
    knownOrigins,
    clock,
    alarm,
  });
  // A hard age holds for what nobody asks for too.
  const sweeper = setInterval(() => {
    workspaceKeys.sweep();
    opener.sweep();
  }, sweepMs).unref();

  async function verifierOf(
    workspaceId: string,
    tokenPrefix: string,
    kind: string,
    secret: string,
  ): Promise<Buffer> {
    const { verifier } = await workspaceKeys.open(workspaceId, firstVersion);
    return macOf(verifier, [kind, workspaceId, tokenPrefix, secret]);
  }

  async function rowMac(workspaceId: string, table: string, fields: readonly MacField[]): Promise<Buffer> {
    const { rowMac } = await workspaceKeys.open(workspaceId, firstVersion);
    return macOf(rowMac, [workspaceId, table, ...fields]);
  }

  return Object.freeze<Vault>({
    deploymentId,
    createWorkspaceKey: (tx, workspaceId) => workspaceKeys.create(tx, workspaceId),
    workspaceKey: (workspaceId, version) => workspaceKeys.open(workspaceId, version),
    prime: (rows) => workspaceKeys.prime(rows),
    async sealSecret(tx, input) {
      const newest = await workspaceKeys.open(input.workspaceId, undefined, tx);
      const first = await workspaceKeys.open(input.workspaceId, firstVersion, tx);
      return sealSecret({ deploymentId, knownOrigins, clock }, newest, first.fingerprint, input);
    },
    prepare: (row) => opener.prepare(row),
    verifierOf,
    checkVerifier: async (workspaceId, tokenPrefix, kind, secret, verifier) =>
      isSameMac(await verifierOf(workspaceId, tokenPrefix, kind, secret), verifier),
    rowMac,
    checkRowMac: async (workspaceId, table, fields, mac) =>
      isSameMac(await rowMac(workspaceId, table, fields), mac),
    hashIp,
    forget(workspaceId) {
      workspaceKeys.forget(workspaceId);
      opener.forget(workspaceId);
    },
    check,
    close() {
      clearInterval(sweeper);
      workspaceKeys.close();
      opener.close();
    },
  });
}
