import t from 'tap';
import { testDatabase } from '../support/database.ts';

/** Whoever adds a table or a grant changes this list: it is read in review as the answer to "who may do what". */
const grants = [
  'acts: app SELECT INSERT; system SELECT',
  'address_salts: app SELECT INSERT DELETE; system SELECT INSERT DELETE',
  'alert_progress: app nothing; system SELECT INSERT UPDATE',
  'alerts: app SELECT UPDATE(acknowledged_at,acknowledged_by); system SELECT INSERT UPDATE',
  'breach_notices: app SELECT; system SELECT INSERT UPDATE DELETE',
  'breaches: app SELECT INSERT UPDATE; system SELECT',
  'checkpoint_streams: app nothing; system SELECT INSERT',
  'checkpoints: app nothing; system SELECT INSERT',
  'deployment: app SELECT; system SELECT INSERT UPDATE',
  'epoch: app SELECT UPDATE(value); system SELECT UPDATE(value)',
  'idempotency_keys: app SELECT INSERT DELETE; system SELECT DELETE',
  'intake_keys: app nothing; system SELECT INSERT UPDATE DELETE',
  'journal: app SELECT; system SELECT INSERT',
  'journal_streams: app nothing; system SELECT INSERT UPDATE',
  'memberships: app SELECT INSERT UPDATE DELETE; system SELECT',
  'model_aliases: app SELECT INSERT UPDATE DELETE; system SELECT',
  'nodes: app nothing; system SELECT INSERT UPDATE DELETE',
  'price_overrides: app SELECT INSERT UPDATE DELETE; system SELECT',
  'provider_key_versions: app SELECT INSERT DELETE; system SELECT UPDATE DELETE',
  'provider_keys: app SELECT INSERT UPDATE DELETE; system SELECT UPDATE',
  'refusal_counts: app nothing; system SELECT INSERT UPDATE DELETE',
  'retired_months: app nothing; system SELECT INSERT',
  'seals: app SELECT INSERT UPDATE DELETE; system SELECT',
  'seen_uses: app nothing; system SELECT INSERT UPDATE DELETE',
  'signing_keys: app nothing; system SELECT INSERT UPDATE',
  'tokens: app SELECT INSERT UPDATE; system SELECT UPDATE',
  'usage_costs: app SELECT; system SELECT INSERT',
  'usage_events: app SELECT; system SELECT INSERT DELETE',
  'usage_hourly: app SELECT; system SELECT INSERT UPDATE DELETE',
  'users: app SELECT INSERT UPDATE DELETE; system SELECT',
  'webhook_deliveries: app SELECT; system SELECT INSERT UPDATE DELETE',
  'webhooks: app SELECT INSERT DELETE; system SELECT',
  'workspace_keys: app SELECT INSERT; system SELECT INSERT UPDATE',
  'workspaces: app SELECT INSERT UPDATE; system SELECT',
];

const unguarded = [
  'alert_progress',
  'checkpoint_streams',
  'checkpoints',
  'deployment',
  'epoch',
  'intake_keys',
  'journal_streams',
  'kysely_migration',
  'kysely_migration_lock',
  'nodes',
  'retired_months',
  'signing_keys',
];

const commands = ['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'];

t.test('the two roles have exactly the grants of this list', async (t) => {
  const { owner } = await testDatabase(t);
  const rows = await owner<{ table: string; app: string; system: string }>(
    `select c.relname as table, ${['app', 'system']
      .map(
        (role) => `coalesce((select string_agg(case
            when has_table_privilege('sallyport_${role}', c.oid, p) then p
            when p = 'UPDATE' and has_any_column_privilege('sallyport_${role}', c.oid, 'UPDATE') then 'UPDATE(' || (
              select string_agg(attname, ',') from pg_attribute
              where attrelid = c.oid and attnum > 0 and has_column_privilege('sallyport_${role}', c.oid, attnum, 'UPDATE')) || ')'
            end, ' ' order by n) from unnest($1::text[]) with ordinality as w(p, n)), 'nothing') as ${role}`,
      )
      .join(', ')}
     from pg_class c join pg_namespace s on s.oid = c.relnamespace
     where s.nspname = current_schema() and c.relkind in ('r', 'p') and not c.relispartition and c.relname not like 'kysely%'
     order by c.relname`,
    [commands],
  );
  t.same(
    rows.map(({ table, app, system }) => `${table}: app ${app}; system ${system}`),
    grants,
  );
});

