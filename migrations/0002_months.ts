import { type Kysely, sql } from 'kysely';

/**
 * The journal refuses change, whoever asks, and the partitions of a month are made by a function: the roles own no table and hold no
 * grant on a partition, so that a partition is reached through its parent, where the policies are.
 */

/** Statement triggers don't reach partitions that are named directly, so each of them gets its own. */
const appendOnly = `
create function refuse_journal_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the journal is append-only: % refused', tg_op using errcode = 'restrict_violation';
end
$$`;

const refuse = (table: string): string =>
  `create trigger append_only before update or delete or truncate on ${table}
     for each statement execute function refuse_journal_change()`;

/**
 * Makes the partitions of one month; a month that is there, or whose rows already lie in the default partition, is left alone.
 * Returns how many were made. Bounded to two months back and fourteen ahead, because its caller isn't the owner.
 */
const months = `
create function create_month_partitions(wanted date) returns integer language plpgsql security definer set search_path = %schema%, pg_temp as $$
declare
  first date := date_trunc('month', wanted)::date;
  parent text;
  part text;
  made integer := 0;
begin
  if first not between (now() - interval '3 months')::date and (now() + interval '14 months')::date then
    raise exception 'month % is out of bounds', first using errcode = 'numeric_value_out_of_range';
  end if;
  foreach parent in array array['journal', 'usage_events'] loop
    part := parent || to_char(first, '_YYYY_MM');
    continue when to_regclass(quote_ident(part)) is not null;
    begin
      execute format('create table %I partition of %I for values from (%L) to (%L)', part, parent, first, (first + interval '1 month')::date);
      execute format('alter table %I enable row level security', part);
      execute format('alter table %I force row level security', part);
      if parent = 'journal' then
        execute format('create trigger append_only before update or delete or truncate on %I for each statement execute function refuse_journal_change()', part);
      end if;
      made := made + 1;
    exception
      when duplicate_table or unique_violation or check_violation then null;
    end;
  end loop;
  return made;
end
$$`;

const partitions = [
  ...['journal_default', 'usage_events_default'].flatMap((table) => [
    `alter table ${table} enable row level security`,
    `alter table ${table} force row level security`,
  ]),
  refuse('journal'),
  refuse('journal_default'),
  `revoke all on function create_month_partitions(date), refuse_journal_change() from public`,
  `grant execute on function create_month_partitions(date) to sallyport_system`,
  `select create_month_partitions(now()::date), create_month_partitions((date_trunc('month', now()) + interval '1 month')::date)`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<{ name: string }>`select quote_ident(current_schema()) as name`.execute(db);
  const schema = rows[0]?.name;
  if (schema === undefined) throw new Error('the search_path names no schema that exists');
  for (const statement of [appendOnly, months.replace('%schema%', () => schema), ...partitions]) {
    await sql.raw(statement).execute(db);
  }
}
