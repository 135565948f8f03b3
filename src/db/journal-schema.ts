import type { ColumnType, Generated } from 'kysely';

type Time = ColumnType<Date, Date | undefined, Date>;
type Json<T> = ColumnType<T, string, string>;

/** The records, what is made of them, and what proves them. */
export interface JournalTables {
  /** Partitioned by `month` (date text YYYY-MM-01 of receipt), default partition; INSERT and SELECT only. */
  journal: {
    month: string;
    stream: string;
    seq: bigint;
    workspace_id: string | null;
    at: Date;
    event: string;
    call_id: string | null;
    key_id: string | null;
    token_id: string | null;
    user_id: string | null;
    hash: Buffer;
    /** The line as it stands in the file, without its newline. */
    line: string;
  };
  /** How far each stream is shipped. `head_hash`: hash of record next_seq - 1 (32 zero bytes at 0). */
  journal_streams: {
    stream: string;
    next_seq: bigint;
    head_hash: Buffer;
    closed: boolean;
    updated_at: Time;
    presumed_seq: Generated<bigint>;
  };
  /** One row per attempt (WIRE.md, Call), partitioned by `month` of started_at. */
  usage_events: {
    month: string;
    workspace_id: string;
    call_id: string;
    attempt: number;
    final: boolean;
    started_at: Date;
    ended_at: Date;
    token_id: string | null;
    user_id: string | null;
    key_id: string | null;
    key_version: number | null;
    key_source: string | null;
    /** Of the value that was used, stored or passed through: answers where a leaked key was used. */
    key_fingerprint: string | null;
    provider: string;
    model: string | null;
    operation: string;
    is_stream: boolean;
    status: number | null;
    outcome: string;
    end_reason: string;
    input_tokens: bigint | null;
    cached_input_tokens: bigint | null;
    cache_write_input_tokens: bigint | null;
    output_tokens: bigint | null;
    reasoning_tokens: bigint | null;
    usage_source: string;
    provider_usage: Json<unknown>;
    cost_nano_usd: bigint | null;
    price_version: string | null;
    request_bytes: bigint;
    response_bytes: bigint;
    first_byte_ms: number | null;
    total_ms: number;
    upstream_request_id: string | null;
    receipt: string;
  };
  /** INSERT and SELECT only: costs reckoned anew. `version` names the prices of that reckoning, `price_version` this cost's own. */
  usage_costs: {
    workspace_id: string;
    call_id: string;
    attempt: number;
    version: string;
    started_at: Date;
    cost_nano_usd: bigint | null;
    price_version: string | null;
    computed_at: Date;
  };
  /** Sums by hour; primary key is everything up to `model` (empty string where absent). */
  usage_hourly: {
    workspace_id: string;
    hour: Date;
    token_id: string;
    user_id: string;
    key_id: string;
    provider: string;
    model: string;
    calls: bigint;
    attempts: bigint;
    failed: bigint;
    input_tokens: bigint;
    cached_input_tokens: bigint;
    cache_write_input_tokens: bigint;
    output_tokens: bigint;
    reasoning_tokens: bigint;
    unknown_usage_calls: bigint;
    /** Null as soon as one summand is unknown is wrong for a sum: unknown costs are left out and counted in unknown_cost_calls. */
    cost_nano_usd: bigint;
    unknown_cost_calls: bigint;
  };
  /** INSERT and SELECT only. `note`: the signed note, of which `at` is a part. */
  checkpoints: { number: bigint; at: Date; note: string };
  /** INSERT and SELECT only. Records `first_seq` to `next_seq` - 1 are in the checkpoint's tree. */
  checkpoint_streams: { stream: string; first_seq: bigint; next_seq: bigint; number: bigint };
  /** INSERT and SELECT only. What is left of a month that was dropped; `note` is signed and says the same. */
  retired_months: {
    number: bigint;
    month: string;
    records: bigint;
    usage_rows: bigint;
    at: Date;
    note: string;
  };
}
