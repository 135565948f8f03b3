import { type Kysely, sql } from 'kysely';

/** Months of the journal that were dropped, each with a signed stub of what went, and the one way to drop a month. */

const time = 'timestamptz(3)';

/**
 * Drops the partitions of a month whose stub is there: of its caller, who isn't the owner, it takes no other month, none of the last two
 * by the server's clock, and none that holds more or less than its stub says. Both parents are locked first, in the order in which
 * shipping takes them, and for as long as counting takes; a lock that can't be had within five seconds is for another day.
 *
 * The owner has no policy: the partition's rows are counted when it is no longer forced to have one, which goes with it.
 */
const dropMonth = `
create function drop_retired_month(wanted date) returns void language plpgsql security definer
  set search_path = %schema%, pg_temp set lock_timeout = '5s' as $$
declare
  stub retired_months%rowtype;
  parent text;
  part text;
  counted bigint;
begin
  if wanted <> date_trunc('month', wanted)::date or wanted > (date_trunc('month', now()) - interval '2 months')::date then
    raise exception 'month % is too young to go', wanted using errcode = 'restrict_violation';
  end if;
  select * into stub from retired_months where month = wanted order by number desc limit 1;
  if not found then
    raise exception 'month % has no stub', wanted using errcode = 'restrict_violation';
  end if;
  lock table only journal in access exclusive mode;
  lock table only usage_events in access exclusive mode;
  foreach parent in array array['journal', 'usage_events'] loop
    part := parent || to_char(wanted, '_YYYY_MM');
    continue when not exists (
      select from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = to_regclass(quote_ident(parent)) and c.relname = part);
    execute format('alter table %I no force row level security', part);
    execute format('select count(*) from %I', part) into counted;
    if counted <> (case parent when 'journal' then stub.records else stub.usage_rows end) then
      raise exception '% holds % rows, which are not those of the stub', part, counted using errcode = 'restrict_violation';
    end if;
    execute format('drop table %I', part);
  end loop;
end
$$`;

const statements = [
  // Whose `note` is signed and names the one before it. A month may go twice: a clock that was set back makes it anew.
  `create table retired_months (
    number bigint primary key check (number > 0),
    month date not null check (extract(day from month) = 1),
    records bigint not null check (records >= 0),
    usage_rows bigint not null check (usage_rows >= 0),
    at ${time} not null,
    note text not null)`,
  `create trigger append_only before update or delete or truncate on retired_months
     for each statement execute function refuse_journal_change()`,
  `grant select, insert on retired_months to sallyport_system`,
];

const rights = [
  `revoke all on function drop_retired_month(date) from public`,
  `grant execute on function drop_retired_month(date) to sallyport_system`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<{ name: string }>`select quote_ident(current_schema()) as name`.execute(db);
  const schema = rows[0]?.name;
  if (schema === undefined) throw new Error('the search_path names no schema that exists');
  const drop = dropMonth.replace('%schema%', () => schema);
  for (const statement of [...statements, drop, ...rights]) await sql.raw(statement).execute(db);
}