t.test('no role has a grant on a partition, on migration tables, or the right to create', async (t) => {
  const { owner } = await testDatabase(t);
  const rows = await owner(
    `select c.relname, r.rolname from pg_class c, pg_roles r, unnest($1::text[]) as p
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p', 'S') and (c.relispartition or c.relname like 'kysely%')
       and r.rolname like 'sallyport\\_%' and r.rolname in ('sallyport_app', 'sallyport_system') and has_table_privilege(r.oid, c.oid, p)`,
    [commands],
  );
  t.same(rows, []);
  const create = await owner(
    `select rolname from pg_roles where rolname in ('sallyport_app', 'sallyport_system') and
       (has_schema_privilege(oid, current_schema(), 'CREATE') or has_database_privilege(oid, current_database(), 'CREATE'))`,
  );
  t.same(create, []);
});

t.test('the roles cannot log in, create anything or pass row security by', async (t) => {
  const { owner } = await testDatabase(t);
  const rows = await owner(
    `select rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication from pg_roles
     where rolname in ('sallyport_app', 'sallyport_system') order by 1`,
  );
  const weak = {
    rolcanlogin: false,
    rolsuper: false,
    rolbypassrls: false,
    rolcreaterole: false,
    rolcreatedb: false,
    rolreplication: false,
  };
  t.same(rows, [
    { rolname: 'sallyport_app', ...weak },
    { rolname: 'sallyport_system', ...weak },
  ]);
  const parents = await owner(
    `select from pg_auth_members where member in (select oid from pg_roles where rolname in ('sallyport_app', 'sallyport_system'))`,
  );
  t.equal(parents.length, 0, 'nor are they members of anything stronger');
});

t.test('row security is on and forced on every table of a workspace and on every partition', async (t) => {
  const { owner } = await testDatabase(t);
  const rows = await owner<{ table: string }>(
    `select relname as table from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
       and not (relrowsecurity and relforcerowsecurity) order by 1`,
  );
  t.same(
    rows.map((row) => row.table),
    unguarded,
  );
});

t.test('the policies are these and no others', async (t) => {
  const { owner } = await testDatabase(t);
  const rows = await owner<{
    policy: string;
    role: string;
    command: string;
    sees: string;
    writes: string | null;
  }>(
    `select policyname as policy, array_to_string(roles, ',') as role, cmd as command, qual as sees, with_check as writes
     from pg_policies where schemaname = current_schema() and permissive = 'PERMISSIVE' order by policyname`,
  );
  const taken = `(CURRENT_USER = 'sallyport_system'::name)`;
  const mine = (column: string) =>
    `(${column} = NULLIF(current_setting('sallyport.workspace'::text, true), ''::text))`;
  const expected = grants
    .map((row) => row.slice(0, row.indexOf(':')))
    .filter((table) => !unguarded.includes(table))
    .flatMap((table) => {
      const own = mine(table === 'workspaces' ? 'id' : 'workspace_id');
      const isReadOnly = ['journal', 'usage_costs', 'usage_events', 'usage_hourly'].includes(table);
      return [
        { policy: `${table}_system`, role: 'sallyport_system', command: 'ALL', sees: taken, writes: taken },
        {
          policy: `${table}_workspace`,
          role: 'sallyport_app',
          command: isReadOnly ? 'SELECT' : 'ALL',
          sees: own,
          writes: isReadOnly ? null : own,
        },
      ];
    });
  expected.push({
    policy: 'tokens_lookup',
    role: 'sallyport_app',
    command: 'SELECT',
    sees: `(prefix = NULLIF(current_setting('sallyport.lookup'::text, true), ''::text))`,
    writes: null,
  });
  const byName = (a: { policy: string }, b: { policy: string }) => (a.policy < b.policy ? -1 : 1);
  t.same(
    rows.map((row) => ({ ...row, sees: row.sees.replaceAll(/\((\w+)\)::text|"C"/g, '$1') })).toSorted(byName),
    expected.toSorted(byName),
  );
});

t.test(
  'functions that run as the owner have a pinned search path and are the system role’s alone',
  async (t) => {
    const { owner } = await testDatabase(t);
    const rows = await owner(
      `select proname, prosecdef, proconfig, has_function_privilege('sallyport_app', oid, 'EXECUTE') as app,
       has_function_privilege('sallyport_system', oid, 'EXECUTE') as system
     from pg_proc where pronamespace = current_schema()::regnamespace order by 1`,
    );
    t.same(rows, [
      {
        proname: 'create_month_partitions',
        prosecdef: true,
        proconfig: ['search_path=public, pg_temp'],
        app: false,
        system: true,
      },
      {
        proname: 'drop_retired_month',
        prosecdef: true,
        proconfig: ['search_path=public, pg_temp', 'lock_timeout=5s'],
        app: false,
        system: true,
      },
      {
        proname: 'hint_epoch',
        prosecdef: false,
        proconfig: ['search_path=pg_catalog, pg_temp'],
        app: false,
        system: false,
      },
      {
        proname: 'refuse_journal_change',
        prosecdef: false,
        proconfig: ['search_path=pg_catalog, pg_temp'],
        app: false,
        system: false,
      },
    ]);
  },
);
