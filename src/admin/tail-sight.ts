import type { AuditFilter } from './audit-filter.ts';
import type { AuditEntry, AuditRow } from './audit-view.ts';
import type { Caller } from './caller.ts';
import { invalid } from './moment.ts';
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

/** @throws {SallyportError} REQUEST_INVALID */
export function checkEvent(event: string | undefined): void {
  if (event?.replace(/\.\*$/, '').includes('*') === true)
    throw invalid('/event', 'has a * that is not its last word');
}

export function passes(filter: TailFilter, row: AuditRow, entry: AuditEntry): boolean {
  const { event, keyId, tokenId, callId, userId, provider, outcome } = filter;
  const is = (wanted: string | undefined, found: string | null): boolean =>
    wanted === undefined || wanted === found;
  return (
    (event === undefined ||
      (event.endsWith('.*') ? row.event.startsWith(event.slice(0, -1)) : row.event === event)) &&
    is(keyId, row.key_id) &&
    is(tokenId, row.token_id) &&
    is(callId, row.call_id) &&
    is(userId, row.user_id) &&
    is(provider, entry.provider) &&
    is(outcome, entry.outcome)
  );
}
