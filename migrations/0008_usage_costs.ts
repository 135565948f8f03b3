import { type Kysely, sql } from 'kysely';

/** Costs that were reckoned anew, beside the recorded ones; and the rights that making the projections anew takes. */

const id = 'text collate "C"';
const time = 'timestamptz(3)';
const workspace = "nullif(current_setting('sallyport.workspace', true), '')";
const isSystem = "current_user = 'sallyport_system'";

const statements = [
  // `version` names what was reckoned with: the table of prices and the workspace's own at that moment. `price_version` is where this
  // cost's price is from, null where none is known. Nothing is ever changed here.
  `create table usage_costs (
    workspace_id ${id} not null,
    call_id ${id} not null,
    attempt integer not null check (attempt > 0),
    version text not null,
    started_at ${time} not null,
    cost_nano_usd bigint check (cost_nano_usd >= 0),
    price_version text,
    computed_at ${time} not null,
    primary key (workspace_id, call_id, attempt, version))`,
  `create index usage_costs_by_time on usage_costs (workspace_id, started_at)`,
  `alter table usage_costs enable row level security`,
  `alter table usage_costs force row level security`,
  `create policy usage_costs_workspace on usage_costs for select to sallyport_app using (workspace_id = ${workspace})`,
  `create policy usage_costs_system on usage_costs to sallyport_system using (${isSystem}) with check (${isSystem})`,
  `grant select on usage_costs to sallyport_app`,
  `grant select, insert on usage_costs to sallyport_system`,

  // Projections are made anew from records, which nobody may change.
  `grant delete on usage_events, usage_hourly to sallyport_system`,
];

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
