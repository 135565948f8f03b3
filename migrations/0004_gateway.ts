import { type Kysely, sql } from 'kysely';

/** What a token may reach and how its calls are carried, how several keys share the load, names for models, and prices of one's own. */

const id = 'text collate "C"';
const time = 'timestamptz(3)';
const workspace = "nullif(current_setting('sallyport.workspace', true), '')";
const isSystem = "current_user = 'sallyport_system'";

function guard(table: string): string[] {
  return [
    `alter table ${table} enable row level security`,
    `alter table ${table} force row level security`,
    `create policy ${table}_workspace on ${table} to sallyport_app using (workspace_id = ${workspace}) with check (workspace_id = ${workspace})`,
    `create policy ${table}_system on ${table} to sallyport_system using (${isSystem}) with check (${isSystem})`,
    `grant select, insert, update, delete on ${table} to sallyport_app`,
    `grant select on ${table} to sallyport_system`,
  ];
}

const statements = [
  // `policy` is JSON kept as text: the row's MAC covers it as it stands.
  `alter table tokens
     add column endpoints text[],
     add column networks text[],
     add column tags text[],
     add column policy text`,

  `alter table provider_keys
     add column weight integer not null default 1 check (weight between 0 and 1000),
     add column stream_usage boolean not null default false`,

  // A name of the workspace's own for a model; one `*` in the alias stands for the one in the target.
  `create table model_aliases (
    id ${id} primary key,
    workspace_id ${id} not null references workspaces on delete cascade,
    alias text not null,
    target text not null,
    created_by ${id} not null,
    mac bytea not null,
    created_at ${time} not null default now(),
    unique (workspace_id, alias))`,
  ...guard('model_aliases'),

  `create table price_overrides (
    id ${id} primary key,
    workspace_id ${id} not null references workspaces on delete cascade,
    provider text not null,
    model text not null,
    prices text not null,
    effective_from ${time} not null,
    created_by ${id} not null,
    mac bytea not null,
    created_at ${time} not null default now())`,
  `create index price_overrides_by_workspace on price_overrides (workspace_id)`,
  ...guard('price_overrides'),
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
