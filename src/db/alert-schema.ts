import type { ColumnType, Generated } from 'kysely';

type Time = ColumnType<Date, Date | undefined, Date>;
type MaybeTime = ColumnType<Date | null, Date | null | undefined, Date | null>;
type Json<T> = ColumnType<T, string, string>;

/** What looked unusual, and who was told: the tables of migrations/0009_alerts.ts. */
export interface AlertTables {
  /** How far each stream of the journal was looked at for alerts. */
  alert_progress: { stream: string; next_seq: bigint };
  /** When a key or a token (`subject`) was last used, from a network by its keyed hash; '' stands for any network. */
  seen_uses: { workspace_id: string; subject: string; network: string; user_id: string; last_at: Date };
  /** Refused calls by token; '' stands for those that the journal has as counts only. */
  refusal_counts: { workspace_id: string; token_id: string; hour: Date; code: string; count: bigint };
  alerts: {
    id: string;
    workspace_id: string;
    rule: string;
    /** The key's id, else the token's; one alert a rule, subject and day. */
    subject: string;
    key_id: string | null;
    token_id: string | null;
    /** Whose key or token it is. */
    user_id: string;
    /** YYYY-MM-DD in UTC. */
    day: string;
    explanation: string;
    numbers: Json<Readonly<Record<string, unknown>>>;
    first_at: Date;
    last_at: Date;
    count: number;
    acknowledged_at: MaybeTime;
    acknowledged_by: string | null;
    /** When deliveries to webhooks were made of it. */
    told_at: MaybeTime;
    created_at: Time;
  };
  webhooks: {
    id: string;
    workspace_id: string;
    url: string;
    /** What is sent to it. */
    events: string[];
    created_by: string;
    mac: Buffer;
    created_at: Time;
  };
  webhook_deliveries: {
    id: string;
    workspace_id: string;
    webhook_id: string;
    event: string;
    /** JSON as it is signed and sent. */
    body: string;
    mac: Buffer;
    attempts: Generated<number>;
    /** When it is tried next; null: it has ended. */
    next_at: MaybeTime;
    outcome: 'delivered' | 'given_up' | null;
    /** Of the last answer. */
    status: number | null;
    created_at: Time;
  };
  /** In the operator's workspace. `note_id`: where he keeps what he knows of it. */
  breaches: {
    id: string;
    workspace_id: string;
    discovered_at: Date;
    note_id: string | null;
    notified_at: MaybeTime;
    closed_at: MaybeTime;
    created_at: Time;
  };
  breach_notices: {
    breach_id: string;
    user_id: string;
    workspace_id: string;
    channel: 'smtp' | 'webhook';
    claimed_at: Date;
    sent_at: MaybeTime;
  };
}
