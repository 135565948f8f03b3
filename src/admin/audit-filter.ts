import { type RawBuilder, sql } from 'kysely';
import { invalid, readMoment } from './moment.ts';

export interface AuditFilter {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** An event, or `key.*` for all that begin so. */
  readonly event?: string | undefined;
  readonly keyId?: string | undefined;
  readonly tokenId?: string | undefined;
  readonly callId?: string | undefined;
  readonly userId?: string | undefined;
  readonly provider?: string | undefined;
  readonly outcome?: string | undefined;
}

const columns = { keyId: 'key_id', tokenId: 'token_id', callId: 'call_id', userId: 'user_id' } as const;

/** As conditions on rows of `journal`. @throws {SallyportError} REQUEST_INVALID */
export function auditConditions(filter: AuditFilter): RawBuilder<boolean>[] {
  const conditions: RawBuilder<boolean>[] = [];
  if (filter.from !== undefined) conditions.push(sql`at >= ${readMoment('/from', filter.from)}`);
  if (filter.to !== undefined) conditions.push(sql`at < ${readMoment('/to', filter.to)}`);
  if (filter.event !== undefined) conditions.push(eventIs(filter.event));
  for (const [name, column] of Object.entries(columns)) {
    const id = filter[name as keyof typeof columns];
    if (id !== undefined) conditions.push(sql`${sql.ref(column)} = ${id}`);
  }
  for (const name of ['provider', 'outcome'] as const) {
    const word = filter[name];
    if (word !== undefined) conditions.push(memberIs(name, word));
  }
  return conditions;
}

/** How events begin that `key.*` stands for; null: it is one event. @throws {SallyportError} REQUEST_INVALID */
export function eventStart(event: string): string | null {
  const start = event.endsWith('.*') ? event.slice(0, -1) : null;
  if ((start ?? event).includes('*')) throw invalid('/event', 'has a * that is not its last word');
  return start;
}

function eventIs(event: string): RawBuilder<boolean> {
  const start = eventStart(event);
  return start === null ? sql`event = ${event}` : sql`starts_with(event, ${start})`;
}

/**
 * A member of the record itself. What a provider wrote lies deeper in the line and counts for nothing, so the text alone decides only
 * what need not be read; PostgreSQL reads no line with an escaped NUL in it.
 */
function memberIs(name: 'provider' | 'outcome', word: string): RawBuilder<boolean> {
  const written = `${JSON.stringify(name)}:${JSON.stringify(word)}`;
  return sql`case when strpos(line, ${written}) = 0 then false
    else replace(line, '\\u0000', '\\ufffd')::json ->> ${name} = ${word} end`;
}
