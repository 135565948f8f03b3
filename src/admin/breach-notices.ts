import { sql } from 'kysely';
import { isMailAddress, type SendMail } from '../egress/mailer.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import type { Journal } from '../journal/journal.ts';
import type { Affected } from './breach-affected.ts';
import type { BreachMessage } from './breach-message.ts';
import { listenersOf, type ListenersDeps } from './webhook-listeners.ts';
import type { SendWebhook } from './webhook-sender.ts';
import type { WebhookRow } from './webhooks.ts';

export type Channel = 'smtp' | 'webhook';

/** How somebody can be told. */
export type Way =
  | { readonly channel: 'smtp'; readonly address: string }
  | {
      readonly channel: 'webhook';
      readonly webhooks: readonly WebhookRow[];
      readonly externalId: string | null;
      /** Codes of those that did not answer while others were told: nobody else waits for them. */
      readonly away: Map<string, string>;
    }
  | { readonly channel: null };

export interface NoticesDeps extends ListenersDeps {
  readonly journal: Pick<Journal, 'append'>;
  readonly sendWebhook: SendWebhook;
  /** Null: no mail server is set. */
  readonly sendMail: SendMail | null;
  readonly clock: () => number;
}

/** `busy`: another run is at it, or died at it less than ten minutes ago. */
export type NoticeState = 'sent' | 'failed' | 'busy';

/** Longer than any attempt: a claim of before was left by a run that died, and nobody knows whether its message went. */
const claimMs = 10 * 60_000;

/** Messages to those whom a breach concerns, one a person and breach. Addresses are read when they are needed and kept nowhere else. */
export function createBreachNotices(deps: NoticesDeps) {
  const { store, journal, sendWebhook, sendMail, clock } = deps;

  return Object.freeze({
    /** Ids of those who have theirs. */
    async sent(breachId: string): Promise<ReadonlySet<string>> {
      const rows = await store.asSystem((tx) =>
        tx
          .selectFrom('breach_notices')
          .select('user_id')
          .where('breach_id', '=', breachId)
          .where('sent_at', 'is not', null)
          .execute(),
      );
      return new Set(rows.map((row) => row.user_id));
    },

    /** By mail who has an address, else by a webhook of his workspace. */
    async ways(affected: readonly Affected[]): Promise<ReadonlyMap<string, Way>> {
      const ids = affected.map(({ userId }) => userId);
      const people = await store.asSystem((tx) =>
        tx
          .selectFrom('users')
          .select(['id', 'email', 'external_id', 'workspace_id'])
          .where(sql<boolean>`id = any(${ids}::text[])`)
          .execute(),
      );
      const listeners = new Map<string, WebhookRow[]>();
      for (const workspaceId of new Set(people.map((one) => one.workspace_id)))
        listeners.set(workspaceId, await listeningIn(workspaceId));
      const away = new Map<string, string>();
      return new Map(
        people.map(({ id, email, external_id: externalId, workspace_id }): [string, Way] => {
          if (sendMail !== null && email !== null && isMailAddress(email))
            return [id, { channel: 'smtp', address: email }];
          const webhooks = listeners.get(workspace_id) ?? [];
          return [
            id,
            webhooks.length > 0 ? { channel: 'webhook', webhooks, externalId, away } : { channel: null },
          ];
        }),
      );
    },

    async send(
      breachId: string,
      { userId, workspaceId, keyIds }: Affected,
      way: Exclude<Way, { channel: null }>,
      message: BreachMessage,
    ): Promise<{ readonly state: NoticeState; readonly code: string | null }> {
      const claimedAt = new Date(clock());
      const place = { breach_id: breachId, user_id: userId };
      if (!(await claim(place, workspaceId, way.channel, claimedAt))) return { state: 'busy', code: null };
      const { ok, code } =
        way.channel === 'smtp'
          ? await mail(way.address, message)
          : await post(way, { breachId, userId, keyIds }, message);
      if (!ok) {
        await store.asSystem((tx) =>
          tx
            .deleteFrom('breach_notices')
            .where('breach_id', '=', breachId)
            .where('user_id', '=', userId)
            .where('sent_at', 'is', null)
            .execute(),
        );
        return { state: 'failed', code };
      }
      await store.asSystem(async (tx) => {
        await tx
          .updateTable('breach_notices')
          .set({ sent_at: new Date(clock()) })
          .where('breach_id', '=', breachId)
          .where('user_id', '=', userId)
          .execute();
        const actor = { type: 'system', id: 'breach' };
        await journal.append('breach.notified', {
          breachId,
          userId,
          workspaceId,
          channel: way.channel,
          actor,
        });
      });
      return { state: 'sent', code: null };
    },
  });

  /** None where the workspace's key is out of reach: everybody else is told all the same. */
  async function listeningIn(workspaceId: string): Promise<WebhookRow[]> {
    return listenersOf(deps, workspaceId, 'breach.notice').catch((error: unknown) => {
      if (error instanceof SallyportError) return [];
      throw error;
    });
  }

  async function claim(
    place: { readonly breach_id: string; readonly user_id: string },
    workspaceId: string,
    channel: Channel,
    at: Date,
  ): Promise<boolean> {
    const mine = await store.asSystem((tx) =>
      tx
        .insertInto('breach_notices')
        .values({ ...place, workspace_id: workspaceId, channel, claimed_at: at })
        .onConflict((conflict) =>
          conflict
            .columns(['breach_id', 'user_id'])
            .doUpdateSet({ claimed_at: at, channel })
            .where('breach_notices.sent_at', 'is', null)
            .where('breach_notices.claimed_at', '<', new Date(at.getTime() - claimMs)),
        )
        .returning('user_id')
        .executeTakeFirst(),
    );
    return mine !== undefined;
  }

  async function mail(to: string, { subject, text }: BreachMessage) {
    const id = newId('msg', clock());
    return (await sendMail?.({ to, subject, text, id })) ?? { ok: false, code: 'ECONNECTION' };
  }

  /** To all of them: whoever listens knows which of his people it is. Taken by one is taken. */
  async function post(
    { webhooks, externalId, away }: Extract<Way, { channel: 'webhook' }>,
    who: { readonly breachId: string; readonly userId: string; readonly keyIds: readonly string[] },
    message: BreachMessage,
  ) {
    const timestamp = new Date(clock()).toISOString();
    const body = JSON.stringify({
      type: 'breach.notice',
      timestamp,
      data: { ...who, externalId, ...message },
    });
    const results = await Promise.all(
      webhooks.map(async (webhook) => {
        const known = away.get(webhook.id);
        if (known !== undefined) return { ok: false, status: null, code: known };
        const result = await sendWebhook(webhook, { id: newId('msg', clock()), body });
        if (result.status === null) away.set(webhook.id, result.code ?? 'UPSTREAM_ERROR');
        return result;
      }),
    );
    const [first] = results;
    return results.find(({ ok }) => ok) ?? { ok: false, code: first?.code ?? `STATUS_${first?.status ?? 0}` };
  }
}
