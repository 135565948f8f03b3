import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store, Tx } from '../db/store.ts';
import { isId } from '../ids.ts';
import type { Act } from './acts.ts';
import type { AlertRule } from './alert-rules.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { iso, readMoment } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { can, demand } from './permissions.ts';

type Row = Selectable<Schema['alerts']>;

export interface AlertView {
  readonly id: string;
  readonly rule: AlertRule;
  readonly keyId: string | null;
  readonly tokenId: string | null;
  /** Whose key or token it is. */
  readonly userId: string;
  readonly explanation: string;
  readonly numbers: Readonly<Record<string, unknown>>;
  readonly firstAt: string;
  readonly lastAt: string;
  /** How often it was found that day. */
  readonly count: number;
  readonly acknowledgedAt: string | null;
  readonly acknowledgedBy: string | null;
}

export interface AlertFilter extends Page {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly rule?: AlertRule | undefined;
  readonly keyId?: string | undefined;
  readonly tokenId?: string | undefined;
  readonly userId?: string | undefined;
  readonly acknowledged?: boolean | undefined;
}

export interface AlertsDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly act: Act;
  readonly clock: () => number;
}

export type Alerts = ReturnType<typeof createAlerts>;

/** The workspace's alerts for its owners and auditors, else those of the caller's own keys and tokens. */
export function createAlerts({ store, act, clock }: AlertsDeps) {
  return Object.freeze({
    async list(caller: Caller, filter: AlertFilter): Promise<List<AlertView>> {
      demand(caller, 'alerts:read');
      const after = placeOf(filter, [/^alert_[0-9a-f]{32}$/]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        let query = visible(tx, caller).orderBy('id', 'desc').limit(rowsToRead(filter));
        if (after !== null) query = query.where('id', '<', after[0]);
        if (filter.from !== undefined) query = query.where('last_at', '>=', readMoment('/from', filter.from));
        if (filter.to !== undefined) query = query.where('first_at', '<', readMoment('/to', filter.to));
        if (filter.rule !== undefined) query = query.where('rule', '=', filter.rule);
        if (filter.keyId !== undefined) query = query.where('key_id', '=', filter.keyId);
        if (filter.tokenId !== undefined) query = query.where('token_id', '=', filter.tokenId);
        if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
        if (filter.acknowledged !== undefined)
          query = query.where('acknowledged_at', filter.acknowledged ? 'is not' : 'is', null);
        return query.execute();
      });
      return toList(rows, filter, (row) => [row.id], viewAlert);
    },

    /** Once: who comes later, or again, gets what the first one made, and nothing is written. @throws {SallyportError} NOT_FOUND, FORBIDDEN */
    async acknowledge(caller: Caller, id: string): Promise<AlertView> {
      demand(caller, 'alerts:write');
      const seen = await read(caller, id);
      if (seen.acknowledged_at !== null) return viewAlert(seen);
      const { rule, key_id: keyId, token_id: tokenId, user_id: userId } = seen;
      await act(caller, 'alert.acknowledge', { alertId: id, rule, keyId, tokenId, userId }, async (tx) => {
        await tx
          .updateTable('alerts')
          .set({ acknowledged_at: new Date(clock()), acknowledged_by: caller.userId })
          .where('workspace_id', '=', caller.workspaceId)
          .where('id', '=', id)
          .where('acknowledged_at', 'is', null)
          .execute();
      });
      return viewAlert(await read(caller, id));
    },
  });

  async function read(caller: Caller, id: string): Promise<Row> {
    if (!isId('alert', id)) throw notFound('alert');
    const row = await store.asWorkspace(caller.workspaceId, (tx) =>
      visible(tx, caller).where('id', '=', id).executeTakeFirst(),
    );
    return found(row, 'alert');
  }
}

function visible(tx: Tx, caller: Caller) {
  const all = tx.selectFrom('alerts').selectAll().where('workspace_id', '=', caller.workspaceId);
  return can(caller.role, 'alerts:all') ? all : all.where('user_id', '=', caller.userId);
}

export function viewAlert(row: Row): AlertView {
  return {
    id: row.id,
    rule: row.rule as AlertRule,
    keyId: row.key_id,
    tokenId: row.token_id,
    userId: row.user_id,
    explanation: row.explanation,
    numbers: row.numbers,
    firstAt: iso(row.first_at),
    lastAt: iso(row.last_at),
    count: row.count,
    acknowledgedAt: iso(row.acknowledged_at),
    acknowledgedBy: row.acknowledged_by,
  };
}
