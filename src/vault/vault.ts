import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { openDeployment } from './deployment.ts';
import { type AddressOwner, type ClientMarks, createClientMarks } from './client-marks.ts';
import { createExitCheck, type ExitCheckDeps } from './exit-check.ts';
import { prepareGiven, type GivenKey } from './given-key.ts';
import { createIntakeKeys, type IntakeKey, type IntakePlace } from './intake-key.ts';
import type { CacheCounts } from './key-cache.ts';
import type { KekRing } from './keyring.ts';
import { isSameMac, macOf, type MacField } from './mac.ts';
import { createOpener, type PreparedKey, type SealedKey } from './open.ts';
import { sealPublicKeyOf } from './seal-pair.ts';
import {
  fingerprint,
  resealPayload,
  sealClientPayload,
  sealSecret,
  type ClientPayload,
  type SealedSecret,
  type SealedVersion,
  type SealTarget,
  type SecretToSeal,
} from './seal-secret.ts';
import { runSelfTest } from './self-test.ts';
import { createSigningKeys, type SigningKeys } from './signing-key.ts';
import { subkey } from './subkey.ts';
import { type SignedMessage, webhookSecretText, webhookSignature } from './webhook-secret.ts';
import { createWorkspaceKeys, type SealedWorkspaceKey, type WorkspaceKeyHandle } from './workspace-keys.ts';

