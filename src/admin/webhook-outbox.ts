import { type Selectable, sql } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import { deliveryMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import { isOurAlert } from './alert-wording.ts';
import { viewAlert } from './alerts.ts';
import { isGenuineWebhook, listenersOf } from './webhook-listeners.ts';
import type { SendWebhook } from './webhook-sender.ts';
import type { WebhookEvent, WebhookRow } from './webhooks.ts';

type Alert = Selectable<Schema['alerts']>;
type Delivery = Selectable<Schema['webhook_deliveries']>;
export type DeliveryOutcome = 'delivered' | 'failed' | 'given_up';

export interface OutboxDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly vault: Pick<Vault, 'rowMac' | 'checkRowMac'>;
  readonly send: SendWebhook;
  readonly clock: () => number;
  readonly onForgedRow: (table: string, id: string) => void;
  readonly onOutcome: (outcome: DeliveryOutcome, webhookId: string) => void;
}

export interface WebhookOutbox {
  /** Makes deliveries of alerts that nobody was told of, and tries those that are due. */
  run(): Promise<void>;
  /** Forgets what ended a week ago. */
  forget(): Promise<void>;
}

const [second, minute, hour] = [1000, 60_000, 3_600_000];
/** Between attempts; after the last of them it is given up: 8 attempts in 23 hours. */
const waits = [10 * second, minute, 5 * minute, 30 * minute, 2 * hour, 8 * hour, 12 * hour] as const;
/** Of one run, by turns of the workspaces; of one webhook fewer, so that a slow one holds up no other. */
const [atOnce, ofOne] = [20, 4];
/** Longer than any attempt takes: whoever claimed it and died is not waited for longer. */
const claimMs = minute;
const alertsOfOneRun = 100;

/** Messages to webhooks, kept in the database until they are taken: at least once, in no order that is promised, by any node. */
export function createWebhookOutbox(deps: OutboxDeps): WebhookOutbox {
  const { store, vault, send, clock, onForgedRow, onOutcome } = deps;

  return Object.freeze<WebhookOutbox>({
    async run() {
      const untold = await store.asSystem((tx) =>
        tx
          .selectFrom('alerts')
          .selectAll()
          .where('told_at', 'is', null)
          .orderBy('id')
          .limit(alertsOfOneRun)
          .execute(),
      );
      const failures: unknown[] = [];
      // One workspace's trouble keeps nobody else's messages.
      for (const alert of untold) await tell(alert).catch((error: unknown) => failures.push(error));
      const attempts = await Promise.allSettled((await store.asSystem(claim)).map(attempt));
      failures.push(...attempts.flatMap((one) => (one.status === 'rejected' ? [one.reason] : [])));
      if (failures.length > 0) throw failures[0];
    },
    forget: async () => {
      const before = new Date(clock() - 7 * 24 * hour);
      await store.asSystem((tx) =>
        tx
          .deleteFrom('webhook_deliveries')
          .where('outcome', 'is not', null)
          .where('created_at', '<', before)
          .execute(),
      );
    },
  });

  async function tell(alert: Alert): Promise<void> {
    const isOurs = isOurAlert(alert);
    if (!isOurs) onForgedRow('alerts', alert.id);
    const webhooks = isOurs ? await listenersOf(deps, alert.workspace_id, 'alert.raised') : [];
    const body = { type: 'alert.raised', timestamp: new Date(clock()).toISOString(), data: viewAlert(alert) };
    // MACs may take a key service: none of them is made inside the transaction.
    const rows = await Promise.all(webhooks.map((webhook) => delivery(webhook, 'alert.raised', body)));
    await store.asSystem(async (tx) => {
      const mine = await tx
        .updateTable('alerts')
        .set({ told_at: new Date(clock()) })
        .where('id', '=', alert.id)
        .where('told_at', 'is', null)
        .returning('id')
        .executeTakeFirst();
      if (mine !== undefined && rows.length > 0)
        await tx.insertInto('webhook_deliveries').values(rows).execute();
    });
  }

  async function delivery({ id, workspace_id }: WebhookRow, event: WebhookEvent, body: object) {
    const now = clock();
    const bare = { id: newId('msg', now), workspace_id, webhook_id: id, event, body: JSON.stringify(body) };
    const mac = await vault.rowMac(workspace_id, 'webhook_deliveries', deliveryMacFields(bare));
    return { ...bare, mac, next_at: new Date(now), created_at: new Date(now) };
  }

  /** Each is somebody's for a minute: another node passes over it. */
  async function claim(tx: Tx): Promise<Delivery[]> {
    const now = new Date(clock());
    const { rows } = await sql<Delivery>`
      update webhook_deliveries set attempts = attempts + 1, next_at = ${new Date(now.getTime() + claimMs)}
      where id in (
        select id from webhook_deliveries where next_at <= ${now} and id in (
          select id from (
            select id, next_at, n, row_number() over (partition by workspace_id order by n, next_at, id) as turn
            from (
              select id, next_at, workspace_id, row_number() over (partition by webhook_id order by next_at, id) as n
              from webhook_deliveries where next_at <= ${now}) due
            where n <= ${ofOne}) fair
          order by turn, next_at limit ${atOnce})
        for update skip locked)
      returning *`.execute(tx);
    return rows;
  }

  async function attempt(row: Delivery): Promise<void> {
    const webhook = await store.asSystem((tx) =>
      tx.selectFrom('webhooks').selectAll().where('id', '=', row.webhook_id).executeTakeFirst(),
    );
    if (webhook === undefined) return;
    let result: { readonly ok: boolean; readonly status: number | null };
    try {
      const fields = deliveryMacFields(row);
      // Whoever writes to the database would have us sign his words.
      const isOurs =
        webhook.workspace_id === row.workspace_id &&
        (await vault.checkRowMac(row.workspace_id, 'webhook_deliveries', fields, row.mac));
      if (!isOurs) onForgedRow('webhook_deliveries', row.id);
      if (!isOurs || !(await isGenuineWebhook(deps, webhook))) return await settle(row, 'given_up', null);
      result = await send(webhook, row);
    } catch (error) {
      // The workspace's key is out of reach, or does not open: a failed attempt, of which there are so many.
      if (!(error instanceof SallyportError)) throw error;
      result = { ok: false, status: null };
    }
    const { ok, status } = result;
    const wait = waits[row.attempts - 1];
    if (ok) await settle(row, 'delivered', status);
    else if (wait === undefined) await settle(row, 'given_up', status);
    else await settle(row, 'failed', status, new Date(clock() + wait));
  }

  async function settle(
    { id, webhook_id }: Delivery,
    outcome: DeliveryOutcome,
    status: number | null,
    next: Date | null = null,
  ): Promise<void> {
    await store.asSystem((tx) =>
      tx
        .updateTable('webhook_deliveries')
        .set({ outcome: outcome === 'failed' ? null : outcome, status, next_at: next })
        .where('id', '=', id)
        .execute(),
    );
    onOutcome(outcome, webhook_id);
  }
}
