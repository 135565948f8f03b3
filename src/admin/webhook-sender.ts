import { EgressError } from '../egress/egress-error.ts';
import type { Exchange } from '../egress/exchange.ts';
import { SallyportError } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';

/** Where a message goes. */
export interface WebhookTarget {
  readonly id: string;
  readonly workspace_id: string;
  readonly url: string;
}

export interface WebhookMessage {
  /** `msg_…`: the same at each attempt, so that the receiver knows a repetition. */
  readonly id: string;
  /** JSON. */
  readonly body: string;
}

/** A failed one is an answer, not an error. */
export interface WebhookResult {
  readonly ok: boolean;
  /** Of the answer; null where none came. */
  readonly status: number | null;
  readonly code: string | null;
  readonly message: string | null;
}

export interface WebhookSenderDeps {
  readonly vault: Pick<Vault, 'signWebhook'>;
  /** Guarded for public addresses, and for origins that the operator allowed. */
  readonly exchanges: { readonly public: Exchange; readonly operator: Exchange };
  readonly reachOf: (origin: string) => 'public' | 'operator';
  readonly clock: () => number;
}

export type SendWebhook = (to: WebhookTarget, message: WebhookMessage) => Promise<WebhookResult>;

/**
 * One attempt, signed as Standard Webhooks has it. Redirects are answers like others; of the answer the status is looked at, and no more
 * than 64 KiB and 10 s of it are taken.
 */
export function createWebhookSender({ vault, exchanges, reachOf, clock }: WebhookSenderDeps): SendWebhook {
  return async function send(to, { id, body }) {
    try {
      const { origin, pathname, search } = new URL(to.url);
      const timestamp = Math.floor(clock() / 1000);
      const signature = await vault.signWebhook(to.workspace_id, to.id, { id, timestamp, body });
      const { status } = await exchanges[reachOf(origin)]({
        origin,
        method: 'POST',
        path: pathname + search,
        headers: Object.entries({
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': signature,
        }).flat(),
        body: Buffer.from(body),
      });
      const ok = status >= 200 && status < 300;
      return { ok, status, code: null, message: ok ? null : `It answered with status ${status}.` };
    } catch (error) {
      const isOurs = error instanceof EgressError || error instanceof SallyportError;
      if (!isOurs) throw error;
      return { ok: false, status: null, code: error.code, message: error.message };
    }
  };
}
