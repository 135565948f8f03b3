import { type Kysely, sql } from 'kysely';

/** Signed checkpoints of the journal, which records each of them covers, and the keys that sign. Of the deployment, not of a workspace. */

const id = 'text collate "C"';
const time = 'timestamptz(3)';

const appendOnly = (table: string): string =>
  `create trigger append_only before update or delete or truncate on ${table}
     for each statement execute function refuse_journal_change()`;

const statements = [
  // `record` is the private half under a root key: gone once another key has taken over. `note` introduces the public half, signed by
  // this key and by the one before it.
  `create table signing_keys (
    id ${id} primary key,
    public_key bytea not null check (octet_length(public_key) = 32),
    root_key_id ${id},
    record bytea,
    note text not null,
    created_at ${time} not null default now(),
    retired_at ${time},
    check ((record is null) = (root_key_id is null)),
    check ((record is null) = (retired_at is not null)))`,
  `create unique index signing_keys_active on signing_keys ((retired_at is null)) where retired_at is null`,
  `grant select, insert, update on signing_keys to sallyport_system`,

  `create table checkpoints (
    number bigint primary key check (number > 0),
    at ${time} not null,
    note text not null)`,
  `create index checkpoints_by_time on checkpoints (at)`,
  appendOnly('checkpoints'),
  `grant select, insert on checkpoints to sallyport_system`,

  // What the notes say of streams, by stream: records first_seq to next_seq - 1 are leaves of that checkpoint's tree.
  `create table checkpoint_streams (
    stream ${id} not null,
    first_seq bigint not null check (first_seq >= 0),
    next_seq bigint not null check (next_seq > first_seq),
    number bigint not null references checkpoints,
    primary key (stream, first_seq))`,
  `create index checkpoint_streams_by_number on checkpoint_streams (number)`,
  appendOnly('checkpoint_streams'),
  `grant select, insert on checkpoint_streams to sallyport_system`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
