import { type RawBuilder, sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import type { Journal } from '../journal/journal.ts';
import { type KeyRow, rotationDueAt } from './key-view.ts';
import { iso } from './moment.ts';

const dayMs = 24 * 3600 * 1000;
/** Days before a key expires on which its owner is told, the nearest first. */
const warnings = [1, 3, 14] as const;
/** Keys of one reading. Each is reminded of in a transaction of its own. */
const pageRows = 200;

/** What a reminder tells: `key.expiring` with `daysLeft`, `key.rotation-due` with `dueAt`. */
export interface Reminder {
  readonly event: 'key.expiring' | 'key.rotation-due';
  readonly keyId: string;
  readonly userId: string;
  readonly workspaceId: string;
  /** Whole days, rounded up; null for a rotation. */
  readonly daysLeft: number | null;
}

export interface RemindersDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly journal: Pick<Journal, 'append'>;
  readonly clock: () => number;
  readonly onReminder: (reminder: Reminder) => void;
}

type Due = Pick<
  KeyRow,
  | 'id'
  | 'workspace_id'
  | 'user_id'
  | 'provider'
  | 'expires_at'
  | 'expiry_warned_days'
  | 'value_set_at'
  | 'rotate_after_days'
>;

/**
 * Reminds of keys that expire, 14, 3 and 1 days before, and of values that are older than their owner wants. Each once, however many
 * nodes look: the row says what was told, and it is claimed in the transaction that the record is written in.
 */
export function createReminders({ store, journal, clock, onReminder }: RemindersDeps) {
  return Object.freeze({
    /** @throws what the database or the journal throws; what was not told then is told the next time. */
    async remind(): Promise<void> {
      for (const row of await pages(expiring)) await warn(row);
      for (const row of await pages(rotating)) await remindOfRotation(row);
    },
  });

  async function pages(query: (tx: Tx, now: Date, after: string) => Promise<Due[]>): Promise<Due[]> {
    const rows: Due[] = [];
    for (let after = ''; ;) {
      const page = await store.asSystem((tx) => query(tx, new Date(clock()), after));
      rows.push(...page);
      const last = page.at(-1);
      if (last === undefined || page.length < pageRows) return rows;
      after = last.id;
    }
  }

  async function warn(row: Due): Promise<void> {
    const left = (row.expires_at as Date).getTime() - clock();
    const days = warnings.find((each) => left <= each * dayMs);
    if (days === undefined || (row.expiry_warned_days ?? Infinity) <= days) return;
    const daysLeft = Math.ceil(left / dayMs);
    const isMine = await store.asSystem(async (tx) => {
      const claimed = await tx
        .updateTable('provider_keys')
        .set({ expiry_warned_days: days })
        .where('id', '=', row.id)
        .where('expires_at', '=', row.expires_at)
        .where((eb) => eb.or([eb('expiry_warned_days', 'is', null), eb('expiry_warned_days', '>', days)]))
        .returning('id')
        .executeTakeFirst();
      if (claimed === undefined) return false;
      await record(row, 'key.expiring', { daysLeft, expiresAt: iso(row.expires_at) });
      return true;
    });
    if (isMine) tell(row, 'key.expiring', daysLeft);
  }

  async function remindOfRotation(row: Due): Promise<void> {
    const isMine = await store.asSystem(async (tx) => {
      const claimed = await tx
        .updateTable('provider_keys')
        .set({ rotation_reminded_at: new Date(clock()) })
        .where('id', '=', row.id)
        .where('value_set_at', '=', row.value_set_at)
        .where('rotate_after_days', '=', row.rotate_after_days)
        .where('rotation_reminded_at', 'is', null)
        .returning('id')
        .executeTakeFirst();
      if (claimed === undefined) return false;
      await record(row, 'key.rotation-due', {
        rotateAfterDays: row.rotate_after_days,
        dueAt: iso(rotationDueAt(row)),
      });
      return true;
    });
    if (isMine) tell(row, 'key.rotation-due', null);
  }

  async function record(
    row: Due,
    event: Reminder['event'],
    more: Readonly<Record<string, string | number | null>>,
  ): Promise<void> {
    const { id: keyId, user_id: userId, workspace_id: workspaceId, provider } = row;
    const actor = { type: 'system', id: 'housekeeping' };
    await journal.append(event, { keyId, userId, workspaceId, provider, actor, ...more });
  }

  function tell(row: Due, event: Reminder['event'], daysLeft: number | null): void {
    onReminder({ event, keyId: row.id, userId: row.user_id, workspaceId: row.workspace_id, daysLeft });
  }
}

/** For rows of `provider_keys`: their value has been there for as long as `rotate_after_days` says. */
export function isRotationDue(now: Date): RawBuilder<boolean> {
  return sql<boolean>`coalesce(value_set_at + rotate_after_days * interval '24 hours' <= ${now}, false)`;
}

const columns = [
  'id',
  'workspace_id',
  'user_id',
  'provider',
  'expires_at',
  'expiry_warned_days',
  'value_set_at',
  'rotate_after_days',
] as const;

/** A disabled key is used by nobody, whether it expires or not. */
function expiring(tx: Tx, now: Date, after: string): Promise<Due[]> {
  const [nearest, , farthest] = warnings;
  return tx
    .selectFrom('provider_keys')
    .select(columns)
    .where('is_active', '=', true)
    .where('expires_at', '>', now)
    .where('expires_at', '<=', new Date(now.getTime() + farthest * dayMs))
    .where((eb) => eb.or([eb('expiry_warned_days', 'is', null), eb('expiry_warned_days', '>', nearest)]))
    .where('id', '>', after)
    .orderBy('id')
    .limit(pageRows)
    .execute();
}

function rotating(tx: Tx, now: Date, after: string): Promise<Due[]> {
  return tx
    .selectFrom('provider_keys')
    .select(columns)
    .where('is_active', '=', true)
    .where('rotation_reminded_at', 'is', null)
    .where(isRotationDue(now))
    .where('id', '>', after)
    .orderBy('id')
    .limit(pageRows)
    .execute();
}
