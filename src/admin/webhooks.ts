import { type Selectable, sql } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId, newId } from '../ids.ts';
import { webhookMacFields } from '../vault/row-macs.ts';
import type { Vault } from '../vault/vault.ts';
import type { Act } from './acts.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { invalid, iso } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demand } from './permissions.ts';
import { isGenuineWebhook } from './webhook-listeners.ts';
import type { SendWebhook, WebhookResult } from './webhook-sender.ts';

/** What a webhook may be told of. */
export const webhookEvents = ['alert.raised', 'breach.notice'] as const;
export type WebhookEvent = (typeof webhookEvents)[number];

export type WebhookRow = Selectable<Schema['webhooks']>;

export interface WebhookView {
  readonly id: string;
  readonly url: string;
  readonly events: readonly string[];
  readonly createdBy: string;
  readonly createdAt: string;
  /** Messages that wait for their next attempt, and those of the last week that were given up. */
  readonly waiting: number;
  readonly givenUp: number;
}

export interface NewWebhook {
  readonly url: string;
  readonly events?: readonly WebhookEvent[] | undefined;
}

export interface WebhooksDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly vault: Pick<Vault, 'rowMac' | 'checkRowMac' | 'webhookSecret'>;
  readonly checkOrigin: (origin: string, reach: 'public' | 'operator') => string;
  readonly reachOf: (origin: string) => 'public' | 'operator';
  readonly send: SendWebhook;
  readonly clock: () => number;
  /** A row whose MAC is wrong was written round us: alarm. */
  readonly onForgedRow: (table: string, id: string) => void;
}

export type Webhooks = ReturnType<typeof createWebhooks>;

const mostWebhooks = 20;
const maxUrlChars = 2000;

