import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { dataKeyContext, payloadContext } from './context.ts';
import { createExitCheck, type ExitCheckDeps, type Place } from './exit-check.ts';
import { hpkeOverhead, type Hpke, type HpkeKeyPair } from './hpke.ts';
import { type CacheCounts, createKeyCache } from './key-cache.ts';
import { copySecret, readPayload, type Payload } from './payload.ts';
import {
  deriveRecordKey,
  kinds,
  openRecord,
  openWithRecordKey,
  recordOverhead,
  VaultError,
  type RecordKey,
} from './record.ts';
import { sealContextOf, sealHpke, sealPairOf } from './seal-pair.ts';
import { maxSecretBytes } from './secret-bytes.ts';
import type { WorkspaceKeyHandle } from './workspace-keys.ts';

/** A version of a provider key as the database holds it. */
export interface SealedKey {
  readonly workspaceId: string;
  readonly keyId: string;
  readonly version: number;
  readonly provider: string;
  readonly protection: 'standard' | 'sealed';
  /** The seal that the payload was sealed to, and its row's public key (32 bytes); null for `standard`. */
  readonly sealId: string | null;
  readonly sealPublicKey: Buffer | null;
  readonly workspaceKeyVersion: number;
  /** Kind 2. */
  readonly wrap: Buffer;
  /** Kind 3. */
  readonly payload: Buffer;
  /** `bearer`, `header:NAME` or `none`; what it says is believed only where the payload says the same. */
  readonly auth: string;
}

/** For one call, within 300 s; nothing of the payload is open. */
export interface PreparedKey {
  /** No secret of this key is longer. */
  readonly maxBytes: number;
  /**
   * Opens the payload and writes the secret to `into`, which the caller wipes. Synchronous: one AES-GCM, and for a sealed key one HPKE.
   *
   * @returns bytes written, each 0x21–0x7E, at most 8192.
   * @throws {SallyportError} KEY_ORIGIN, KEY_INVALID; VAULT_SEALED after 300 s or `wipe`. `into` is then as if nothing had been written.
   */
  openInto(into: Buffer, offset: number, place: Place): number;
  /** For `auth` `none`: the origin is one that the owner named. @throws {SallyportError} as `openInto`. */
  checkOrigin(origin: string): void;
  /** At the call's end: lets go of what a seal's secret was turned into. It opens nothing from then on. */
  wipe(): void;
}

/** A record key is reused for 240 s and dead after 300, so that each prepared key has a minute for its call. */
const [reuseMs, hardMs, limit] = [240_000, 300_000, 10_000];

