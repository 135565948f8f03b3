import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { webhookMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { WebhookEvent, WebhookRow } from './webhooks.ts';

export interface ListenersDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly vault: Pick<Vault, 'checkRowMac'>;
  readonly onForgedRow: (table: string, id: string) => void;
}

/** A receiver that is away for long gets no more than these. */
const mostWaiting = 1000;

/** A workspace's genuine webhooks that want to be told of this and are not too far behind. */
export async function listenersOf(
  { store, vault, onForgedRow }: ListenersDeps,
  workspaceId: string,
  event: WebhookEvent,
): Promise<WebhookRow[]> {
  const rows = await store.asSystem((tx) =>
    tx
      .selectFrom('webhooks')
      .selectAll()
      .where('workspace_id', '=', workspaceId)
      .where(sql<boolean>`${event} = any(events)`)
      .where(
        sql<boolean>`(select count(*) from webhook_deliveries d where d.webhook_id = webhooks.id and d.outcome is null) < ${mostWaiting}`,
      )
      .orderBy('id')
      .execute(),
  );
  const genuine: WebhookRow[] = [];
  for (const row of rows) if (await isGenuineWebhook({ vault, onForgedRow }, row)) genuine.push(row);
  return genuine;
}

/** False too where the workspace's key does not open: nothing could be signed, and others shall not wait for it. */
export async function isGenuineWebhook(
  { vault, onForgedRow }: Omit<ListenersDeps, 'store'>,
  row: WebhookRow,
): Promise<boolean> {
  try {
    const isGood = await vault.checkRowMac(row.workspace_id, 'webhooks', webhookMacFields(row), row.mac);
    if (!isGood) onForgedRow('webhooks', row.id);
    return isGood;
  } catch (error) {
    // The vault raised an alarm of its own.
    if (error instanceof SallyportError && error.code === 'KEY_INVALID') return false;
    throw error;
  }
}
