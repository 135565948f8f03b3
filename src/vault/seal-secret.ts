import { createHmac, randomFillSync } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { dataKeyContext, payloadContext, sealContext } from './context.ts';
import { isCredentialHeader } from './credential-header.ts';
import { hpkeOverhead } from './hpke.ts';
import { checkSecret } from './intake.ts';
import { buildPayload, maxOrigins, payloadStep, type PayloadHead } from './payload.ts';
import { kinds, maxPlaintextBytes, sealRecord } from './record.ts';
import { sealHpke } from './seal-pair.ts';
import type { WorkspaceKeyHandle } from './workspace-keys.ts';

export interface SecretToSeal {
  readonly workspaceId: string;
  readonly keyId: string;
  readonly version: number;
  readonly provider: string;
  readonly auth: 'bearer' | `header:${string}` | 'none';
  /** 8 to 8192 bytes, null exactly with `none`. Stays the caller's to wipe. */
  readonly secret: Buffer | null;
  /** 1 to 16, as `URL.origin` writes them. */
  readonly origins: readonly string[];
  /** Given: the payload is sealed to this public key first, and only the seal's secret opens it. */
  readonly seal?: SealTarget | null;
}

export interface SealTarget {
  readonly id: string;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** A payload that a client has sealed: `enc 32 ‖ ciphertext ‖ tag 16` over 256-byte steps. */
export interface ClientPayload {
  readonly workspaceId: string;
  readonly keyId: string;
  readonly version: number;
  readonly provider: string;
  readonly sealedPayload: Uint8Array;
}

/** What `provider_key_versions` keeps. */
export interface SealedVersion {
  readonly wrap: Buffer;
  readonly payload: Buffer;
  readonly workspaceKeyVersion: number;
}

export interface SealedSecret extends SealedVersion {
  /** Null for a secret of less than 16 bytes, of which four would be too much; both are null where a client made the payload. */
  readonly last4: string | null;
  /** 16 hex digits: equal secrets of a workspace have equal ones. */
  readonly fingerprint: string | null;
}

/** @throws {SallyportError} KEY_FORMAT, KEY_ORIGIN (not a known provider's own), REQUEST_INVALID; never carries the secret. */
export function sealSecret(
  deps: {
    readonly deploymentId: string;
    readonly knownOrigins: (provider: string) => string | null;
    readonly clock: () => number;
  },
  workspaceKey: WorkspaceKeyHandle,
  fingerprintKey: WorkspaceKeyHandle['fingerprint'],
  input: SecretToSeal,
): SealedSecret {
  const { secret } = input;
  const head = headOf(input, new Date(deps.clock()).toISOString());
  checkOrigins(input, deps.knownOrigins(input.provider));
  if (secret !== null) checkSecret(secret);
  const payload = buildPayload(head, secret);
  try {
    return {
      ...sealVersion(deps.deploymentId, workspaceKey, input, sealedTo(input.seal ?? null, input, payload)),
      last4: secret !== null && secret.length >= 16 ? secret.toString('latin1', secret.length - 4) : null,
      fingerprint: secret === null ? null : fingerprint(fingerprintKey, secret),
    };
  } finally {
    wipe(payload);
  }
}

/** Nothing of it can be looked at: what it holds is judged when it is opened. @throws {SallyportError} REQUEST_INVALID: its size. */
export function sealClientPayload(
  deploymentId: string,
  workspaceKey: WorkspaceKeyHandle,
  input: ClientPayload,
): SealedSecret {
  const { byteLength } = input.sealedPayload;
  const payloadBytes = byteLength - hpkeOverhead;
  if (payloadBytes < payloadStep || payloadBytes % payloadStep !== 0 || byteLength > maxPlaintextBytes) {
    throw new SallyportError(
      'REQUEST_INVALID',
      `sealedPayload must be enc, ciphertext and tag of a payload padded to steps of ${payloadStep} bytes, 64 KiB at most.`,
    );
  }
  const version = sealVersion(deploymentId, workspaceKey, input, {
    protection: 'sealed',
    plaintext: input.sealedPayload,
  });
  return { ...version, last4: null, fingerprint: null };
}

/** The same payload for another seal, as a new version. @param payload  stays the caller's to wipe. */
export function resealPayload(
  deploymentId: string,
  workspaceKey: WorkspaceKeyHandle,
  place: KeyPlace,
  seal: SealTarget,
  payload: Uint8Array,
): SealedVersion {
  return sealVersion(deploymentId, workspaceKey, place, sealedTo(seal, place, payload));
}

/** 16 hex digits: HMAC-SHA256, cut. */
export function fingerprint(key: WorkspaceKeyHandle['fingerprint'], secret: Uint8Array): string {
  return createHmac('sha256', key).update(secret).digest('hex').slice(0, 16);
}

type KeyPlace = Pick<ClientPayload, 'workspaceId' | 'keyId' | 'version' | 'provider'>;
interface Inner {
  readonly protection: 'standard' | 'sealed';
  readonly plaintext: Uint8Array;
}

function sealedTo(seal: SealTarget | null, place: KeyPlace, payload: Uint8Array): Inner {
  if (seal === null) return { protection: 'standard', plaintext: payload };
  const aad = sealContext({ ...place, sealId: seal.id });
  return { protection: 'sealed', plaintext: sealHpke.seal(seal.publicKey, aad, payload) };
}

function sealVersion(
  deploymentId: string,
  workspaceKey: WorkspaceKeyHandle,
  { workspaceId, keyId, version, provider }: KeyPlace,
  { protection, plaintext }: Inner,
): SealedVersion {
  const place = { deploymentId, workspaceId, keyId, version, provider, protection };
  const dataKey = randomFillSync(secretBuffer(32));
  try {
    return {
      wrap: sealRecord(workspaceKey.key, kinds.dataKey, dataKeyContext(place), dataKey),
      payload: sealRecord(dataKey, kinds.payload, payloadContext(place), plaintext),
      workspaceKeyVersion: workspaceKey.version,
    };
  } finally {
    wipe(dataKey);
  }
}

function headOf({ auth, secret, origins }: SecretToSeal, createdAt: string): PayloadHead {
  if ((auth === 'none') !== (secret === null)) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'A value is needed with every auth but none, and with none it is not.',
    );
  }
  if (auth === 'none') return { type: 'none', header: null, origins, createdAt };
  if (auth === 'bearer') return { type: 'bearer', header: 'authorization', origins, createdAt };
  const header = auth.startsWith('header:') ? auth.slice('header:'.length).toLowerCase() : '';
  if (!isCredentialHeader(header)) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'auth must be bearer, none, or header:NAME with a header that carries credentials.',
    );
  }
  return { type: 'header', header, origins, createdAt };
}

function checkOrigins({ provider, origins }: SecretToSeal, known: string | null): void {
  if (origins.length === 0 || origins.length > maxOrigins || !origins.every(isOrigin)) {
    throw new SallyportError(
      'REQUEST_INVALID',
      'origins must be 1 to 16 of the form https://host or https://host:port.',
    );
  }
  const stray = known === null ? undefined : origins.find((origin) => origin !== known);
  if (stray !== undefined)
    throw new SallyportError(
      'KEY_ORIGIN',
      `A key of ${provider} goes to ${known ?? ''} only, not to ${stray}.`,
    );
}

function isOrigin(text: string): boolean {
  if (text.length > 300 || !/^https?:/.test(text)) return false;
  return URL.parse(text)?.origin === text;
}
