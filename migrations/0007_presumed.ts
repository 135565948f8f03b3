import { type Kysely, sql } from 'kysely';

/**
 * How far a stream whose process is gone was searched for uses without an end (src/journal/presumption.ts): other nodes put those down
 * as presumed ended, once.
 */
const statements = [
  `alter table journal_streams
     add column presumed_seq bigint not null default 0 check (presumed_seq >= 0)`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
