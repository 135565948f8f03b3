import { sql } from 'kysely';
import { monthOf } from '../db/months.ts';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import type { CheckpointKeys } from './checkpoint-keys.ts';
import { noCheckpoint } from './checkpoint-note.ts';
import type { Fields } from './journal.ts';
import { noteHash, parseNote } from './note.ts';
import { retiredText } from './retired-note.ts';
import { readStretches } from './retired-rows.ts';

export interface RetirementDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly keys: Pick<CheckpointKeys, 'name' | 'sign'>;
  /** Makes a record durable. */
  readonly record: (event: string, fields: Fields) => Promise<unknown>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Whole months that are kept besides the present one; 1 at least. */
  readonly keepMonths: number;
}

/** A month that is old enough to go. */
export interface OldMonth {
  /** `YYYY-MM-01` */
  readonly month: string;
  readonly records: number;
  /** Why it stays. `not-covered`: some of its records are in no checkpoint yet; `late`: some came when the month was over. */
  readonly obstacle: 'not-covered' | 'late' | null;
  /** Streams whose records lie in it. */
  readonly streams: readonly string[];
}

export interface Retirement {
  /** The months that are old enough, oldest first. */
  old(): Promise<readonly OldMonth[]>;
  /**
   * Signs a stub of the month, puts it on record, and drops the partitions with the stub's row in one transaction.
   *
   * @throws {SallyportError} CONFLICT: not all of it is covered by checkpoints, or came later, or another node was quicker; VAULT_SEALED; JOURNAL_UNAVAILABLE.
   */
  retire(month: string): Promise<void>;
}

/** What lies in the default partition stays there: nothing is ever deleted row by row. */
export function createRetirement(deps: RetirementDeps): Retirement {
  const { clock, keepMonths, keys, record, store } = deps;

  /** The first month that stays. */
  function firstKept(): string {
    const now = new Date(clock());
    return monthOf(new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - keepMonths, 1)));
  }

  async function lastStub(tx: Tx): Promise<{ readonly number: number; readonly hash: string }> {
    const row = await tx
      .selectFrom('retired_months')
      .select(['number', 'note'])
      .orderBy('number', 'desc')
      .limit(1)
      .executeTakeFirst();
    const note = row === undefined ? null : parseNote(row.note);
    return { number: Number(row?.number ?? 0), hash: note === null ? noCheckpoint : noteHash(note) };
  }

  return Object.freeze<Retirement>({
    async old() {
      const months = await store.asSystem((tx) => readPartitions(tx, firstKept()));
      const found: OldMonth[] = [];
      for (const month of months) {
        const { isCovered, isLate, records, streams } = await readStretches(store, month);
        found.push({
          month,
          records,
          obstacle: !isCovered ? 'not-covered' : isLate ? 'late' : null,
          streams: [...new Set(streams.map(({ stream }) => stream))],
        });
      }
      return found;
    },
    async retire(month) {
      if (month >= firstKept()) throw new RangeError(`${month} is to be kept`);
      const { isCovered, isLate, records, streams, usageRows } = await readStretches(store, month);
      if (!isCovered)
        throw new SallyportError(
          'CONFLICT',
          `Records of ${month} are in no checkpoint yet: the month stays.`,
        );
      // Else whoever can write to the database has any record go, under a stub that we sign.
      if (isLate)
        throw new SallyportError(
          'CONFLICT',
          `Among the records of ${month} are some that came when it was over: the month stays.`,
        );
      const before = await store.asSystem(lastStub);
      const at = new Date(clock());
      const number = before.number + 1;
      const note = await keys.sign(
        retiredText(keys.name, {
          number,
          month,
          records,
          usageRows,
          at: at.toISOString(),
          previous: before.hash,
          streams,
        }),
      );
      await record('journal.retired', { workspaceId: null, month, number, records, usageRows, note });
      await store.asSystem(async (tx) => {
        const stub = {
          number: BigInt(number),
          month,
          records: BigInt(records),
          usage_rows: BigInt(usageRows),
          at,
          note,
        };
        const { numInsertedOrUpdatedRows } = await tx
          .insertInto('retired_months')
          .values(stub)
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirst();
        if (numInsertedOrUpdatedRows !== 1n)
          throw new SallyportError('CONFLICT', 'Another node retires months at this moment.');
        await sql`select drop_retired_month(${month}::date)`.execute(tx);
      });
    },
  });
}

/** Months before that one that have a partition of their own, oldest first. */
async function readPartitions(tx: Tx, before: string): Promise<readonly string[]> {
  const { rows } = await sql<{ month: string }>`
    select distinct to_date(right(c.relname, 7), 'YYYY_MM') as month
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent in ('journal'::regclass, 'usage_events'::regclass) and c.relname ~ '^(journal|usage_events)_[0-9]{4}_[0-9]{2}$'
      and to_date(right(c.relname, 7), 'YYYY_MM') < ${before}::date
    order by 1`.execute(tx);
  return rows.map(({ month }) => month);
}
