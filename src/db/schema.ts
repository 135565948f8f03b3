import type { ColumnType, Generated } from 'kysely';
import type { AlertTables } from './alert-schema.ts';
import type { JournalTables } from './journal-schema.ts';

/**
 * The tables, as kysely sees them. int8 arrives as bigint, numeric as a decimal string, timestamptz as Date, bytea as Buffer
 * (parsers in db/types.ts). A table with `workspace_id` has row security.
 */
type Time = ColumnType<Date, Date | undefined, Date>;
type MaybeTime = ColumnType<Date | null, Date | null | undefined, Date | null>;
type Json<T> = ColumnType<T, string, string>;

export interface Schema extends AlertTables, JournalTables {
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
