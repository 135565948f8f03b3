import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { MacField } from './mac.ts';

/**
 * What a row grants, in a fixed order. Who can write to the database must not mint access or widen it, so every column that decides who
 * may do what stands here; labels, descriptions and what the gateway notes down (last used, last test) do not. A column added to a list
 * changes every MAC: that takes a migration that MACs the rows anew.
 */
type Token = Selectable<Schema['tokens']>;
type Key = Selectable<Schema['provider_keys']>;
type Seal = Selectable<Schema['seals']>;
type Alias = Selectable<Schema['model_aliases']>;
type AddressSalt = Selectable<Schema['address_salts']>;
type Price = Selectable<Schema['price_overrides']>;
type Webhook = Selectable<Schema['webhooks']>;
type Delivery = Selectable<Schema['webhook_deliveries']>;

export function tokenMacFields(
  row: Omit<Token, 'name' | 'tags' | 'mac' | 'last_used_at' | 'created_at'>,
): readonly MacField[] {
  return [
    row.id,
    row.workspace_id,
    row.user_id,
    row.kind,
    row.prefix,
    row.verifier.toString('hex'),
    row.providers,
    row.models,
    row.key_ids,
    row.requests_per_minute,
    row.concurrent_calls,
    time(row.expires_at),
    time(row.revoked_at),
    // Only where they say something: tokens from before they existed keep their MAC. The word keeps one from passing for another.
    ...(row.endpoints === null ? [] : ['endpoints', row.endpoints]),
    ...(row.networks === null ? [] : ['networks', row.networks]),
    ...(row.policy === null ? [] : ['policy', row.policy]),
  ];
}

export function keyMacFields(
  row: Pick<
    Key,
    | 'id'
    | 'workspace_id'
    | 'user_id'
    | 'name'
    | 'provider'
    | 'source'
    | 'protection'
    | 'seal_id'
    | 'auth'
    | 'origins'
    | 'base_path'
    | 'operator_origin'
    | 'version'
    | 'is_active'
    | 'shared_with'
    | 'expires_at'
    | 'purpose'
    | 'weight'
    | 'stream_usage'
  >,
): readonly MacField[] {
  return [
    row.id,
    row.workspace_id,
    row.user_id,
    row.provider,
    row.source,
    row.protection,
    row.seal_id,
    row.auth,
    row.origins,
    row.base_path,
    row.operator_origin,
    row.version,
    row.is_active,
    JSON.stringify(row.shared_with),
    time(row.expires_at),
    // Calls find a custom provider by its name, and tokens are restricted by it; elsewhere a name is a label.
    ...(row.provider === 'custom' ? [row.name] : []),
    // Only where it restricts: rows from before there were purposes keep their MAC.
    ...(row.purpose === 'relay' ? [] : [`purpose:${row.purpose}`]),
    // Likewise: which of several keys pays, and what is spliced into a body.
    ...(row.weight === 1 ? [] : [`weight:${row.weight}`]),
    ...(row.stream_usage ? ['stream-usage'] : []),
  ];
}

/** Whoever could exchange the public key would have the next keys sealed to himself. */
export function sealMacFields(row: Omit<Seal, 'name' | 'mac' | 'created_at'>): readonly MacField[] {
  return [
    row.id,
    row.workspace_id,
    row.created_by,
    row.public_key.toString('hex'),
    row.derivation === null
      ? null
      : JSON.stringify([
          row.derivation.type,
          row.derivation.salt,
          row.derivation.memoryKiB,
          row.derivation.passes,
          row.derivation.parallelism,
        ]),
  ];
}

/** Whoever could exchange the target would have calls answered, and paid, elsewhere. */
export function aliasMacFields(row: Omit<Alias, 'created_by' | 'mac' | 'created_at'>): readonly MacField[] {
  return [row.id, row.workspace_id, row.alias, row.target];
}

export function priceMacFields(row: Omit<Price, 'created_by' | 'mac' | 'created_at'>): readonly MacField[] {
  return [row.id, row.workspace_id, row.provider, row.model, row.prices, time(row.effective_from)];
}

/** Whoever could exchange the address would be told what the workspace is told. */
export function webhookMacFields(
  row: Pick<Webhook, 'id' | 'workspace_id' | 'url' | 'events'>,
): readonly MacField[] {
  return [row.id, row.workspace_id, row.url, row.events];
}

/** Whoever could write one would have it signed. */
export function deliveryMacFields(
  row: Pick<Delivery, 'id' | 'workspace_id' | 'webhook_id' | 'event' | 'body'>,
): readonly MacField[] {
  return [row.id, row.workspace_id, row.webhook_id, row.event, row.body];
}

/** Who could put one user's salt, or one that he knows, in place of another's would keep it beyond an erasure. */
export function addressSaltMacFields(
  row: Pick<AddressSalt, 'workspace_id' | 'user_id' | 'month' | 'salt'>,
): readonly MacField[] {
  return [row.workspace_id, row.user_id, row.month, row.salt.toString('hex')];
}

/** Milliseconds, as the columns were written; microseconds set by hand in SQL are lost here and matter to nobody. */
function time(value: Date | null): string | null {
  return value === null ? null : value.toISOString();
}
