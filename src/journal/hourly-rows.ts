import { type RawBuilder, sql } from 'kysely';

/**
 * An int8 holds no more. Prices and counts are what a workspace and its own provider say: a sum that overflowed would stop the shipping of
 * everybody's records, so it stays here instead.
 */
export const sumLimit: RawBuilder<unknown> = sql`9223372036854775807`;

/** What `usage_hourly` has to hold for these rows of `usage_events`; of whole hours. */
export function hourlyRows(where: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    select workspace_id, date_trunc('hour', started_at, 'UTC') as hour, coalesce(token_id, '') as token_id,
      coalesce(user_id, '') as user_id, coalesce(key_id, '') as key_id, provider, coalesce(model, '') as model,
      count(*) filter (where final) as calls, count(*) as attempts,
      count(*) filter (where final and outcome <> 'ok') as failed,
      least(coalesce(sum(input_tokens), 0), ${sumLimit}) as input_tokens, least(coalesce(sum(cached_input_tokens), 0), ${sumLimit}) as cached_input_tokens,
      least(coalesce(sum(cache_write_input_tokens), 0), ${sumLimit}) as cache_write_input_tokens,
      least(coalesce(sum(output_tokens), 0), ${sumLimit}) as output_tokens, least(coalesce(sum(reasoning_tokens), 0), ${sumLimit}) as reasoning_tokens,
      count(*) filter (where final and usage_source = 'unknown') as unknown_usage_calls,
      least(coalesce(sum(cost_nano_usd), 0), ${sumLimit}) as cost_nano_usd,
      count(*) filter (where final and cost_nano_usd is null) as unknown_cost_calls
    from usage_events where ${where}
    group by 1, 2, 3, 4, 5, 6, 7`;
}
