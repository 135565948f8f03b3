import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { FoundingTable } from '../db/snapshot.ts';
import { bytesOf } from './export-format.ts';

/** Tables of an export whose rows have a MAC. */
type MacTable = {
  readonly [Table in FoundingTable]: 'mac' extends keyof Schema[Table] ? Table : never;
}[FoundingTable];

type Value<Table extends MacTable, Column extends keyof Schema[Table]> = NonNullable<
  Selectable<Schema[Table]>[Column & keyof Selectable<Schema[Table]>]
>;

/**
 * Columns that PostgreSQL's JSON has as texts and the lists of row-macs.ts as bytes or times. Complete by their types: one that the
 * schema has and this table has not, or has as something else, does not compile; named by hand, it would refuse a good file one day.
 */
const columns: {
  readonly [Table in MacTable]: {
    readonly [
      Column in keyof Schema[Table] as Value<Table, Column> extends Buffer | Date ? Column : never
    ]: Value<Table, Column> extends Buffer ? 'bytes' : 'time';
  };
} = {
  tokens: {
    verifier: 'bytes',
    mac: 'bytes',
    expires_at: 'time',
    revoked_at: 'time',
    last_used_at: 'time',
    created_at: 'time',
  },
  seals: { public_key: 'bytes', mac: 'bytes', created_at: 'time' },
  provider_keys: {
    mac: 'bytes',
    expires_at: 'time',
    auth_failed_at: 'time',
    last_used_at: 'time',
    value_set_at: 'time',
    rotation_reminded_at: 'time',
    created_at: 'time',
    updated_at: 'time',
  },
  model_aliases: { mac: 'bytes', created_at: 'time' },
  price_overrides: { effective_from: 'time', mac: 'bytes', created_at: 'time' },
  webhooks: { mac: 'bytes', created_at: 'time' },
};

/** The row as row-macs.ts reads it; nothing in it is believed before its MAC is compared. */
export function typedRow<Table extends MacTable>(
  table: Table,
  fields: Readonly<Record<string, unknown>>,
): Selectable<Schema[Table]> {
  const kindOf = new Map<string, 'bytes' | 'time'>(Object.entries(columns[table]));
  const entries = Object.entries(fields).map(([name, value]) => {
    const kind = value === null ? undefined : kindOf.get(name);
    if (kind === 'bytes') return [name, bytesOf(value)];
    return [name, kind === 'time' && typeof value === 'string' ? moment(value) : value];
  });
  return Object.fromEntries(entries) as Selectable<Schema[Table]>;
}

function moment(text: string): Date {
  const time = new Date(text);
  // toISOString of an invalid one would throw where nobody expects it.
  return Number.isNaN(time.getTime()) ? new Date(0) : time;
}
