import { createHmac, randomFillSync } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { dataKeyContext, payloadContext } from './context.ts';
import { isCredentialHeader } from './credential-header.ts';
import { checkSecret } from './intake.ts';
import { buildPayload, maxOrigins, type PayloadHead } from './payload.ts';
import { kinds, sealRecord } from './record.ts';
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
}

export interface SealedSecret {
  readonly wrap: Buffer;
  readonly payload: Buffer;
  readonly workspaceKeyVersion: number;
  /** Null for a secret of less than 16 bytes, of which four would be too much. */
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
  const place = { deploymentId: deps.deploymentId, ...input };
  const dataKey = randomFillSync(secretBuffer(32));
  const payload = buildPayload(head, secret);
  try {
    return {
      wrap: sealRecord(workspaceKey.key, kinds.dataKey, dataKeyContext(place), dataKey),
      payload: sealRecord(
        dataKey,
        kinds.payload,
        payloadContext({ ...place, protection: 'standard' }),
        payload,
      ),
      workspaceKeyVersion: workspaceKey.version,
      last4: secret !== null && secret.length >= 16 ? secret.toString('latin1', secret.length - 4) : null,
      fingerprint:
        secret === null
          ? null
          : createHmac('sha256', fingerprintKey).update(secret).digest('hex').slice(0, 16),
    };
  } finally {
    wipe(dataKey, payload);
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
