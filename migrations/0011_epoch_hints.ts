import { type Kysely, sql } from 'kysely';

/** Whoever moves the epoch tells those who listen, with the COMMIT of what he did. A hint: the row is polled all the same. */

const statements = [
  `create function hint_epoch() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
   begin
     perform pg_notify('sallyport_epoch', '');
     return null;
   end $$`,
  `revoke all on function hint_epoch() from public`,
  `create trigger epoch_hint after update on epoch for each statement execute function hint_epoch()`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
