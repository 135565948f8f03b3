import { type Kysely, sql } from 'kysely';

/**
 * The first ground: every table, its row security, its grants.
 *
 * `sallyport_app` sees the one workspace that `sallyport.workspace` names, `sallyport_system` sees all of them by policies of its own;
 * neither can log in nor pass row security by. An unset or empty setting names nothing: `nullif` makes it null, and null equals nothing.
 * Row security is forced, so that it binds the owner too, who has no policy and thus sees nothing without taking a role.
 */

/** Ids are ASCII; "C" keeps their indexes valid when the system's collations change under the database. */
const id = 'text collate "C"';
const time = 'timestamptz(3)';
/** Taken, not inherited: before PostgreSQL 16 the owner, as a member, has the role's policies without taking it. */
const isSystem = "current_user = 'sallyport_system'";
const workspace = "nullif(current_setting('sallyport.workspace', true), '')";

const roles = `
do $$
declare
  wanted text;
begin
  foreach wanted in array array['sallyport_app', 'sallyport_system'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin noinherit', wanted);
      exception
        -- Roles belong to the cluster: another database's migration may have been quicker.
        when duplicate_object or unique_violation then null;
      end;
    end if;
  end loop;
end
$$`;

const tables = [
  `create table deployment (
    "only" boolean primary key default true check ("only"),
    id ${id} not null,
    canary bytea not null,
    created_at ${time} not null default now())`,
  `create table epoch (
    "only" boolean primary key default true check ("only"),
    value bigint not null)`,
  `insert into epoch (value) values (0)`,
  `create table workspaces (
    id ${id} primary key,
    name text not null,
    managed_keys boolean not null default false,
    store_keys boolean not null default true,
    created_at ${time} not null default now())`,
  `create table workspace_keys (
    workspace_id ${id} not null references workspaces on delete cascade,
    version integer not null check (version > 0),
    root_key_id ${id} not null,
    record bytea not null,
    created_at ${time} not null default now(),
    primary key (workspace_id, version))`,
  `create index workspace_keys_by_root_key on workspace_keys (root_key_id)`,
  `create table users (
    id ${id} primary key,
    workspace_id ${id} not null references workspaces on delete cascade,
    name text not null,
    external_id text,
    email text,
    created_at ${time} not null default now(),
    unique (workspace_id, id),
    unique (workspace_id, external_id))`,
  `create table memberships (
    workspace_id ${id} not null,
    user_id ${id} not null,
    role text not null check (role in ('owner', 'admin', 'member', 'viewer', 'auditor')),
    created_at ${time} not null default now(),
    primary key (workspace_id, user_id),
    foreign key (workspace_id, user_id) references users (workspace_id, id) on delete cascade)`,
  `create table tokens (
    id ${id} primary key,
    workspace_id ${id} not null,
    user_id ${id} not null,
    name text not null,
    kind text not null check (kind in ('gateway', 'admin')),
    prefix ${id} not null unique,
    verifier bytea not null,
    mac bytea not null,
    providers text[],
    models text[],
    key_ids text[],
    requests_per_minute integer not null check (requests_per_minute >= 0),
    concurrent_calls integer not null check (concurrent_calls >= 0),
    expires_at ${time},
    revoked_at ${time},
    last_used_at ${time},
    created_at ${time} not null default now(),
    unique (workspace_id, id),
    foreign key (workspace_id, user_id) references users (workspace_id, id) on delete cascade)`,
  `create index tokens_by_user on tokens (workspace_id, user_id, id)`,
  `create table provider_keys (
    id ${id} primary key,
    workspace_id ${id} not null,
    user_id ${id} not null,
    name text not null,
    description text,
    provider text not null,
    source text not null check (source in ('own', 'managed')),
    protection text not null check (protection in ('standard', 'sealed')),
    seal_id ${id},
    auth text not null check (auth in ('bearer', 'none') or auth like 'header:_%'),
    origins text[] not null,
    base_path text not null,
    operator_origin boolean not null,
    version integer not null check (version > 0),
    last4 text,
    fingerprint text,
    is_active boolean not null,
    shared_with jsonb,
    expires_at ${time},
    auth_failed_at ${time},
    last_used_at ${time},
    last_test jsonb,
    mac bytea not null,
    created_at ${time} not null default now(),
    updated_at ${time} not null default now(),
    unique (workspace_id, id),
    foreign key (workspace_id, user_id) references users (workspace_id, id) on delete cascade)`,
  `create index provider_keys_by_user on provider_keys (workspace_id, user_id, id)`,
  `create index provider_keys_by_provider on provider_keys (workspace_id, provider, id)`,
  `create table provider_key_versions (
    workspace_id ${id} not null,
    key_id ${id} not null,
    version integer not null check (version > 0),
    workspace_key_version integer not null,
    wrap bytea not null,
    payload bytea not null,
    created_at ${time} not null default now(),
    primary key (workspace_id, key_id, version),
    foreign key (workspace_id, key_id) references provider_keys (workspace_id, id) on delete cascade,
    foreign key (workspace_id, workspace_key_version) references workspace_keys (workspace_id, version))`,
  `create index provider_key_versions_by_workspace_key on provider_key_versions (workspace_id, workspace_key_version)`,
  // No reference to workspaces: the act of making one is inserted before it, and the act of deleting one outlives it.
  `create table acts (
    act_id ${id} primary key,
    workspace_id ${id} not null,
    digest bytea not null,
    at ${time} not null default now())`,
  `create index acts_by_time on acts (workspace_id, at)`,
  `create table idempotency_keys (
    workspace_id ${id} not null references workspaces on delete cascade,
    caller_id ${id} not null,
    key text not null,
    digest bytea not null,
    resource_id ${id} not null,
    created_at ${time} not null default now(),
    primary key (workspace_id, caller_id, key))`,
  `create index idempotency_keys_by_age on idempotency_keys (created_at)`,
  `create table nodes (
    node_id ${id} not null,
    boot_id ${id} not null,
    version text not null,
    started_at ${time} not null default now(),
    beat_at ${time} not null default now(),
    primary key (node_id, boot_id))`,
  `create table journal (
    month date not null check (extract(day from month) = 1),
    stream ${id} not null,
    seq bigint not null check (seq >= 0),
    workspace_id ${id},
    at ${time} not null,
    event text not null,
    call_id ${id},
    key_id ${id},
    token_id ${id},
    user_id ${id},
    hash bytea not null,
    line text not null,
    primary key (month, stream, seq)) partition by range (month)`,
  `create table journal_default partition of journal default`,
  `create index journal_by_time on journal (workspace_id, at, stream, seq)`,
  `create index journal_by_call on journal (call_id) where call_id is not null`,
  `create table journal_streams (
    stream ${id} primary key,
    next_seq bigint not null check (next_seq >= 0),
    head_hash bytea not null check (octet_length(head_hash) = 32),
    closed boolean not null,
    updated_at ${time} not null default now())`,
  `create table usage_events (
    month date not null check (extract(day from month) = 1),
    workspace_id ${id} not null,
    call_id ${id} not null,
    attempt integer not null check (attempt > 0),
    final boolean not null,
    started_at ${time} not null,
    ended_at ${time} not null,
    token_id ${id},
    user_id ${id},
    key_id ${id},
    key_version integer,
    key_source text,
    provider text not null,
    model text,
    operation text not null,
    is_stream boolean not null,
    status integer,
    outcome text not null,
    end_reason text not null,
    input_tokens bigint, cached_input_tokens bigint, cache_write_input_tokens bigint,
    output_tokens bigint, reasoning_tokens bigint,
    usage_source text not null check (usage_source in ('provider', 'estimated', 'unknown')),
    provider_usage jsonb,
    cost_nano_usd bigint,
    price_version text,
    request_bytes bigint not null, response_bytes bigint not null,
    first_byte_ms integer, total_ms integer not null,
    upstream_request_id text,
    receipt text not null,
    primary key (month, call_id, attempt)) partition by range (month)`,
  `create table usage_events_default partition of usage_events default`,
  `create index usage_events_by_time on usage_events (workspace_id, started_at, call_id, attempt)`,
  `create index usage_events_by_call on usage_events (workspace_id, call_id)`,
  `create index usage_events_by_key on usage_events (workspace_id, key_id, started_at)`,
  `create table usage_hourly (
    workspace_id ${id} not null,
    hour ${time} not null,
    token_id ${id} not null,
    user_id ${id} not null,
    key_id ${id} not null,
    provider text not null,
    model text not null,
    calls bigint not null, attempts bigint not null, failed bigint not null,
    input_tokens bigint not null, cached_input_tokens bigint not null, cache_write_input_tokens bigint not null,
    output_tokens bigint not null, reasoning_tokens bigint not null, unknown_usage_calls bigint not null,
    cost_nano_usd bigint not null, unknown_cost_calls bigint not null,
    primary key (workspace_id, hour, token_id, user_id, key_id, provider, model))`,
];

