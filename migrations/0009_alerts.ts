import { type Kysely, sql } from 'kysely';

/** What looked unusual and who was told: alerts, where they are sent, and notices of a breach. */

const id = 'text collate "C"';
const time = 'timestamptz(3)';
const workspace = "nullif(current_setting('sallyport.workspace', true), '')";
const isSystem = "current_user = 'sallyport_system'";

function guard(table: string, app: string | null, system: string): string[] {
  return [
    `alter table ${table} enable row level security`,
    `alter table ${table} force row level security`,
    `create policy ${table}_workspace on ${table} to sallyport_app using (workspace_id = ${workspace}) with check (workspace_id = ${workspace})`,
    `create policy ${table}_system on ${table} to sallyport_system using (${isSystem}) with check (${isSystem})`,
    ...(app === null ? [] : [`grant ${app} on ${table} to sallyport_app`]),
    `grant ${system} on ${table} to sallyport_system`,
  ];
}

const statements = [
  // How far each stream of the journal was looked at.
  `create table alert_progress (
    stream ${id} primary key,
    next_seq bigint not null check (next_seq >= 0))`,
  `grant select, insert, update on alert_progress to sallyport_system`,

  // Of a key or a token: the networks that it was used from, as keyed hashes; '' stands for any. A person's rows go with the person.
  `create table seen_uses (
    workspace_id ${id} not null,
    subject ${id} not null,
    network ${id} not null,
    user_id ${id} not null,
    last_at ${time} not null,
    primary key (workspace_id, subject, network),
    foreign key (workspace_id, user_id) references users (workspace_id, id) on delete cascade)`,
  `create index seen_uses_by_user on seen_uses (workspace_id, user_id)`,
  ...guard('seen_uses', null, 'select, insert, update, delete'),

  // token_id '': refusals that the journal has as counts only.
  `create table refusal_counts (
    workspace_id ${id} not null references workspaces on delete cascade,
    token_id ${id} not null,
    hour ${time} not null,
    code text not null,
    count bigint not null,
    primary key (workspace_id, hour, token_id, code))`,
  ...guard('refusal_counts', null, 'select, insert, update, delete'),

  // user_id: whose key or token it is. told_at: deliveries to webhooks were made of it.
  `create table alerts (
    id ${id} primary key,
    workspace_id ${id} not null references workspaces on delete cascade,
    rule text not null,
    subject ${id} not null,
    key_id ${id},
    token_id ${id},
    user_id ${id} not null,
    day date not null,
    explanation text not null,
    numbers jsonb not null,
    first_at ${time} not null,
    last_at ${time} not null,
    count integer not null,
    acknowledged_at ${time},
    acknowledged_by ${id},
    told_at ${time},
    created_at ${time} not null default now(),
    unique (workspace_id, rule, subject, day))`,
  `create index alerts_by_workspace on alerts (workspace_id, id)`,
  `create index alerts_untold on alerts (id) where told_at is null`,
  ...guard('alerts', 'select, update (acknowledged_at, acknowledged_by)', 'select, insert, update'),

  `create table webhooks (
    id ${id} primary key,
    workspace_id ${id} not null references workspaces on delete cascade,
    url text not null,
    events text[] not null,
    created_by ${id} not null,
    mac bytea not null,
    created_at ${time} not null default now())`,
  `create index webhooks_by_workspace on webhooks (workspace_id)`,
  ...guard('webhooks', 'select, insert, delete', 'select'),

  // next_at null: it has ended, by outcome.
  `create table webhook_deliveries (
    id ${id} primary key,
    workspace_id ${id} not null references workspaces on delete cascade,
    webhook_id ${id} not null references webhooks on delete cascade,
    event text not null,
    body text not null,
    mac bytea not null,
    attempts integer not null default 0,
    next_at ${time},
    outcome text check (outcome in ('delivered', 'given_up')),
    status integer,
    created_at ${time} not null default now(),
    check ((next_at is null) = (outcome is not null)))`,
  `create index webhook_deliveries_due on webhook_deliveries (next_at) where next_at is not null`,
  `create index webhook_deliveries_by_webhook on webhook_deliveries (webhook_id, created_at)`,
  ...guard('webhook_deliveries', 'select', 'select, insert, update, delete'),

  // In the operator's workspace, whomever it concerns. note_id: where he keeps what he knows of it.
  `create table breaches (
    id ${id} primary key,
    workspace_id ${id} not null references workspaces on delete cascade,
    discovered_at ${time} not null,
    note_id text,
    notified_at ${time},
    closed_at ${time},
    created_at ${time} not null default now())`,
  ...guard('breaches', 'select, insert, update', 'select'),

  // In the workspace of whom it was sent to. A notice that was claimed and not sent may be claimed anew.
  `create table breach_notices (
    breach_id ${id} not null references breaches on delete cascade,
    user_id ${id} not null,
    workspace_id ${id} not null references workspaces on delete cascade,
    channel text not null check (channel in ('smtp', 'webhook')),
    claimed_at ${time} not null,
    sent_at ${time},
    primary key (breach_id, user_id))`,
  ...guard('breach_notices', 'select', 'select, insert, update, delete'),
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