/** The one place that opens provider keys: into what the injector sends (handed on by gateway/credential.ts), or to be sealed anew. */
export function createOpener(deps: {
  readonly deploymentId: string;
  readonly workspaceKey: (workspaceId: string, version: number) => Promise<WorkspaceKeyHandle>;
  readonly knownOrigins: ExitCheckDeps['knownOrigins'];
  readonly isAdministrative?: ExitCheckDeps['isAdministrative'];
  readonly clock: () => number;
  readonly alarm: (code: string, place: { readonly workspaceId: string; readonly keyId: string }) => void;
  /** All default to the real ones; arguments so that a test can look at the memory they hand out. */
  readonly openDataKey?: typeof openRecord;
  readonly openPayload?: typeof openWithRecordKey;
  readonly unseal?: Hpke['open'];
}) {
  const { deploymentId, workspaceKey, clock, alarm } = deps;
  const { openDataKey = openRecord, openPayload = openWithRecordKey, unseal = sealHpke.open } = deps;
  const exit = createExitCheck(deps);
  const recordKeys = createKeyCache<{
    readonly wrap: Buffer;
    readonly recordKey: RecordKey;
    readonly madeAt: number;
  }>({
    limit,
    maxAgeMs: reuseMs,
    clock,
  });

  // Rows are not changed but read anew, so each has one context for as long as it is cached by whoever read it.
  const contexts = new WeakMap<SealedKey, Buffer>();
  const contextOf = (row: SealedKey): Buffer => {
    const known = contexts.get(row);
    if (known !== undefined) return known;
    const context = payloadContext({ deploymentId, ...row });
    contexts.set(row, context);
    return context;
  };

  /**
   * Where what stands in a payload, for rows that were opened before: what opens again is, by its tag, what was read then (1 to 2 µs of the 11 that an
   * opening takes). Offsets, origins and a header's name; nothing of the secret.
   */
  const payloads = new WeakMap<SealedKey, Payload>();
  const payloadOf = (row: SealedKey, bytes: Buffer): Payload => {
    const known = payloads.get(row);
    if (known !== undefined) return known;
    const read = readPayload(bytes);
    payloads.set(row, read);
    return read;
  };

  function guarded<T>(row: SealedKey, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof VaultError)) throw error;
      // One generic code outside: which of the three it was helps only who tampers.
      alarm(error.code, { workspaceId: row.workspaceId, keyId: row.keyId });
      throw new SallyportError('KEY_INVALID', 'The stored key does not open.');
    }
  }

  async function recordKeyOf(
    row: SealedKey,
  ): Promise<{ readonly recordKey: RecordKey; readonly madeAt: number }> {
    const id = `${row.workspaceId}\n${row.keyId}\n${row.version}`;
    const known = recordKeys.get(id);
    if (known?.wrap.equals(row.wrap) && known.recordKey.isFor(row.payload)) return known;
    const handle = await workspaceKey(row.workspaceId, row.workspaceKeyVersion);
    const fresh = guarded(row, () => {
      const dataKey = openDataKey(
        handle.key,
        kinds.dataKey,
        dataKeyContext({ deploymentId, ...row }),
        row.wrap,
      );
      try {
        return {
          wrap: row.wrap,
          recordKey: deriveRecordKey(dataKey, kinds.payload, row.payload),
          madeAt: clock(),
        };
      } finally {
        wipe(dataKey);
      }
    });
    recordKeys.set(id, fresh);
    return fresh;
  }

  /** The payload, the caller's to wipe. @param pair  null for a standard key. */
  function openBytes(row: SealedKey, recordKey: RecordKey, pair: HpkeKeyPair | null): Buffer {
    const bytes = guarded(row, () => openPayload(recordKey, contextOf(row), row.payload));
    if (pair === null) return bytes;
    try {
      const inner = unseal(pair, sealContextOf(row), bytes);
      if (inner !== null) return inner;
      // No alarm: a client made it, and would have one for the asking.
      throw new SallyportError('KEY_INVALID', 'The stored key does not open with its seal.');
    } finally {
      wipe(bytes);
    }
  }

  const pairOf = (row: SealedKey, seal: Uint8Array | null): HpkeKeyPair | null =>
    row.protection === 'standard' ? null : sealPairOf(seal, row);

  async function prepare(row: SealedKey, seal: Uint8Array | null = null): Promise<PreparedKey> {
    const isSealed = row.protection === 'sealed';
    // The pair is made before anything is waited for, so that the caller's bytes are not needed any more.
    let pair = pairOf(row, seal);
    let isOver = false;
    const { recordKey, madeAt } = await recordKeyOf(row);

    function withPayload<T>(use: (payload: Payload, bytes: Buffer) => T): T {
      if (isOver || Math.abs(clock() - madeAt) >= hardMs)
        throw new SallyportError('VAULT_SEALED', 'The call waited too long, or is over.');
      let bytes: Buffer | null = null;
      try {
        bytes = openBytes(row, recordKey, pair);
        return use(payloadOf(row, bytes), bytes);
      } finally {
        wipe(bytes);
      }
    }

    return Object.freeze({
      maxBytes: Math.min(maxSecretBytes, row.payload.length - recordOverhead - (isSealed ? hpkeOverhead : 0)),
      openInto: (into: Buffer, offset: number, place: Place): number =>
        withPayload((payload, bytes) => {
          exit.checkHeader(payload.secret === null ? null : payload.header, place);
          exit.checkOrigin(row.provider, payload.origins, place.origin);
          const length = payload.secret === null ? 0 : copySecret(bytes, payload.secret, into, offset);
          exit.checkSecret(row.provider, into.subarray(offset, offset + length));
          return length;
        }),
      checkOrigin: (origin: string): void =>
        withPayload((payload) => {
          if (payload.type !== 'none')
            throw new SallyportError('KEY_INVALID', 'The key was stored with a credential.');
          exit.checkOrigin(row.provider, payload.origins, origin);
        }),
      wipe(): void {
        isOver = true;
        pair = null;
      },
    });
  }

  return Object.freeze({
    prepare,
    /** Does the wrap open? For a look over all rows, seals or not; no payload is opened. @throws {SallyportError} as `prepare`. */
    async checkWrap(row: SealedKey): Promise<void> {
      await recordKeyOf(row);
    },
    /**
     * Hands the whole payload of a sealed key to `use`, and wipes it: for sealing it anew.
     *
     * @throws {SallyportError} SEAL_WRONG; KEY_INVALID: it does not open, or is no payload.
     */
    async withSealedPayload<T>(row: SealedKey, seal: Uint8Array, use: (payload: Buffer) => T): Promise<T> {
      if (row.protection !== 'sealed') throw new SallyportError('REQUEST_INVALID', 'The key is not sealed.');
      const pair = pairOf(row, seal);
      const { recordKey } = await recordKeyOf(row);
      const bytes = openBytes(row, recordKey, pair);
      try {
        readPayload(bytes);
        return use(bytes);
      } finally {
        wipe(bytes);
      }
    },
    forget: (workspaceId: string): void => recordKeys.deleteWhere((id) => id.startsWith(`${workspaceId}\n`)),
    counts: (): CacheCounts => recordKeys.counts,
    sweep: (): void => recordKeys.sweep(),
    close: (): void => recordKeys.clear(),
  });
}