interface Guarded {
  readonly table: string;
  /** The column that names the workspace. */
  readonly column?: string;
  readonly app: string;
  readonly system: string;
}

/** What each role may do; which rows is said by the policies. Projections and the journal are read-only to a workspace. */
const guarded: readonly Guarded[] = [
  { table: 'workspaces', column: 'id', app: 'select, insert, update', system: 'select' },
  { table: 'workspace_keys', app: 'select, insert', system: 'select, insert, update' },
  { table: 'users', app: 'select, insert, update, delete', system: 'select' },
  { table: 'memberships', app: 'select, insert, update, delete', system: 'select' },
  { table: 'tokens', app: 'select, insert, update', system: 'select, update' },
  { table: 'provider_keys', app: 'select, insert, update, delete', system: 'select, update' },
  { table: 'provider_key_versions', app: 'select, insert, delete', system: 'select, update, delete' },
  { table: 'acts', app: 'select, insert', system: 'select' },
  { table: 'idempotency_keys', app: 'select, insert, delete', system: 'select, delete' },
  { table: 'journal', app: 'select', system: 'select, insert' },
  { table: 'usage_events', app: 'select', system: 'select, insert' },
  { table: 'usage_hourly', app: 'select', system: 'select, insert, update' },
];

function guard({ table, column = 'workspace_id', app, system }: Guarded): string[] {
  const isMine = `${column} = ${workspace}`;
  const policy =
    app === 'select'
      ? `for select to sallyport_app using (${isMine})`
      : `to sallyport_app using (${isMine}) with check (${isMine})`;
  return [
    `alter table ${table} enable row level security`,
    `alter table ${table} force row level security`,
    `create policy ${table}_workspace on ${table} ${policy}`,
    `create policy ${table}_system on ${table} to sallyport_system using (${isSystem}) with check (${isSystem})`,
    `grant ${app} on ${table} to sallyport_app`,
    `grant ${system} on ${table} to sallyport_system`,
  ];
}

const rest = [
  // A token is found by its exact public prefix before its workspace is known.
  `create policy tokens_lookup on tokens for select to sallyport_app
     using (prefix = nullif(current_setting('sallyport.lookup', true), ''))`,
  `grant select on deployment, epoch to sallyport_app`,
  `grant update (value) on epoch to sallyport_app, sallyport_system`,
  `grant select, insert, update on deployment to sallyport_system`,
  `grant select on epoch to sallyport_system`,
  `grant select, insert, update, delete on nodes to sallyport_system`,
  `grant select, insert, update on journal_streams to sallyport_system`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<{ name: string }>`select quote_ident(current_schema()) as name`.execute(db);
  const schema = rows[0]?.name;
  if (schema === undefined) throw new Error('the search_path names no schema that exists');
  const statements = [
    roles,
    `grant usage on schema ${schema} to sallyport_app, sallyport_system`,
    ...tables,
    ...guarded.flatMap(guard),
    ...rest,
  ];
  for (const statement of statements) await sql.raw(statement).execute(db);
}
