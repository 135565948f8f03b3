import { type RawBuilder, sql } from 'kysely';

/** What `usage_hourly` has to hold for these rows of `usage_events`; of whole hours. */
export function hourlyRows(where: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    select workspace_id, date_trunc('hour', started_at, 'UTC') as hour, coalesce(token_id, '') as token_id,
      coalesce(user_id, '') as user_id, coalesce(key_id, '') as key_id, provider, coalesce(model, '') as model,
      count(*) filter (where final) as calls, count(*) as attempts,
      count(*) filter (where final and outcome <> 'ok') as failed,
      coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
      coalesce(sum(cache_write_input_tokens), 0) as cache_write_input_tokens,
      coalesce(sum(output_tokens), 0) as output_tokens, coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
      count(*) filter (where final and usage_source = 'unknown') as unknown_usage_calls,
      coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
      count(*) filter (where final and cost_nano_usd is null) as unknown_cost_calls
    from usage_events where ${where}
    group by 1, 2, 3, 4, 5, 6, 7`;
}
