import { type AuditFilter, eventStart } from './audit-filter.ts';
import type { AuditEntry, AuditRow } from './audit-view.ts';
import type { Caller } from './caller.ts';
import { can } from './permissions.ts';

export type TailFilter = Omit<AuditFilter, 'from' | 'to'>;

export interface OwnIds {
  readonly keys: ReadonlySet<string>;
  readonly tokens: ReadonlySet<string>;
}

/** The same that `visibleRecords` asks the database for: many tails share one reading. @param own  null: he sees the workspace's */
export function sees(caller: Caller, own: OwnIds | null, row: AuditRow, entry: AuditEntry): boolean {
  if (own === null) return can(caller.role, 'audit:all');
  if (row.user_id === caller.userId || own.keys.has(row.key_id ?? '')) return true;
  return !row.event.startsWith('use.') && entry.actor.type === 'admin' && own.tokens.has(entry.actor.id);
}

export function passes(filter: TailFilter, row: AuditRow, entry: AuditEntry): boolean {
  const { event, keyId, tokenId, callId, userId, provider, outcome } = filter;
  const is = (wanted: string | undefined, found: string | null): boolean =>
    wanted === undefined || wanted === found;
  const start = event === undefined ? null : eventStart(event);
  return (
    (start === null ? is(event, row.event) : row.event.startsWith(start)) &&
    is(keyId, row.key_id) &&
    is(tokenId, row.token_id) &&
    is(callId, row.call_id) &&
    is(userId, row.user_id) &&
    is(provider, entry.provider) &&
    is(outcome, entry.outcome)
  );
}
