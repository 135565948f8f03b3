import { type Kysely, sql } from 'kysely';

/** Salts of the hashes of client addresses: one for each user and month, gone with the user. */

const id = 'text collate "C"';
const time = 'timestamptz(3)';
const workspace = "nullif(current_setting('sallyport.workspace', true), '')";
const isSystem = "current_user = 'sallyport_system'";

const statements = [
  `create table address_salts (
    workspace_id ${id} not null,
    user_id ${id} not null,
    month date not null check (extract(day from month) = 1),
    salt bytea not null check (octet_length(salt) = 32),
    mac bytea not null,
    created_at ${time} not null default now(),
    primary key (workspace_id, user_id, month),
    foreign key (workspace_id, user_id) references users (workspace_id, id) on delete cascade)`,
  `create index address_salts_by_month on address_salts (month)`,
  `alter table address_salts enable row level security`,
  `alter table address_salts force row level security`,
  `create policy address_salts_workspace on address_salts to sallyport_app
     using (workspace_id = ${workspace}) with check (workspace_id = ${workspace})`,
  `create policy address_salts_system on address_salts to sallyport_system using (${isSystem}) with check (${isSystem})`,
  `grant select, insert, delete on address_salts to sallyport_app, sallyport_system`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
