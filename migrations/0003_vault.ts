import { type Kysely, sql } from 'kysely';

/** Seals, intake keys, and what the life of a provider key needs: its purpose, its reminders, and where its value was used. */

const id = 'text collate "C"';
const time = 'timestamptz(3)';
const workspace = "nullif(current_setting('sallyport.workspace', true), '')";
const isSystem = "current_user = 'sallyport_system'";

const statements = [
  // A public key and how its secret is found again; the secret is kept by whoever made it.
  `create table seals (
    id ${id} primary key,
    workspace_id ${id} not null references workspaces on delete cascade,
    created_by ${id} not null,
    name text not null,
    public_key bytea not null check (octet_length(public_key) = 32),
    derivation jsonb,
    mac bytea not null,
    created_at ${time} not null default now(),
    unique (workspace_id, id))`,
  `alter table seals enable row level security`,
  `alter table seals force row level security`,
  `create policy seals_workspace on seals to sallyport_app using (workspace_id = ${workspace}) with check (workspace_id = ${workspace})`,
  `create policy seals_system on seals to sallyport_system using (${isSystem}) with check (${isSystem})`,
  `grant select, insert, update, delete on seals to sallyport_app`,
  `grant select on seals to sallyport_system`,

  // Of the deployment, not of a workspace: one is made a day, and its private half is sealed under a root key.
  `create table intake_keys (
    id ${id} primary key,
    public_key bytea not null check (octet_length(public_key) = 32),
    root_key_id ${id} not null,
    record bytea not null,
    created_at ${time} not null default now(),
    expires_at ${time} not null)`,
  `grant select, insert, update, delete on intake_keys to sallyport_system`,

  `alter table users add column store_keys boolean not null default true`,

  `alter table provider_keys
     add column purpose text not null default 'relay' check (purpose in ('relay', 'usage')),
     add column rotate_after_days integer default 180 check (rotate_after_days between 1 and 3650),
     add column value_set_at ${time} not null default now(),
     add column expiry_warned_days integer,
     add column rotation_reminded_at ${time},
     add foreign key (workspace_id, seal_id) references seals (workspace_id, id)`,
  // Where no credential is sent there is no value that could be old. Not an update: row security would hide the rows from the owner.
  `alter table provider_keys alter column rotate_after_days type integer
     using case when auth = 'none' then null else rotate_after_days end`,
  `create index provider_keys_by_fingerprint on provider_keys (workspace_id, fingerprint)`,
  `create index provider_keys_by_expiry on provider_keys (expires_at) where expires_at is not null`,

  `alter table usage_events add column key_fingerprint text`,
  `create index usage_events_by_fingerprint on usage_events (workspace_id, key_fingerprint, started_at)
     where key_fingerprint is not null`,

  // What each running node's ring holds: a root key is promoted only when all of them have it.
  `alter table nodes
     add column root_keys text[] not null default '{}',
     add column active_root_key ${id}`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
