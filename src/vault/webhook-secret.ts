import { createHmac, hkdfSync, type KeyObject } from 'node:crypto';
import { wipe } from '../secret.ts';

/**
 * The signing secret of one webhook: HKDF-SHA256 (RFC 5869) of the workspace's key with the webhook's id, so that nothing more has to be
 * kept. @returns 32 bytes, the caller's to wipe.
 */
function secretOf(workspaceKey: KeyObject, webhookId: string): Buffer {
  // Beside the labels of subkey.ts, which begin with sallyport/v1/key/.
  return Buffer.from(
    hkdfSync('sha256', workspaceKey, Buffer.alloc(0), `sallyport/v1/webhook/${webhookId}`, 32),
  );
}

/** As Standard Webhooks writes it: `whsec_` and base64. Shown once, as a token is. */
export function webhookSecretText(workspaceKey: KeyObject, webhookId: string): string {
  const secret = secretOf(workspaceKey, webhookId);
  try {
    return `whsec_${secret.toString('base64')}`;
  } finally {
    wipe(secret);
  }
}

/** One message as it is signed (standardwebhooks.com, "Signature scheme"). */
export interface SignedMessage {
  readonly id: string;
  /** Seconds since 1970. */
  readonly timestamp: number;
  readonly body: string;
}

/** `v1,` and base64 of HMAC-SHA256 over id, time and body. */
export function webhookSignature(workspaceKey: KeyObject, webhookId: string, message: SignedMessage): string {
  const secret = secretOf(workspaceKey, webhookId);
  try {
    const { body, id, timestamp } = message;
    return `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
  } finally {
    wipe(secret);
  }
}
