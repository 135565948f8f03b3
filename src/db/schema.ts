/** Over 300 lines: it is a list, and nobody looks for a table in two places. */
import type { ColumnType, Generated } from 'kysely';
import type { AlertTables } from './alert-schema.ts';

/**
 * The tables, as kysely sees them. int8 arrives as bigint, numeric as a decimal string, timestamptz as Date, bytea as Buffer
 * (parsers in db/types.ts). Every table but `deployment`, `epoch`, `nodes`, `journal_streams` and `alert_progress` has `workspace_id` and row security.
 */
type Time = ColumnType<Date, Date | undefined, Date>;
type MaybeTime = ColumnType<Date | null, Date | null | undefined, Date | null>;
type Json<T> = ColumnType<T, string, string>;

export interface Schema extends AlertTables {
  /** One row. `id` is `dep_…`; `canary` a sealed record of kind 4 that proves the ring fits the database. */
  deployment: { only: Generated<boolean>; id: string; canary: Buffer; created_at: Time };
  /** One row, polled by every node: UPDATE … SET value = value + 1 in the transaction of any act that changes who may do what. */
  epoch: { only: Generated<boolean>; value: bigint };
  workspaces: {
    id: string;
    name: string;
    managed_keys: Generated<boolean>;
    store_keys: Generated<boolean>;
    created_at: Time;
  };
  /** Kind 1 records. */
  workspace_keys: {
    workspace_id: string;
    version: number;
    root_key_id: string;
    record: Buffer;
    created_at: Time;
  };
  users: {
    id: string;
    workspace_id: string;
    name: string;
    external_id: string | null;
    email: string | null;
    /** His preference; the workspace's and his, the stricter wins. */
    store_keys: Generated<boolean>;
    created_at: Time;
  };
  /** `month`: date text YYYY-MM-01; `salt`: 32 bytes. */
  address_salts: {
    workspace_id: string;
    user_id: string;
    month: string;
    salt: Buffer;
    mac: Buffer;
    created_at: Time;
  };
  memberships: { workspace_id: string; user_id: string; role: Role; created_at: Time };
  tokens: {
    id: string;
    workspace_id: string;
    user_id: string;
    name: string;
    kind: 'gateway' | 'admin';
    /** `spt_` or `spa_` + 12; unique; what a look-up names. */
    prefix: string;
    verifier: Buffer;
    /** HMAC over what the row grants (vault/verifier.ts). */
    mac: Buffer;
    providers: string[] | null;
    models: string[] | null;
    key_ids: string[] | null;
    requests_per_minute: number;
    concurrent_calls: number;
    /** Operations that its calls may be, as patterns (`openai.chat`, `anthropic.*`); null: any. */
    endpoints: string[] | null;
    /** CIDRs that its calls may come from; null: anywhere. */
    networks: string[] | null;
    /** Labels for usage; null: none. */
    tags: string[] | null;
    /** JSON of a `TokenPolicy`, as text because the MAC covers it as it stands; null: what holds for all. */
    policy: string | null;
    expires_at: MaybeTime;
    revoked_at: MaybeTime;
    last_used_at: MaybeTime;
    created_at: Time;
  };
  provider_keys: {
    id: string;
    workspace_id: string;
    user_id: string;
    name: string;
    description: string | null;
    provider: string;
    /** `managed`: imported from the operator's environment. `shared` is a view of the reader, not a column. */
    source: 'own' | 'managed';
    protection: 'standard' | 'sealed';
    seal_id: string | null;
    /** `bearer`, `header:NAME` or `none`. */
    auth: string;
    origins: string[];
    base_path: string;
    /** The operator himself named these origins: loopback and plain http are allowed. */
    operator_origin: boolean;
    version: number;
    last4: string | null;
    fingerprint: string | null;
    is_active: boolean;
    shared_with: Json<'workspace' | readonly string[] | null>;
    expires_at: MaybeTime;
    /** The provider refused the key; cleared by a new value or a good test. */
    auth_failed_at: MaybeTime;
    last_used_at: MaybeTime;
    last_test: Json<unknown>;
    /** HMAC over what the row grants. */
    mac: Buffer;
    /** `usage`: a key with administrative power, never used for relaying. */
    purpose: 'relay' | 'usage';
    /** Days after which a reminder asks for a new value; null: never. */
    rotate_after_days: number | null;
    /** When the present value came. */
    value_set_at: Time;
    /** The nearest of 14, 3 and 1 days before the expiry that was warned of. */
    expiry_warned_days: number | null;
    rotation_reminded_at: MaybeTime;
    /** Its part of the calls among usable keys of the same source and provider; 0: only when no other can. */
    weight: Generated<number>;
    /** For `custom`: `stream_options.include_usage` may be asked for. */
    stream_usage: Generated<boolean>;
    created_at: Time;
    updated_at: Time;
  };
  /** `derivation`: null for a secret made at random, else how a passphrase gives it. The secret itself is nowhere. */
  seals: {
    id: string;
    workspace_id: string;
    created_by: string;
    name: string;
    public_key: Buffer;
    derivation: Json<SealDerivation | null>;
    /** HMAC over what the row says (vault/row-macs.ts). */
    mac: Buffer;
    created_at: Time;
  };
  /** A workspace's own name for a model. One `*` in `alias` stands for the one in `target`, which is `provider/model` or a bare name. */
  model_aliases: {
    id: string;
    workspace_id: string;
    alias: string;
    target: string;
    created_by: string;
    mac: Buffer;
    created_at: Time;
  };
  /** A workspace's own prices. `prices`: JSON as text, because the MAC covers it as it stands. */
  price_overrides: {
    id: string;
    workspace_id: string;
    provider: string;
    /** A name, or a pattern with `*`. */
    model: string;
    prices: string;
    effective_from: Date;
    created_by: string;
    mac: Buffer;
    created_at: Time;
  };
  /** `record`: kind 5, the private half under a root key. Made daily, usable for two days. */
  intake_keys: {
    id: string;
    public_key: Buffer;
    root_key_id: string;
    record: Buffer;
    created_at: Time;
    expires_at: Date;
  };
  /** `record`: kind 5, the private half under a root key; null once another key has taken over. `note`: introduces the public half. */
  signing_keys: {
    id: string;
    public_key: Buffer;
    root_key_id: string | null;
    record: Buffer | null;
    note: string;
    created_at: Time;
    retired_at: MaybeTime;
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
  /** `wrap`: kind 2 record (data key), `payload`: kind 3 record. Both gone when the key is shredded. */
  provider_key_versions: {
    workspace_id: string;
    key_id: string;
    version: number;
    workspace_key_version: number;
    wrap: Buffer;
    payload: Buffer;
    created_at: Time;
  };
  /** One row an administrative act, inserted in the act's own transaction: says after a crash whether it happened. */
  acts: { act_id: string; workspace_id: string; digest: Buffer; at: Time };
  idempotency_keys: {
    workspace_id: string;
    caller_id: string;
    key: string;
    digest: Buffer;
    resource_id: string;
    created_at: Time;
  };
  /** One row a boot of a process; `beat_at` moves every 5 s. */
  nodes: {
    node_id: string;
    boot_id: string;
    version: string;
    started_at: Time;
    beat_at: Time;
    /** Ids of the root keys of its ring that it can open with. */
    root_keys: Generated<string[]>;
    active_root_key: string | null;
  };
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
}

/** RFC 9106; memory in KiB, salt in base64url. */
export interface SealDerivation {
  readonly type: 'argon2id';
  readonly salt: string;
  readonly memoryKiB: number;
  readonly passes: number;
  readonly parallelism: number;
}

export type Role = 'owner' | 'admin' | 'member' | 'viewer' | 'auditor';