/** Addresses that a workspace wants to be told at. For owners and admins: an address may hold a secret of its receiver. */
export function createWebhooks(deps: WebhooksDeps) {
  const { store, act, vault, checkOrigin, reachOf, send, clock } = deps;

  return Object.freeze({
    /** @returns with the secret, which is shown this once. @throws {SallyportError} EGRESS_REFUSED; CONFLICT: there are 20. */
    async create(caller: Caller, input: NewWebhook): Promise<WebhookView & { readonly secret: string }> {
      demand(caller, 'webhooks:write');
      const bare = {
        id: newId('hook', clock()),
        workspace_id: caller.workspaceId,
        url: readUrl(input.url),
        events: [...new Set(input.events ?? webhookEvents)].toSorted(),
      };
      const mac = await vault.rowMac(caller.workspaceId, 'webhooks', webhookMacFields(bare));
      const secret = await vault.webhookSecret(caller.workspaceId, bare.id);
      const row = { ...bare, mac, created_by: caller.userId, created_at: new Date(clock()) };
      await act(caller, 'webhook.create', { webhookId: bare.id, events: bare.events }, async (tx) => {
        await demandRoom(tx, caller);
        await tx.insertInto('webhooks').values(row).execute();
      });
      return { ...view({ ...row, waiting: 0n, given_up: 0n }), secret };
    },

    /** Without rows that were written round us: nothing is sent to them either. */
    async list(caller: Caller, page: Page): Promise<List<WebhookView>> {
      demand(caller, 'webhooks:write');
      const after = placeOf(page, [/^hook_[0-9a-f]{32}$/]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        const query = ofWorkspace(tx, caller)
          .select([
            countOf(sql`outcome is null`).as('waiting'),
            countOf(sql`outcome = 'given_up'`).as('given_up'),
          ])
          .orderBy('id', 'desc')
          .limit(rowsToRead(page));
        return (after === null ? query : query.where('id', '<', after[0])).execute();
      });
      const { data, nextCursor } = toList(
        rows,
        page,
        (row) => [row.id],
        (row) => row,
      );
      const genuine: WebhookView[] = [];
      for (const row of data) if (await isGenuineWebhook(deps, row)) genuine.push(view(row));
      return { data: genuine, nextCursor };
    },

    /** Also a row that was tampered with; what waits for it goes too. @throws {SallyportError} NOT_FOUND */
    async remove(
      caller: Caller,
      id: string,
    ): Promise<{ readonly id: string; readonly deleted: true; readonly receipt: string }> {
      demand(caller, 'webhooks:write');
      await read(caller, id);
      const { receipt } = await act(caller, 'webhook.delete', { webhookId: id }, async (tx) => {
        const gone = await tx
          .deleteFrom('webhooks')
          .where('workspace_id', '=', caller.workspaceId)
          .where('id', '=', id)
          .executeTakeFirst();
        if (gone.numDeletedRows === 0n) throw notFound('webhook');
      });
      return { id, deleted: true, receipt };
    },

    /** Sends one message now, once. @throws {SallyportError} NOT_FOUND; CONFLICT: the row was written round us. */
    async test(caller: Caller, id: string): Promise<WebhookResult> {
      demand(caller, 'webhooks:write');
      const row = await read(caller, id);
      if (!(await isGenuineWebhook(deps, row)))
        throw new SallyportError('CONFLICT', 'The webhook was changed in the database, and is not used.');
      const data = { webhookId: id, workspaceId: caller.workspaceId };
      const body = { type: 'webhook.test', timestamp: new Date(clock()).toISOString(), data };
      return send(row, { id: newId('msg', clock()), body: JSON.stringify(body) });
    },
  });

  /** @returns in the one form in which it is kept and MACed. @throws {SallyportError} REQUEST_INVALID, EGRESS_REFUSED */
  function readUrl(text: string): string {
    // What URL reads as something else than what was typed is not taken.
    if (text.length > maxUrlChars || !/^https?:\/\/[\x21-\x5b\x5d-\x7e]+$/.test(text) || !URL.canParse(text))
      throw invalid('/url', 'has to be a URL: https://hooks.example.com/path');
    const url = new URL(text);
    if (url.username !== '' || url.password !== '' || url.hash !== '' || text.includes('#'))
      throw invalid('/url', 'carries no user, password or fragment');
    checkOrigin(url.origin, reachOf(url.origin));
    return url.href;
  }

  async function read(caller: Caller, id: string): Promise<WebhookRow> {
    if (!isId('hook', id)) throw notFound('webhook');
    const row = await store.asWorkspace(caller.workspaceId, (tx) =>
      ofWorkspace(tx, caller).where('id', '=', id).executeTakeFirst(),
    );
    return found(row, 'webhook');
  }
}

function ofWorkspace(tx: Tx, { workspaceId }: Caller) {
  return tx.selectFrom('webhooks').selectAll().where('workspace_id', '=', workspaceId);
}

function countOf(what: ReturnType<typeof sql>) {
  return sql<bigint>`(select count(*) from webhook_deliveries d where d.webhook_id = webhooks.id and ${what})`;
}

async function demandRoom(tx: Tx, { workspaceId }: Caller): Promise<void> {
  // Two acts at once would both find room for one more.
  await tx.selectFrom('workspaces').select('id').where('id', '=', workspaceId).forNoKeyUpdate().execute();
  const { count } = await tx
    .selectFrom('webhooks')
    .select((eb) => eb.fn.countAll<bigint>().as('count'))
    .where('workspace_id', '=', workspaceId)
    .executeTakeFirstOrThrow();
  if (Number(count) >= mostWebhooks)
    throw new SallyportError('CONFLICT', `A workspace has ${mostWebhooks} webhooks at most.`);
}

function view(row: WebhookRow & { waiting: bigint; given_up: bigint }): WebhookView {
  return {
    id: row.id,
    url: row.url,
    events: row.events,
    createdBy: row.created_by,
    createdAt: iso(row.created_at),
    waiting: Number(row.waiting),
    givenUp: Number(row.given_up),
  };
}
