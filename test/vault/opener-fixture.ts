import { createSecretKey, randomBytes } from 'node:crypto';
import { dataKeyContext, payloadContext, sealContext } from '../../src/vault/context.ts';
import type { ExitCheckDeps } from '../../src/vault/exit-check.ts';
import { createOpener, type SealedKey } from '../../src/vault/open.ts';
import { kinds, openRecord, openWithRecordKey, sealRecord } from '../../src/vault/record.ts';
import { sealHpke, sealPublicKeyOf } from '../../src/vault/seal-pair.ts';

export const place = { origin: 'https://api.openai.com', header: 'authorization' };
export const good = {
  v: 1,
  type: 'bearer',
  secret: 'sk-test-0123456789abcdef',
  origins: [place.origin],
  createdAt: '2026-01-02T03:04:05.678Z',
};

/** Text as it is, anything else as JSON, padded as the design says. */
export function padded(payload: unknown): Buffer {
  const text = Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload));
  return Buffer.concat([text, Buffer.alloc((256 - (text.length % 256)) % 256, 0x20)]);
}

/**
 * An opener whose handed-out memory is watched, and a row that holds any payload at all, as one who has the keys could make it; with
 * `ikm`, as a client could who has the seal. Bytes are taken as they are, without padding.
 */
export function openerFor(
  payload: unknown,
  { ikm = null, isAdministrative }: { ikm?: Buffer | null } & Pick<ExitCheckDeps, 'isAdministrative'> = {},
) {
  const handedOut: Buffer[] = [];
  const watch = <T extends Buffer | null>(bytes: T): T => {
    if (bytes !== null) handedOut.push(bytes);
    return bytes;
  };
  const key = createSecretKey(randomBytes(32));
  const handle = { workspaceId: 'ws_1', version: 1, key, verifier: key, rowMac: key, fingerprint: key };
  const alarms: string[] = [];
  const time = { now: 0 };
  const opener = createOpener({
    deploymentId: 'dep_1',
    workspaceKey: async () => handle,
    knownOrigins: () => null,
    isAdministrative,
    clock: () => time.now,
    alarm: (code) => alarms.push(code),
    openDataKey: (...args) => watch(openRecord(...args)),
    openPayload: (...args) => watch(openWithRecordKey(...args)),
    unseal: (...args) => watch(sealHpke.open(...args)),
  });
  const at = {
    deploymentId: 'dep_1',
    workspaceId: 'ws_1',
    keyId: 'key_1',
    version: 1,
    provider: 'mine',
    protection: ikm === null ? 'standard' : 'sealed',
  } as const;
  const dataKey = randomBytes(32);
  const text = payload instanceof Buffer ? payload : padded(payload);
  const sealPublicKey = ikm === null ? null : sealPublicKeyOf(ikm);
  const inner =
    sealPublicKey === null
      ? text
      : sealHpke.seal(sealPublicKey, sealContext({ ...at, sealId: 'seal_1' }), text);
  const row: SealedKey = {
    ...at,
    sealId: ikm === null ? null : 'seal_1',
    sealPublicKey,
    workspaceKeyVersion: 1,
    auth: 'bearer',
    wrap: sealRecord(key, kinds.dataKey, dataKeyContext(at), dataKey),
    payload: sealRecord(dataKey, kinds.payload, payloadContext(at), inner),
  };
  /** The row of the same version of the same key as it is read later, with another payload in it. */
  const changed = (other: unknown): SealedKey => ({
    ...row,
    payload: sealRecord(dataKey, kinds.payload, payloadContext(at), padded(other)),
  });
  return { opener, row, changed, handedOut, alarms, time };
}

export function isWiped(buffers: readonly Buffer[]): boolean {
  return buffers.every((bytes) => bytes.every((byte) => byte === 0));
}