export type {
  AddressOwner,
  ClientMarks,
  ClientPayload,
  GivenKey,
  IntakeKey,
  PreparedKey,
  SealedKey,
  SealedVersion,
  SecretToSeal,
};

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
  /** Ahead of the transaction that stores it with `createWorkspaceKey`: a key service may be asked. `forget` drops it. @throws {SallyportError} VAULT_SEALED */
  makeWorkspaceKey(workspaceId: string): Promise<void>;
  /** Makes version 1, sealed under the active root key; usable at once, also inside `tx`. */
  createWorkspaceKey(tx: Tx, workspaceId: string): Promise<void>;
  /**
   * Cached, at most 300 s. Whoever is about to open a transaction and then needs verifiers or MACs in it asks for this before:
   * a first reading takes a connection of its own.
   */
  workspaceKey(workspaceId: string, version?: number): Promise<WorkspaceKeyHandle>;
  prime(rows: readonly SealedWorkspaceKey[]): void;
  /** Today's; clients seal a provider key to it on its way here (`sallyport/v1/intake`). */
  intakeKey(): Promise<IntakeKey>;
  /** @returns the provider key, checked; the caller's to wipe. @throws {SallyportError} REQUEST_INVALID, KEY_FORMAT, VAULT_SEALED */
  openIntake(sealedValue: string, place: IntakePlace): Promise<Buffer>;
  sealSecret(tx: Tx, input: SecretToSeal): Promise<SealedSecret>;
  /** A payload that a client sealed to its seal; nothing but its size can be looked at. */
  sealClientPayload(tx: Tx, input: ClientPayload): Promise<SealedSecret>;
  /**
   * The same payload for another seal, as version `next.version`. Both secrets are needed, and stay the caller's to wipe.
   *
   * @throws {SallyportError} SEAL_WRONG (either of them), KEY_INVALID.
   */
  reseal(
    tx: Tx,
    row: SealedKey,
    oldSeal: Uint8Array,
    next: { readonly version: number },
    seal: SealTarget & { readonly secret: Uint8Array },
  ): Promise<SealedVersion>;
  /** The public key that clients derive from a seal's secret of 32 bytes. */
  sealPublicKeyOf(ikm: Uint8Array): Buffer;
  /**
   * @param seal  the seal's secret, 32 bytes; used before anything is waited for, and the caller's to wipe.
   * @throws {SallyportError} SEAL_REQUIRED, SEAL_WRONG (before anything is opened), KEY_INVALID, VAULT_SEALED
   */
  prepare(row: SealedKey, seal?: Uint8Array | null): Promise<PreparedKey>;
  /** A key that came with the call. `fingerprint`: as of a stored one. @throws {SallyportError} KEY_FORMAT, KEY_INVALID, VAULT_SEALED */
  prepareGiven(input: GivenKey): Promise<PreparedKey & { readonly fingerprint: string }>;
  /** Does the wrap of the row open? Asks for no seal and opens no payload. @throws {SallyportError} KEY_INVALID, VAULT_SEALED */
  checkWrap(row: SealedKey): Promise<void>;
  /** 16 hex digits: equal secrets of a workspace have equal ones. */
  fingerprintOf(workspaceId: string, secret: Uint8Array): Promise<string>;
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
  /** The secret that a webhook's receiver checks messages with: `whsec_…`, to be shown once. */
  webhookSecret(workspaceId: string, webhookId: string): Promise<string>;
  /** `v1,` and base64, for the header `webhook-signature`. */
  signWebhook(workspaceId: string, webhookId: string, message: SignedMessage): Promise<string>;
  /** What signs checkpoints of the journal. */
  readonly signingKeys: Pick<SigningKeys, 'active' | 'make' | 'keep' | 'list'>;
  /** For the journal, in place of the address. */
  markClient(ip: string, owner: AddressOwner): ClientMarks;
  /** Drops everything cached of a workspace: it was deleted, or its keys were sealed anew. */
  forget(workspaceId: string): void;
  /** `cached`: the key service has been away for less than the 300 s that opened keys live. Rejects while the ring opens nothing. */
  check(): Promise<'open' | 'cached'>;
  /** Of what is kept open, to be used again. */
  cacheCounts(): { readonly workspace_keys: CacheCounts; readonly data_keys: CacheCounts };
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
  readonly knownOrigins: ExitCheckDeps['knownOrigins'];
  /** Keys with administrative power, which are kept but never sent; none when left out. */
  readonly isAdministrative?: ExitCheckDeps['isAdministrative'];
  readonly alarm?: (alarm: VaultAlarm) => void;
}): Promise<Vault> {
  const { store, ring, clock, knownOrigins, isAdministrative } = deps;
  runSelfTest();
  const { id: deploymentId, key, check } = await openDeployment({ store, ring, clock });
  const markClient = createClientMarks({
    address: subkey(key, 'client-ip'),
    network: subkey(key, 'client-network'),
    clock,
  });
  const alarm = (code: string, place: { readonly workspaceId: string; readonly keyId?: string }): void =>
    deps.alarm?.({ code, workspaceId: place.workspaceId, keyId: place.keyId ?? null });

  const workspaceKeys = createWorkspaceKeys({ store, ring, deploymentId, clock, alarm });
  const opener = createOpener({
    deploymentId,
    workspaceKey: (workspaceId, version) => workspaceKeys.open(workspaceId, version),
    knownOrigins,
    isAdministrative,
    clock,
    alarm,
  });
  const exit = createExitCheck({ knownOrigins, isAdministrative });
  const intakeKeys = createIntakeKeys({ store, ring, deploymentId, clock, alarm });
  const signingKeys = createSigningKeys({ store, ring, deploymentId, clock, alarm });
  // A hard age holds for what nobody asks for too.
  const sweeper = setInterval(() => {
    workspaceKeys.sweep();
    opener.sweep();
    intakeKeys.sweep();
    signingKeys.sweep();
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

  async function fingerprintOf(workspaceId: string, secret: Uint8Array): Promise<string> {
    return fingerprint((await workspaceKeys.open(workspaceId, firstVersion)).fingerprint, secret);
  }

  return Object.freeze<Vault>({
    deploymentId,
    makeWorkspaceKey: (workspaceId) => workspaceKeys.make(workspaceId),
    createWorkspaceKey: (tx, workspaceId) => workspaceKeys.create(tx, workspaceId),
    workspaceKey: (workspaceId, version) => workspaceKeys.open(workspaceId, version),
    prime: (rows) => workspaceKeys.prime(rows),
    async sealSecret(tx, input) {
      const newest = await workspaceKeys.open(input.workspaceId, undefined, tx);
      const first = await workspaceKeys.open(input.workspaceId, firstVersion, tx);
      return sealSecret({ deploymentId, knownOrigins, clock }, newest, first.fingerprint, input);
    },
    intakeKey: () => intakeKeys.current(),
    openIntake: (sealedValue, place) => intakeKeys.open(sealedValue, place),
    async sealClientPayload(tx, input) {
      const newest = await workspaceKeys.open(input.workspaceId, undefined, tx);
      return sealClientPayload(deploymentId, newest, input);
    },
    async reseal(tx, row, oldSeal, { version }, seal) {
      if (!isSameMac(sealPublicKeyOf(seal.secret), seal.publicKey))
        throw new SallyportError('SEAL_WRONG', 'The new seal’s secret is not the one of its public key.');
      const newest = await workspaceKeys.open(row.workspaceId, undefined, tx);
      return opener.withSealedPayload(row, oldSeal, (payload) =>
        resealPayload(deploymentId, newest, { ...row, version }, seal, payload),
      );
    },
    sealPublicKeyOf,
    prepare: (row, seal) => opener.prepare(row, seal),
    async prepareGiven(input) {
      const prepared = prepareGiven(exit, input);
      return Object.freeze({
        ...prepared,
        fingerprint: await fingerprintOf(input.workspaceId, input.secret),
      });
    },
    checkWrap: (row) => opener.checkWrap(row),
    fingerprintOf,
    verifierOf,
    checkVerifier: async (workspaceId, tokenPrefix, kind, secret, verifier) =>
      isSameMac(await verifierOf(workspaceId, tokenPrefix, kind, secret), verifier),
    rowMac,
    checkRowMac: async (workspaceId, table, fields, mac) =>
      isSameMac(await rowMac(workspaceId, table, fields), mac),
    async webhookSecret(workspaceId, webhookId) {
      return webhookSecretText((await workspaceKeys.open(workspaceId, firstVersion)).key, webhookId);
    },
    async signWebhook(workspaceId, webhookId, message) {
      return webhookSignature((await workspaceKeys.open(workspaceId, firstVersion)).key, webhookId, message);
    },
    signingKeys,
    markClient,
    forget(workspaceId) {
      workspaceKeys.forget(workspaceId);
      opener.forget(workspaceId);
    },
    check,
    cacheCounts: () => ({ workspace_keys: workspaceKeys.counts(), data_keys: opener.counts() }),
    close() {
      clearInterval(sweeper);
      workspaceKeys.close();
      opener.close();
      intakeKeys.close();
      signingKeys.close();
    },
  });
}
