import { SallyportError } from '../errors.ts';
import { wipe } from '../secret.ts';
import { dataKeyContext, payloadContext } from './context.ts';
import { isCredentialHeader } from './credential-header.ts';
import { createKeyCache } from './key-cache.ts';
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
import { isPrintable, maxSecretBytes } from './secret-bytes.ts';
import type { WorkspaceKeyHandle } from './workspace-keys.ts';

/** A version of a provider key as the database holds it. */
export interface SealedKey {
  readonly workspaceId: string;
  readonly keyId: string;
  readonly version: number;
  readonly provider: string;
  readonly protection: 'standard' | 'sealed';
  readonly workspaceKeyVersion: number;
  /** Kind 2. */
  readonly wrap: Buffer;
  /** Kind 3. */
  readonly payload: Buffer;
  /** `bearer`, `header:NAME` or `none`; what it says is believed only where the payload says the same. */
  readonly auth: string;
}

/** Where the secret is about to go: the socket's own origin and the header's lower-case name. */
export interface Place {
  readonly origin: string;
  readonly header: string;
}

/** For one call, within 300 s; nothing of the payload is open. */
export interface PreparedKey {
  /** No secret of this key is longer. */
  readonly maxBytes: number;
  /**
   * Opens the payload and writes the secret to `into`, which the caller wipes. Synchronous, one AES-GCM.
   *
   * @returns bytes written, each 0x21–0x7E, at most 8192.
   * @throws {SallyportError} KEY_ORIGIN, KEY_INVALID; VAULT_SEALED after 300 s. `into` is then as if nothing had been written.
   */
  openInto(into: Buffer, offset: number, place: Place): number;
  /** For `auth` `none`: the origin is one that the owner named. @throws {SallyportError} as `openInto`. */
  checkOrigin(origin: string): void;
}

/** A record key is reused for 240 s and dead after 300, so that each prepared key has a minute for its call. */
const [reuseMs, hardMs, limit] = [240_000, 300_000, 10_000];

/** The one place that opens provider keys; app.ts hands what it makes to the injector alone. */
export function createOpener(deps: {
  readonly deploymentId: string;
  readonly workspaceKey: (workspaceId: string, version: number) => Promise<WorkspaceKeyHandle>;
  /** The one origin of a known provider, canonical or set by the operator; null for a custom one. */
  readonly knownOrigins: (provider: string) => string | null;
  readonly clock: () => number;
  readonly alarm: (code: string, place: { readonly workspaceId: string; readonly keyId: string }) => void;
  /** Both default to record.ts; arguments so that a test can look at the memory they hand out. */
  readonly openDataKey?: typeof openRecord;
  readonly openPayload?: typeof openWithRecordKey;
}) {
  const { deploymentId, workspaceKey, knownOrigins, clock, alarm } = deps;
  const { openDataKey = openRecord, openPayload = openWithRecordKey } = deps;
  const recordKeys = createKeyCache<{
    readonly wrap: Buffer;
    readonly recordKey: RecordKey;
    readonly madeAt: number;
  }>({
    limit,
    maxAgeMs: reuseMs,
    clock,
  });

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

  async function prepare(row: SealedKey): Promise<PreparedKey> {
    if (row.protection !== 'standard')
      throw new SallyportError('SEAL_REQUIRED', 'The key opens only with its seal.');
    const { recordKey, madeAt } = await recordKeyOf(row);
    const context = payloadContext({ deploymentId, ...row });

    function withPayload<T>(use: (payload: Payload, bytes: Buffer) => T): T {
      if (Math.abs(clock() - madeAt) >= hardMs)
        throw new SallyportError('VAULT_SEALED', 'The call waited too long.');
      let bytes: Buffer | null = null;
      try {
        bytes = guarded(row, () => openPayload(recordKey, context, row.payload));
        return use(readPayload(bytes), bytes);
      } finally {
        wipe(bytes);
      }
    }

    function checkOrigins({ origins }: Payload, origin: string): void {
      const known = knownOrigins(row.provider);
      if (!origins.includes(origin) || (known !== null && known !== origin)) {
        throw new SallyportError('KEY_ORIGIN', `The key was not stored for ${origin}.`);
      }
    }

    return Object.freeze({
      maxBytes: Math.min(maxSecretBytes, row.payload.length - recordOverhead),
      openInto: (into: Buffer, offset: number, place: Place): number =>
        withPayload((payload, bytes) => {
          if (
            payload.secret === null ||
            payload.header !== place.header ||
            !isCredentialHeader(place.header)
          ) {
            throw new SallyportError('KEY_INVALID', 'The key was not stored for this kind of credential.');
          }
          checkOrigins(payload, place.origin);
          return copySendable(bytes, payload.secret, into, offset);
        }),
      checkOrigin: (origin: string): void =>
        withPayload((payload) => {
          if (payload.type !== 'none')
            throw new SallyportError('KEY_INVALID', 'The key was stored with a credential.');
          checkOrigins(payload, origin);
        }),
    });
  }

  return Object.freeze({
    prepare,
    forget: (workspaceId: string): void => recordKeys.deleteWhere((id) => id.startsWith(`${workspaceId}\n`)),
    sweep: (): void => recordKeys.sweep(),
    close: (): void => recordKeys.clear(),
  });
}

function copySendable(
  bytes: Buffer,
  secret: NonNullable<Payload['secret']>,
  into: Buffer,
  offset: number,
): number {
  const length = copySecret(bytes, secret, into, offset);
  const written = into.subarray(offset, offset + length);
  if (length > 0 && length <= maxSecretBytes && isPrintable(written)) return length;
  wipe(written);
  throw new SallyportError('KEY_INVALID', 'The stored key holds bytes that no header may carry.');
}
