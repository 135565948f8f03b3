import { sql } from 'kysely';
import type { Store } from '../db/store.ts';
import type { Caller } from './caller.ts';
import { iso, readMoment } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demand } from './permissions.ts';
import { visibleUses } from './use-visibility.ts';

export interface AuditFilter extends Page {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly event?: string | undefined;
  readonly keyId?: string | undefined;
  readonly tokenId?: string | undefined;
  readonly callId?: string | undefined;
  readonly userId?: string | undefined;
}

export interface AuditEntry {
  readonly stream: string;
  readonly seq: number;
  readonly at: string;
  readonly event: string;
  readonly actor: { readonly type: 'token' | 'admin' | 'cli' | 'system'; readonly id: string };
  readonly callId: string | null;
  readonly keyId: string | null;
  readonly tokenId: string | null;
  readonly provider: string | null;
  readonly outcome: string | null;
  /** 64 hex. */
  readonly hash: string;
  /** The line as it is. */
  readonly record: Readonly<Record<string, unknown>>;
}

interface Row {
  readonly stream: string;
  readonly seq: bigint;
  readonly at: Date;
  readonly event: string;
  readonly call_id: string | null;
  readonly key_id: string | null;
  readonly token_id: string | null;
  readonly hash: Buffer;
  readonly line: string;
}

export type Audit = ReturnType<typeof createAudit>;

/** The journal, as far as it has reached the database: a workspace's records for its owners and auditors, else what concerns the caller's user. */
export function createAudit({ store }: { readonly store: Pick<Store, 'asWorkspace'> }) {
  return Object.freeze({
    async list(caller: Caller, filter: AuditFilter): Promise<List<AuditEntry>> {
      demand(caller, 'audit:read');
      const after = placeOf(filter, [
        /^\d{4}-\d{2}-\d{2}T[\d:]{8}\.\d{3}Z$/,
        /^[\x21-\x7e]{1,200}$/,
        /^\d{1,18}$/,
      ]);
      const rows: Row[] = await store.asWorkspace(caller.workspaceId, (tx) => {
        let query = tx
          .selectFrom('journal')
          .select(['stream', 'seq', 'at', 'event', 'call_id', 'key_id', 'token_id', 'hash', 'line'])
          .where(visibleUses(caller, 'audit:all'))
          .orderBy('at', 'desc')
          .orderBy('stream', 'desc')
          .orderBy('seq', 'desc')
          .limit(rowsToRead(filter));
        if (filter.from !== undefined) query = query.where('at', '>=', readMoment('/from', filter.from));
        if (filter.to !== undefined) query = query.where('at', '<', readMoment('/to', filter.to));
        if (filter.event !== undefined) query = query.where('event', '=', filter.event);
        if (filter.keyId !== undefined) query = query.where('key_id', '=', filter.keyId);
        if (filter.tokenId !== undefined) query = query.where('token_id', '=', filter.tokenId);
        if (filter.callId !== undefined) query = query.where('call_id', '=', filter.callId);
        if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
        if (after !== null) {
          const [at, stream, seq] = after;
          query = query.where(sql<boolean>`(at, stream, seq) < (${new Date(at)}, ${stream}, ${BigInt(seq)})`);
        }
        return query.execute();
      });
      return toList(rows, filter, (row) => [iso(row.at), row.stream, String(row.seq)], view);
    },
  });
}

function view(row: Row): AuditEntry {
  const record = JSON.parse(row.line) as Readonly<Record<string, unknown>>;
  return {
    stream: row.stream,
    seq: Number(row.seq),
    at: iso(row.at),
    event: row.event,
    actor: actorOf(record, row),
    callId: row.call_id,
    keyId: row.key_id,
    tokenId: row.token_id,
    provider: text(record['provider']),
    outcome: text(record['outcome']),
    hash: row.hash.toString('hex'),
    record,
  };
}

/** Acts name their actor; a use is its token's; what is left the gateway did by itself. */
function actorOf(record: Readonly<Record<string, unknown>>, row: Row): AuditEntry['actor'] {
  const actor = record['actor'] as AuditEntry['actor'] | undefined;
  if (actor !== undefined) return { type: actor.type, id: actor.id };
  return row.token_id === null ? { type: 'system', id: row.stream } : { type: 'token', id: row.token_id };
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
