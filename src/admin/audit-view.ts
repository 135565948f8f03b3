import { iso } from './moment.ts';

/** A record of the journal as `/api/audit` tells it. */
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

export interface AuditRow {
  readonly stream: string;
  readonly seq: bigint;
  readonly at: Date;
  readonly event: string;
  readonly call_id: string | null;
  readonly key_id: string | null;
  readonly token_id: string | null;
  readonly user_id: string | null;
  readonly hash: Buffer;
  readonly line: string;
}

export const auditColumns = [
  'stream',
  'seq',
  'at',
  'event',
  'call_id',
  'key_id',
  'token_id',
  'user_id',
  'hash',
  'line',
] as const satisfies readonly (keyof AuditRow)[];

export function viewRecord(row: AuditRow): AuditEntry {
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
function actorOf(record: Readonly<Record<string, unknown>>, row: AuditRow): AuditEntry['actor'] {
  const actor = record['actor'] as AuditEntry['actor'] | undefined;
  if (actor !== undefined) return { type: actor.type, id: actor.id };
  return row.token_id === null ? { type: 'system', id: row.stream } : { type: 'token', id: row.token_id };
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
