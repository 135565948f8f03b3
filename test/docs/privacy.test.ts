import t from 'tap';
import { testDatabase } from '../support/database.ts';
import { codeWords, page } from './pages.ts';

/** Columns whose content the gateway makes or chooses from a closed set, or which say something of a workspace and of nobody in it. */
const impersonal = new Set(
  `acts.digest address_salts.mac alerts.rule breach_notices.channel breaches.note_id checkpoints.note
   deployment.canary idempotency_keys.digest intake_keys.public_key intake_keys.record journal.event
   journal.hash journal_streams.head_hash model_aliases.alias model_aliases.mac model_aliases.target nodes.root_keys
   nodes.version price_overrides.mac price_overrides.model price_overrides.prices price_overrides.provider
   provider_keys.auth provider_keys.mac provider_keys.protection provider_keys.provider provider_keys.purpose
   provider_keys.source refusal_counts.code retired_months.note seals.mac seals.public_key signing_keys.note signing_keys.public_key
   signing_keys.record tokens.endpoints tokens.key_ids tokens.kind tokens.mac tokens.models tokens.policy
   tokens.providers tokens.verifier usage_events.end_reason usage_events.key_source usage_events.operation
   usage_events.outcome usage_events.price_version usage_events.provider usage_events.receipt
   usage_costs.price_version usage_costs.version usage_events.usage_source usage_hourly.provider webhook_deliveries.event webhook_deliveries.mac
   webhook_deliveries.outcome webhooks.events webhooks.mac workspace_keys.record workspaces.name`.split(
    /\s+/,
  ),
);

/** Ids are compared as bytes; of these only such as name a person. */
const namesPerson = /(^|_)(user_id|created_by|acknowledged_by|caller_id|network)$/;

t.test('every column that says something of a person is in docs/privacy.md, and no other', async (t) => {
  const { owner } = await testDatabase(t);
  const rows = await owner<{ name: string; isId: boolean }>(
    `select c.relname || '.' || a.attname as name, coalesce(o.collname = 'C', false) as "isId"
     from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_collation o on o.oid = a.attcollation
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and c.relname not like 'kysely%' and a.attnum > 0 and not a.attisdropped
       and format_type(a.atttypid, null) in ('text', 'text[]', 'json', 'jsonb', 'bytea', 'inet', 'character varying')
     order by 1`,
  );
  const listed = new Set(
    page('docs/privacy.md')
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .flatMap((line) => codeWords(line.split('|')[1] ?? '')),
  );
  const personal = rows
    .filter(({ name, isId }) => (isId ? namesPerson.test(name) : !impersonal.has(name)))
    .map(({ name }) => name);
  t.same(
    personal.filter((name) => !listed.has(name)),
    [],
  );
  const known = new Set(rows.map(({ name }) => name));
  t.same(
    [...listed, ...impersonal].filter((name) => !known.has(name)),
    [],
    'nothing is listed that is not there',
  );
});
